//! Tests of the syndrome decoder.
