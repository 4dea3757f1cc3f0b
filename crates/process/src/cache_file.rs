//! Cache files that are kept across runs, and that one run may read while another writes them.

use crate::{create_private_dir_all, find_untrusted};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file atomically, and creates its directory, accessible only to the user.
///
/// # Errors
///
/// If it cannot be written, or other users can change the directory.
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

/// Writes a file unless it already has this content and other users cannot change it.
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
