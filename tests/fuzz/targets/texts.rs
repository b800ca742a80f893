#![no_main]
//! See `pgshunt_tests::fuzzing::texts`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgshunt_tests::fuzzing::texts(data));
