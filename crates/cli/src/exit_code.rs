//! All exit codes of the command.

use opencode_run_core::{FailureKind, TurnFailure};
use std::process::ExitCode;

/// An exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u8);

impl Code {
    /// Every turn completed.
    pub(crate) const OK: Self = Self(0);
    /// A turn failed.
    pub(crate) const TURN_FAILED: Self = Self(1);
    /// Wrong usage.
    pub(crate) const USAGE: Self = Self(2);
    /// The configuration is wrong.
    pub(crate) const CONFIG: Self = Self(3);
    /// opencode is missing, broken, too old or too new.
    pub(crate) const OPENCODE: Self = Self(4);
    /// A panic, as in every Rust program.
    pub(crate) const PANICKED: Self = Self(101);
    /// A time limit was reached.
    pub(crate) const TIME_LIMIT: Self = Self(124);
    /// Ended by SIGHUP.
    pub(crate) const HANGUP: Self = Self(129);
    /// Ended by SIGINT.
    pub(crate) const INTERRUPT: Self = Self(130);
    /// Broken pipe on stdout.
    pub(crate) const PIPE: Self = Self(141);
    /// Ended by SIGTERM.
    pub(crate) const TERMINATE: Self = Self(143);

    /// The table of exit codes for `--help`.
    pub(crate) const HELP: &'static str = "\
Exit codes:
  0    every turn completed
  1    a turn failed (the reason is on stderr, and in the JSON as error.kind)
  2    wrong usage
  3    the configuration is wrong: .env, model source, task name, workspace
  4    opencode is missing, broken, too old or too new
  101  a bug: the command panicked (please report it)
  124  a time limit was reached
  129, 130, 143  ended by SIGHUP, SIGINT, SIGTERM
  141  stdout was closed by its reader (broken pipe)";

    /// Returns the code for a failure before or outside of a turn.
    pub(crate) fn of_kind(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Usage => Self::USAGE,
            FailureKind::Config => Self::CONFIG,
            FailureKind::Opencode => Self::OPENCODE,
            FailureKind::Timeout | FailureKind::IdleTimeout => Self::TIME_LIMIT,
            _ => Self::TURN_FAILED,
        }
    }

    /// Returns the code for a failed turn. An error that opencode reports within a turn does not mean that opencode
    /// is unusable.
    pub(crate) fn of_failure(failure: &TurnFailure) -> Self {
        match failure.kind() {
            FailureKind::Opencode => Self::TURN_FAILED,
            kind => Self::of_kind(kind),
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_code() {
        let codes = [
            Code::OK,
            Code::TURN_FAILED,
            Code::USAGE,
            Code::CONFIG,
            Code::OPENCODE,
            Code::PANICKED,
            Code::TIME_LIMIT,
            Code::HANGUP,
            Code::INTERRUPT,
            Code::TERMINATE,
            Code::PIPE,
        ];
        for Code(code) in codes {
            let code = code.to_string();
            assert!(Code::HELP.split([' ', ',', '\n']).any(|word| word == code), "{code}");
        }
    }

    #[test]
    fn opencode_error_in_turn_fails_turn() {
        let failure = TurnFailure::Opencode { message: String::new() };
        assert_eq!(Code::of_failure(&failure), Code::TURN_FAILED);
        assert_eq!(Code::of_kind(FailureKind::Opencode), Code::OPENCODE);
        assert_eq!(Code::of_kind(FailureKind::SessionNotFound), Code::TURN_FAILED);
    }
}
