//! Batches of tasks as a program: crashes, other batches, full disks, shards, signals.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod clean;
mod crashes;
mod disk;
mod many;
mod misuse;
mod rates;
mod refusals;
mod stage;
