//! Faults and bad input: the behaviour of the command and the library if opencode, the caller or the machine
//! misbehaves.
//!
//! Each test has a time limit, and ends by asserting that no process that it started is alive.

#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

mod bad_files;
mod bad_input;
mod bounds;
mod chat;
mod closed_streams;
mod config_errors;
mod directories;
mod doctor;
mod editor;
mod embedding;
mod endings;
mod git_hook;
mod inherited;
mod job_control;
mod journal;
mod library;
mod limits;
mod live;
mod no_survivor;
mod odd_output;
mod originals;
mod outcomes;
mod parallel;
mod pipes;
mod previous_model;
mod privacy;
mod recorded_failures;
mod restored;
mod screen;
mod second;
mod setup;
mod shared_sources;
mod supervisor;
mod support;
mod surrogates;
mod terminal;
mod unwritable;
mod warnings;
