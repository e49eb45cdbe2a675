#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pspf_fuzz::unsealed_slot::target(data));
