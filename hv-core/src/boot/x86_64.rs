//! How an x86_64 kernel is started: protocols, boot parameters, first register state.
