//! Feeds `recharge_tests::fuzz::payprotocol_callback`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| recharge_tests::fuzz::payprotocol_callback(data));
