//! Fuzzes splitting a stream into lines, with arbitrary chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_process::fuzzing::lines;

fuzz_target!(|stream: (u8, Vec<Vec<u8>>)| {
    let (limit, pieces) = stream;
    lines(&pieces, usize::from(limit));
});
