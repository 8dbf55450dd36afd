//! Heads of requests, as clients may write them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    lb::fuzzing::request_head(input);
});
