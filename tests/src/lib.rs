//! Support for the end-to-end tests: a sandbox, a scripted `fake-opencode`, recordings of the real opencode, and
//! helpers that assert that no process is left alive.
//!
//! The directory's `README.md` explains the parts, with an example.
//!
//! All functions panic on failure, as their callers are tests.

#![expect(clippy::exhaustive_structs, clippy::exhaustive_enums, reason = "only the tests of this package use them")]

pub mod alive;
mod binaries;
pub mod fake_log;
mod fake_script;
mod find_opencode;
mod or_panic;
pub mod pids;
mod process_table;
mod real_opencode;
pub mod recording;
mod sandbox;
pub mod script;
pub mod serve_recording;
pub mod serve_script;
pub mod terminal;
mod worker;

#[doc(hidden)]
pub use binaries::locate;
pub use fake_log::{Invocation, fake_log};
pub use fake_script::{Fake, FakeScript};
pub use real_opencode::{PINNED_OPENCODE, installed_opencode, installed_opencode2, real_opencode, real_opencode2};
pub use sandbox::Sandbox;
pub use worker::{children_of, peak_kib, worker_of};
