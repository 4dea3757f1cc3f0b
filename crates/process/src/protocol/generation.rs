//! The generations of opencode.

/// A generation of opencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// opencode 1.
    V1,
    /// opencode 2, which is used only through its server.
    V2,
}
