//! Coverage-guided runs of one target.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hv_fuzz::kernel_store(data));
