//! One suite for both executors, on the fake and on the real opencode: the same events in the same order, the same end, the
//! same record, nothing left behind. What may differ is written down in [`differences`], and
//! what other versions do in ways of their own in [`versions`]; nothing else may.
//!
//! A case is a recording of the server, by name: on the fake, both executors are given what the real opencode did then; on
//! the real opencode, the model answers by the rules that the recording was made with. What comes of it is one snapshot for
//! all four.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it")]

mod case;
mod cases;
mod differences;
mod faults;
mod second;
mod stage;
mod story;
mod versions;
