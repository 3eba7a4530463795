//! Tests of the segment as a guest sees it.
