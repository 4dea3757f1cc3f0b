//! Limits on a turn, and how one is switched off.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A limit as a setting of [`TurnOptions`](crate::TurnOptions), where `None` leaves it to the defaults.
///
/// `Off` is a value of its own: a turn can be without a limit that its runner has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a limit is there or it is not")]
pub enum Limit<T> {
    /// No limit, whatever the defaults are.
    Off,
    /// This limit.
    At(T),
}

impl<T> Limit<T> {
    /// Returns the limit, `None` if it is off.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(limit) => Some(limit),
        }
    }
}

impl<T> From<T> for Limit<T> {
    fn from(limit: T) -> Self {
        Self::At(limit)
    }
}

/// The time limits that a turn runs with. `None` is no limit.
///
/// To set them, [`TurnOptions::timeout`](crate::TurnOptions::timeout) and
/// [`TurnOptions::idle_timeout`](crate::TurnOptions::idle_timeout) distinguish "no limit" from "unset".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a turn has these two clocks, and callers write them out")]
pub struct Limits {
    /// How long the whole turn may take, the time in which a person is asked included.
    pub total: Option<Duration>,
    /// How long the turn may make no progress; [`TurnMachine::limit_at`](crate::TurnMachine::limit_at) defines progress.
    pub idle: Option<Duration>,
}

impl Limits {
    /// The idle limit of a runner that sets none, so that no turn hangs for ever. [`Limit::Off`] switches it off, as `0` does
    /// on the command line.
    ///
    /// A model that thinks in silence takes minutes, and opencode's own tries at a provider that fails take one.
    pub const DEFAULT_IDLE: Duration = Duration::from_mins(10);
}
