//! Feeds `recharge_tests::fuzz::create_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| recharge_tests::fuzz::create_body(data));
