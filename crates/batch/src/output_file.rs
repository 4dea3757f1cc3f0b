//! Files that are written from results: whole or not at all, and never instead of the results.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file. When it is complete, it replaces an existing one and gets its permissions. A pipe or device, such as
/// `/dev/stdout`, is written to.
///
/// # Errors
///
/// If the file is one of the inputs, or cannot be written. An existing file is unchanged then.
pub(crate) fn replace<T, E: From<io::Error>>(
    path: &Path,
    inputs: &[impl AsRef<Path>],
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let existing = path.canonicalize().ok();
    if existing.is_some() && inputs.iter().any(|input| input.as_ref().canonicalize().ok() == existing) {
        return Err(
            io::Error::new(io::ErrorKind::InvalidInput, "it is one of the results files: name another file").into()
        );
    }
    if path.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir()) {
        let mut file = BufWriter::new(File::options().write(true).open(path)?);
        let done = write(&mut file)?;
        file.flush()?;
        return Ok(done);
    }
    // The target of a link is replaced, not the link.
    let target = std::path::absolute(existing.as_deref().unwrap_or(path))?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    // Readable by others as far as the umask allows, like any file.
    let temporary = tempfile::Builder::new().prefix(".opencode-run-").make_in(folder, |path| File::create_new(path))?;
    if let Some(existing) = &existing {
        temporary.as_file().set_permissions(existing.metadata()?.permissions())?;
    }
    let mut file = BufWriter::new(temporary.as_file().try_clone()?);
    let done = write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    temporary.persist(&target).map_err(|failed| failed.error)?;
    Ok(done)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;

    fn write(path: &Path, inputs: &[&Path], text: &str) -> io::Result<()> {
        replace(path, inputs, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn inputs_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("r.jsonl");
        let link = folder.path().join("link");
        fs::write(&results, "kept").unwrap();
        std::os::unix::fs::symlink("r.jsonl", &link).unwrap();
        for path in [&results, &link] {
            assert!(write(path, &[&results], "x").is_err());
        }
        assert_eq!(fs::read_to_string(&results).unwrap(), "kept");
    }

    #[test]
    fn failed_write_keeps_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jsonl");
        write(&path, &[], "old").unwrap();
        let failed = replace(&path, &[] as &[&Path], |file| {
            file.write_all(b"half")?;
            Err::<(), _>(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(folder.path(), &[], "x").is_err());
    }

    #[test]
    fn devices_and_link_targets_are_written() {
        write(Path::new("/dev/null"), &[], "x").unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let link = folder.path().join("link");
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        write(&link, &[], "new").unwrap();
        assert!(link.is_symlink() && fs::read_to_string(target).unwrap() == "new");
    }
}
