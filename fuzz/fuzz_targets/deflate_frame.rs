#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pspf_fuzz::deflate_frame::target(data));
