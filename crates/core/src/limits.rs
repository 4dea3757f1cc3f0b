//! Limits on a turn, and how to switch one off.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A limit as a setting of [`TurnOptions`](crate::TurnOptions), in which `None` means "use the default".
///
/// `Off` is distinct from unset: it removes a limit that the runner sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a limit is there or it is not")]
pub enum Limit<T> {
    /// No limit, whatever the defaults are.
    Off,
    /// This limit.
    At(T),
}

impl<T> Limit<T> {
    /// Returns the limit; `None` if it is off.
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

/// The time limits of a turn. `None` means no limit.
///
/// To set them, [`TurnOptions::timeout`](crate::TurnOptions::timeout) and
/// [`TurnOptions::idle_timeout`](crate::TurnOptions::idle_timeout) distinguish "no limit" from "unset".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a turn has these two clocks, and callers write them out")]
pub struct Limits {
    /// The limit on the whole turn, including the time in which the user is asked.
    pub total: Option<Duration>,
    /// The limit on the time without progress; [`TurnMachine::limit_at`](crate::TurnMachine::limit_at) defines
    /// progress.
    pub idle: Option<Duration>,
}

impl Limits {
    /// The idle limit if none is set, so that no turn hangs forever. [`Limit::Off`] switches it off, as `0` does on
    /// the command line.
    ///
    /// A model can think silently for minutes, and opencode's own retries take up to a minute.
    pub const DEFAULT_IDLE: Duration = Duration::from_mins(10);
}
