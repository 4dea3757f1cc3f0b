//! One suite for both executors, on the fake and on the real opencode: the same events in the same order, the same end,
//! the same record, no process left. [`differences`] lists the allowed differences between transports, and [`versions`]
//! those of other versions.
//!
//! A case is named after a recording of the server: on the fake, both executors get the recorded output of the real
//! opencode; on the real opencode, the model answers by the rules of the recording. The result is one snapshot for all
//! four.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test helpers panic on failure")]

mod case;
mod cases;
mod differences;
mod faults;
mod second;
mod stage;
mod story;
mod versions;
