#![no_main]
//! See `pgshunt_tests::fuzzing::views`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgshunt_tests::fuzzing::views(data));
