//! Reads the text of a file: the only I/O of the crate.

use crate::{EnvProblemKind, MAX_FILE_BYTES};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Reads a file that the user named. A pipe is read to its end.
pub(crate) fn named(path: &Path) -> Result<Vec<u8>, EnvProblemKind> {
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(EnvProblemKind::Directory);
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(EnvProblemKind::TooLarge);
    }
    Ok(bytes)
}

/// Reads a file that may exist. Rejects a pipe, because it may never end.
pub(crate) fn found(path: &Path) -> Result<Option<Vec<u8>>, EnvProblemKind> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(data) if !data.is_file() && !data.is_dir() => Err(EnvProblemKind::NotRegular),
        _ => named(path).map(Some),
    }
}

/// Classifies an I/O error.
fn failed(error: io::Error) -> EnvProblemKind {
    match error.kind() {
        io::ErrorKind::NotFound => EnvProblemKind::NotFound,
        io::ErrorKind::IsADirectory => EnvProblemKind::Directory,
        _ => EnvProblemKind::Unreadable(error),
    }
}

/// Decodes bytes as text and reports invalid lines; they get replacement characters, so that line numbers stay
/// correct.
pub(crate) fn decode(bytes: &[u8]) -> (String, Vec<(Option<usize>, EnvProblemKind)>) {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return (String::new(), vec![(None, EnvProblemKind::Utf16)]);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut problems = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.contains(&0) {
            problems.push((Some(index + 1), EnvProblemKind::Nul));
        } else if std::str::from_utf8(line).is_err() {
            problems.push((Some(index + 1), EnvProblemKind::NotUtf8));
        }
    }
    (String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}"), problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_keeps_line_numbers() {
        let (text, problems) = decode(b"\xef\xbb\xbfA=1\nB=\xff\r\n\0\nC=3");
        assert_eq!(text.lines().count(), 4);
        assert!(text.starts_with("A=1\n") && text.ends_with("\nC=3"), "{text:?}");
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [Some(2), Some(3)]);
    }

    #[test]
    fn file_size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::write(&path, vec![b'#'; MAX_FILE_BYTES]).unwrap();
        assert_eq!(named(&path).unwrap().len(), MAX_FILE_BYTES);
        fs::write(&path, vec![b'#'; MAX_FILE_BYTES + 1]).unwrap();
        assert!(matches!(named(&path), Err(EnvProblemKind::TooLarge)));
    }

    #[test]
    fn only_missing_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(found(&folder.path().join("none")), Ok(None)));
        assert!(matches!(found(folder.path()), Err(EnvProblemKind::Directory)));
        let file = folder.path().join("file");
        fs::write(&file, "A=1").unwrap();
        assert_eq!(found(&file).unwrap().unwrap(), b"A=1");
        if cfg!(unix) {
            assert!(matches!(found(&file.join("within")), Err(EnvProblemKind::Unreadable(_))));
        }
        // A file that was replaced by a directory in the meantime is reported as a directory.
        assert!(matches!(failed(io::ErrorKind::IsADirectory.into()), EnvProblemKind::Directory));
    }

    #[cfg(unix)]
    #[test]
    fn endless_device_is_rejected() {
        assert!(matches!(named(Path::new("/dev/zero")), Err(EnvProblemKind::TooLarge)));
        assert!(matches!(found(Path::new("/dev/zero")), Err(EnvProblemKind::NotRegular)));
    }
}
