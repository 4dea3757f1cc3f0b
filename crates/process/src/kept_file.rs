//! A file that is kept across runs, which any of them may read while another writes it.

use std::io::{self, Write};
use std::path::Path;

/// Writes a file that changes at once or not at all, and makes its folder.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Has a file hold this, and leaves one alone that does.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn ensure(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|known| known == bytes) { Ok(()) } else { write(path, bytes) }
}
