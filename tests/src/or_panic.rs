//! Ends a test with the reason of a failure.

use std::fmt::Display;

/// Turns a failure of the test support into a panic at the caller.
pub(crate) trait OrPanic<T> {
    /// Returns the value, or panics with "failed to `what`".
    fn or_panic(self, what: impl Display) -> T;
}

impl<T, E: Display> OrPanic<T> for Result<T, E> {
    #[track_caller]
    fn or_panic(self, what: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("failed to {what}: {error}"),
        }
    }
}
