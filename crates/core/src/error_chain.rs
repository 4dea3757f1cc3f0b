//! An error with its causes on one line.

use std::error::Error;
use std::fmt;

/// Displays an error followed by its causes, each after `: `.
///
/// Errors of this workspace do not repeat the text of their source, so `Display` alone omits the cause.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'e>(&'e (dyn Error + 'static));

impl<'e> ErrorChain<'e> {
    /// Creates a chain that begins with this error.
    pub fn new(error: &'e (dyn Error + 'static)) -> Self {
        Self(error)
    }
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailureKind, StartError};

    #[test]
    fn chain_prints_each_cause_once() {
        let inner = StartError::new(FailureKind::Io, "inner").caused_by("innermost");
        let error = StartError::new(FailureKind::Io, "outer").caused_by(inner);
        assert_eq!(ErrorChain(&error).to_string(), "outer: inner: innermost");
    }
}
