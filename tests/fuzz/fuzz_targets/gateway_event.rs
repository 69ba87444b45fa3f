//! Feeds `recharge_tests::fuzz::gateway_event`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| recharge_tests::fuzz::gateway_event(data));
