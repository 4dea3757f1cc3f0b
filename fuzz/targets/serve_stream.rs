//! Fuzzes the decoder of `opencode serve`'s events, one per line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_process::fuzzing::serve_stream;

fuzz_target!(|frames: &str| serve_stream(frames));
