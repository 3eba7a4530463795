//! The machine: devices, memory and cores put together, and its states.
