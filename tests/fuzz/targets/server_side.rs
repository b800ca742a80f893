#![no_main]
//! See `pgshunt_tests::fuzzing::server_side`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgshunt_tests::fuzzing::server_side(data));
