//! The command and the library on the real opencode, with a scripted model as the provider.
//!
//! Each test is skipped, and reported as ignored, without a real opencode. The tests assert the requests to the model,
//! the output of the command, and that no process is left.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

mod stage;

mod commands;
mod config_errors;
mod context;
mod directories;
mod embedding;
mod failures;
mod faulty_providers;
mod gateway;
mod interrupts;
mod library;
mod messages;
mod models;
mod no_survivor;
mod output;
mod parallel;
mod places;
mod previous_model;
mod project_config;
mod providers;
mod resume;
mod secrets;
mod sessions;
mod surrogates;
mod surroundings;
mod warnings;
