//! The command and the library on the real opencode, with a scripted model in the place of a provider.
//!
//! Each test is skipped, and says so, where there is no real opencode. What is asserted is what reached the model, what
//! came out of the command, and that nothing is left alive.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

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
