#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pspf_fuzz::zstd_frame::target(data));
