//! The handling of problems in a file.

/// The handling of problems in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The user named the file: any problem is an error.
    Explicit,
    /// The file was auto-discovered: a problem is a warning.
    Discovered,
}
