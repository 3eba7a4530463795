//! Tests of instruction.
