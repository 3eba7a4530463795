//! Tests of system_registers.
