//! Fuzzes the decoder of `opencode run`'s output.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_process::fuzzing::run_output;

fuzz_target!(|output: &[u8]| run_output(output));
