//! The interface for recording the inputs of a conversation's turns.

use crate::{Input, TurnStart};
use std::fmt::Debug;
use std::time::Duration;

/// Records the inputs of a conversation's turns, so that a [`TurnMachine`](crate::TurnMachine) that replays them
/// produces the same record.
///
/// It receives every input in order, before the turn and its readers do. It is called synchronously on the thread
/// that runs the turn, so it must be fast, and it must handle its own errors.
pub trait Recorder: Send + Sync + Debug {
    /// Records the start of a turn; the inputs that follow belong to it.
    fn turn_started(&self, start: &TurnStart);

    /// Records an input, `at` after the turn's start. None follows [`Input::Ended`] or [`Input::Lost`].
    fn input(&self, at: Duration, input: &Input);

    /// Writes what was buffered: no further input is available now.
    fn flush(&self) {}
}
