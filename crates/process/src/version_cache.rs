//! Which version an executable has, remembered across runs: asking costs half a second.

use crate::{Version, cache_file, find_untrusted};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A file that remembers the version of one executable, as long as that is the same file.
///
/// It is a convenience: what cannot be read or written is as if it was not there.
#[derive(Debug, Clone)]
pub(crate) struct VersionCache {
    file: PathBuf,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    executable: PathBuf,
    bytes: u64,
    modified_ns: u128,
    version: String,
}

impl VersionCache {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file }
    }

    pub(crate) fn get(&self, path: &Path) -> Option<Version> {
        if find_untrusted(&self.file).is_some() {
            return None;
        }
        let known: Remembered = crate::json_text::parse_repaired(&std::fs::read_to_string(&self.file).ok()?).ok()?;
        let version = known.version.parse().ok()?;
        (known == Remembered::of(path, version)?).then_some(version)
    }

    pub(crate) fn put(&self, path: &Path, version: Version) {
        let write = || {
            let remembered = serde_json::to_vec(&Remembered::of(path, version)?).ok()?;
            cache_file::write(&self.file, &remembered).ok()
        };
        if write().is_none() {
            tracing::debug!(file = %self.file.display(), "the version of opencode could not be remembered");
        }
    }
}

impl Remembered {
    /// Follows links, so that an executable that was replaced behind one is another.
    fn of(path: &Path, version: Version) -> Option<Self> {
        let executable = path.canonicalize().ok()?;
        let metadata = executable.metadata().ok()?;
        let modified_ns = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        Some(Self { executable, bytes: metadata.len(), modified_ns, version: version.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_file_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = VersionCache::new(dir.path().join("new/versions.json"));
        let executable = dir.path().join("opencode");
        std::fs::write(&executable, "one").unwrap();
        assert_eq!(cache.get(&executable), None);

        let version = Version::new(1, 18, 33);
        cache.put(&executable, version);
        assert_eq!(cache.get(&executable), Some(version));

        std::fs::write(&executable, "another").unwrap();
        assert_eq!(cache.get(&executable), None);
        std::fs::write(&cache.file, "{").unwrap();
        assert_eq!(cache.get(&executable), None);
    }
}
