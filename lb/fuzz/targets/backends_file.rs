//! Files of backends, as operators may write them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    lb::fuzzing::backends_file(input);
});
