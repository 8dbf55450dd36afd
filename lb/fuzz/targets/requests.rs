//! What clients may say on a connection of HTTP/1.1.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    lb::fuzzing::requests(input);
});
