//! Feeds `recharge_tests::fuzz::signature_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| recharge_tests::fuzz::signature_header(data));
