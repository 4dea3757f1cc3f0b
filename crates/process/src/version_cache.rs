//! Caches the version of an executable across runs: querying it takes half a second.

use crate::{Version, cache_file, find_untrusted};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A file that caches the version of one executable until that changes.
///
/// An unreadable or unwritable cache counts as absent.
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
            tracing::debug!(file = %self.file.display(), "the version of opencode could not be cached");
        }
    }
}

impl Remembered {
    /// Follows links, so that a replaced target counts as another executable.
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
    fn version_is_cached_until_file_changes() {
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
