//! Attached files. The content of a pipe is copied to a file, because opencode opens attachments by their paths.

use super::error::CommandError;
use super::nonblocking::Blocking;
use opencode_run_core::FailureKind;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The maximum size of the content of a pipe or device, which is kept in memory until it is complete.
const MAX_PIPE_BYTES: u64 = 32 << 20;

/// The file types that models accept directly, by their first bytes. opencode recognises them by the file name
/// extension.
const KINDS: [(&[u8], &str); 5] =
    [(b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"%PDF-", "pdf")];

const TEMP_HINT: &str = "set TMPDIR to a directory that exists, is writable and has room";

/// Files that opencode can open. Dropping this deletes the copies, so it must live as long as the turn.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    pub(crate) files: Vec<PathBuf>,
    /// The directories of the copies.
    copies: Vec<TempDir>,
}

impl Attachments {
    /// Checks files, and reads the pipes and devices among them to their end on a separate thread. Cancel safe.
    ///
    /// # Errors
    ///
    /// If a file cannot be attached.
    pub(crate) async fn read(files: &[PathBuf]) -> Result<Self, CommandError> {
        let files = files.to_vec();
        let read = tokio::task::spawn_blocking(move || Self::read_now(&files)).await;
        read.map_err(|error| CommandError::usage(format!("the attachments cannot be read: {error}")))?
    }

    fn read_now(files: &[PathBuf]) -> Result<Self, CommandError> {
        let mut attachments = Self::default();
        for file in files {
            let message = |why: String| format!("cannot attach {}: {why}", file.display());
            let failed = |why: String| CommandError::usage(message(why));
            if needs_copy(file).map_err(failed)? {
                let bytes = read_pipe(file).map_err(failed)?;
                let (dir, copy) = copy(file, &bytes, attachments.files.len() + 1).map_err(|error| {
                    let why = format!("its content cannot be written to a file: {error}");
                    CommandError::new(FailureKind::Io, message(why)).hint(TEMP_HINT)
                })?;
                attachments.files.push(copy);
                attachments.copies.push(dir);
            } else {
                attachments.files.push(file.clone());
            }
        }
        Ok(attachments)
    }
}

/// Returns whether opencode cannot open a file by its path: a pipe, a device, or a file that exists only as a
/// descriptor of this process, such as `/dev/stdin`.
fn needs_copy(file: &Path) -> Result<bool, String> {
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_dir() => Err("it is a directory".to_owned()),
        Ok(metadata) => Ok(!metadata.is_file() || ["/dev", "/proc"].iter().any(|root| file.starts_with(root))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err("there is no such file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a pipe or device to its end.
fn read_pipe(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|error| error.to_string())?;
    Blocking(opened).take(MAX_PIPE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_PIPE_BYTES {
        return Err(format!("it is longer than {} MiB, the limit for a pipe or device", MAX_PIPE_BYTES >> 20));
    }
    Ok(bytes)
}

/// Writes the content of a pipe to a private file.
fn copy(file: &Path, bytes: &[u8], number: usize) -> io::Result<(TempDir, PathBuf)> {
    let dir = tempfile::Builder::new().prefix("opencode-run-attached-").tempdir()?;
    let copy = dir.path().join(name(file, bytes, number));
    std::fs::write(&copy, bytes)?;
    Ok((dir, copy))
}

/// Returns the name of a copy, which the model sees: that of the pipe if it has an extension.
fn name(file: &Path, bytes: &[u8], number: usize) -> String {
    if let (Some(name), Some(_)) = (file.file_name(), file.extension()) {
        return name.to_string_lossy().into_owned();
    }
    let kind = KINDS.iter().find(|(start, _)| bytes.starts_with(start)).map_or("txt", |(_, kind)| kind);
    format!("attachment-{number}.{kind}")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn copy_is_named_after_its_content() {
        for (file, bytes, expected) in [
            ("/dev/fd/63", &b"text"[..], "attachment-2.txt"),
            ("/dev/stdin", b"\x89PNG\r\n\x1a\n", "attachment-2.png"),
            ("/dev/stdin", b"%PDF-1.7", "attachment-2.pdf"),
            ("fifo", b"", "attachment-2.txt"),
            ("/tmp/notes.md", b"text", "notes.md"),
        ] {
            assert_eq!(name(Path::new(file), bytes, 2), expected);
        }
    }

    #[tokio::test]
    async fn copies_are_deleted_with_their_list() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain.txt");
        std::fs::write(&plain, "plain").unwrap();
        let attachments = Attachments::read(&[plain.clone(), PathBuf::from("/dev/null")]).await.unwrap();
        let copy = attachments.files[1].clone();
        assert_eq!((&attachments.files[0], std::fs::read(&copy).unwrap().len()), (&plain, 0));
        drop(attachments);
        assert!(plain.exists() && !copy.exists() && !copy.parent().unwrap().exists());
    }

    #[tokio::test]
    async fn unusable_attachment_is_named_with_reason() {
        for (file, why) in [("/nowhere/x", "there is no such file"), ("/", "directory"), ("/dev/zero", "32 MiB")] {
            let error = Attachments::read(&[PathBuf::from(file)]).await.unwrap_err();
            assert!(error.message.contains(file) && error.message.contains(why), "{}", error.message);
        }
    }
}
