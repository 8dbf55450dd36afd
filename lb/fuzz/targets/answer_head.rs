//! Heads of answers, as backends may write them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    lb::fuzzing::answer_head(input);
});
