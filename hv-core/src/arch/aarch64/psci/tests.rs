//! Tests of the power state machine.
