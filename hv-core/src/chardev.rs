//! Byte sources and sinks behind a UART or console.
