//! Fuzzes the decoder of the events of opencode 2's server, one per line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_process::fuzzing::serve2_stream;

fuzz_target!(|frames: &str| serve2_stream(frames));
