//! The threads that serve a device's virtqueues: started, paused, ended.
