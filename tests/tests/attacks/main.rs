//! Attacks on the promises of SECURITY.md: by an agent that runs commands as the same user, a malicious provider, a
//! cloned repository, a hostile server behind `--attach`, and another local user.
//!
//! Each module is one means of an attacker. A test plays the attack and asserts that it fails.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

mod attached_server;
mod cloned_config;
mod cloned_env;
mod descriptors;
#[path = "../faults/support.rs"]
#[expect(dead_code, reason = "the suite `faults` uses the rest")]
mod faults_support;
mod memory;
mod planted;
mod stopped;
mod strangers;
mod support;
mod terminal;
mod tools_that_leave;
mod users;
