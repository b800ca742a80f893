#![no_main]
//! See `pgshunt_tests::fuzzing::both_sides`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgshunt_tests::fuzzing::both_sides(data));
