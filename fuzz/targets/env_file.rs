//! Fuzzes the parser of model source files; the byte 1 stands for a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_config::fuzzing::env_file;

fuzz_target!(|file: &[u8]| env_file(file));
