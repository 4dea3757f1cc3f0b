//! Limits of files of model sources.

/// The maximum size of a file of model sources, 1 MiB: real files have a few hundred bytes, and a wrong path must
/// not fill the memory.
pub const MAX_FILE_BYTES: usize = 1 << 20;
