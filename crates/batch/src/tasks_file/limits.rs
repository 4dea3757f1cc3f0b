//! Limits of tasks files.

/// The maximum length in bytes of a line of a tasks file, and of a task.
pub(crate) const MAX_TASK_LEN: u64 = 64 << 20;
/// The maximum size in bytes of a file with one JSON document, which must fit in memory.
pub(crate) const MAX_DOCUMENT_LEN: u64 = 1 << 30;
