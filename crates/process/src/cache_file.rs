//! A file that is kept across runs, which any of them may read while another writes it.

use crate::{create_private_dir_all, find_untrusted};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file that changes at once or not at all, and makes its folder, for the user alone.
///
/// # Errors
///
/// If it cannot be written, or other users can change the folder.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    create_private_dir_all(folder)?;
    if let Some(untrusted) = find_untrusted(folder) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, untrusted.to_string()));
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Has a file hold this, and leaves one alone that does and that other users cannot change.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn ensure(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if find_untrusted(path).is_none() && std::fs::read(path).is_ok_and(|known| known == bytes) {
        Ok(())
    } else {
        write(path, bytes)
    }
}
