//! The receipt of an installation, by which a later `setup` knows that it is complete.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The name of the receipt's file in the directory of the installation.
const NAME: &str = "installed.json";

/// The record of an installation.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receipt {
    version: String,
    /// The checksum of the executable, in hexadecimal digits.
    sha256: String,
    /// The executable, relative to the directory; absent in receipts before there were other packages than the
    /// tested one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    executable: Option<PathBuf>,
}

impl Receipt {
    /// Creates the receipt of an executable, `within` its directory.
    ///
    /// # Errors
    ///
    /// If the executable cannot be read.
    pub(super) fn new(version: &str, within: &Path, executable: &Path) -> io::Result<Self> {
        let sha256 = checksum(executable)?;
        Ok(Self { version: version.to_owned(), sha256, executable: Some(within.to_owned()) })
    }

    /// Reads the receipt of a directory; `None` if it is missing or unreadable.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(NAME)).ok()?).ok()
    }

    /// Writes the receipt to the directory.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::write(directory.join(NAME), serde_json::to_vec_pretty(self)?)
    }

    /// Returns the path of the executable in a directory.
    pub(super) fn executable(&self, directory: &Path) -> Option<PathBuf> {
        Some(directory.join(self.executable.as_ref()?))
    }

    /// Returns whether the executable is the one that was installed, byte by byte.
    pub(super) fn is_valid(&self, version: &str, executable: &Path) -> bool {
        self.version == version && checksum(executable).is_ok_and(|sum| sum == self.sha256)
    }
}

fn checksum(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hash.update(&chunk[..read]),
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_executable_is_not_valid() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("opencode");
        std::fs::write(&executable, "x").unwrap();
        assert!(Receipt::read(folder.path()).is_none());
        Receipt::new("1.2.3", Path::new("opencode"), &executable).unwrap().write(folder.path()).unwrap();
        let receipt = Receipt::read(folder.path()).unwrap();
        assert_eq!(receipt.executable(folder.path()), Some(executable.clone()));
        assert!(receipt.is_valid("1.2.3", &executable) && !receipt.is_valid("1.2.4", &executable));
        std::fs::write(&executable, "y").unwrap();
        assert!(!receipt.is_valid("1.2.3", &executable));
    }

    #[test]
    fn receipt_without_executable_is_read() {
        let receipt: Receipt = serde_json::from_str(r#"{"version": "1.18.33", "sha256": "00"}"#).unwrap();
        assert_eq!(receipt.executable(Path::new("/x")), None);
    }
}
