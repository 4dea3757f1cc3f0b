//! Caches the version of an executable across runs: querying it takes half a second.
//!
//! Only opencode itself is cached. Version managers put a small program in its place that selects a version by the
//! environment, the current directory or a file: a script, or a link to the version manager. Its selection can change while
//! the program stays the same.

use crate::{Version, cache_file, find_untrusted};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The size of the smallest executable that is cached. opencode contains a JavaScript runtime and has at least 90 MiB; a
/// shim has a few MiB.
const MIN_BYTES: u64 = 40 << 20;

/// The number of executables whose versions are kept, such as one of each generation.
const MAX_EXECUTABLES: usize = 8;

/// A file that caches the versions of executables until they change.
///
/// An unreadable or unwritable cache counts as absent.
#[derive(Debug, Clone)]
pub(crate) struct VersionCache {
    file: PathBuf,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    executable: PathBuf,
    bytes: u64,
    modified_ns: u128,
    /// The device, the inode, and the time of its last change in nanoseconds. Programs can set the time of modification of
    /// a file that they replace, but not the time of the change.
    identity: [i128; 3],
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
        let present = Self::describe(path)?;
        let known = self.read().into_iter().find(|known| known.executable == present.executable)?;
        let version = known.version.parse().ok()?;
        (Remembered { version: known.version.clone(), ..present } == known).then_some(version)
    }

    /// Describes the target of a path; `None` if it may be a shim.
    pub(crate) fn describe(path: &Path) -> Option<Remembered> {
        Remembered::of(path)
    }

    fn read(&self) -> Vec<Remembered> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        crate::json_text::parse_repaired(&text).unwrap_or_default()
    }

    /// Caches the version of an executable that is the same as `before` its version was queried.
    pub(crate) fn put(&self, path: &Path, before: Option<&Remembered>, version: Version) {
        let write = || {
            let unchanged = Self::describe(path).filter(|now| Some(now) == before)?;
            let new = Remembered { version: version.to_string(), ..unchanged };
            let mut all = if find_untrusted(&self.file).is_some() { Vec::new() } else { self.read() };
            all.retain(|known| known.executable != new.executable);
            all.insert(0, new);
            all.truncate(MAX_EXECUTABLES);
            cache_file::write(&self.file, &serde_json::to_vec(&all).ok()?).ok()
        };
        if write().is_none() {
            tracing::debug!(file = %self.file.display(), "the version of opencode is not cached");
        }
    }
}

impl Remembered {
    fn of(path: &Path) -> Option<Self> {
        let executable = path.canonicalize().ok()?;
        let metadata = executable.metadata().ok()?;
        if metadata.len() < MIN_BYTES || !has_name_of(path, &executable) || is_script(&executable)? {
            return None;
        }
        let modified_ns = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        let identity = identity(&metadata);
        Some(Self { executable, bytes: metadata.len(), modified_ns, identity, version: String::new() })
    }
}

/// Returns whether the target of a link is named after opencode or after the link: a version manager has another name.
fn has_name_of(link: &Path, target: &Path) -> bool {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name(target).contains("opencode") || name(target) == name(link)
}

/// Returns whether a file is a script for an interpreter; `None` if it cannot be read.
fn is_script(path: &Path) -> Option<bool> {
    let mut start = [0; 2];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    Some(&start == b"#!")
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> [i128; 3] {
    use std::os::unix::fs::MetadataExt;
    let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    [metadata.dev().into(), metadata.ino().into(), changed_ns]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i128; 3] {
    [0; 3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use tempfile::TempDir;

    const FIRST: Version = Version::new(1, 18, 33);

    struct Installed {
        dir: TempDir,
        cache: VersionCache,
    }

    impl Installed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let cache = VersionCache::new(dir.path().join("new/versions.json"));
            Self { dir, cache }
        }

        /// Creates an executable of opencode's size that begins with this text.
        fn file(&self, name: &str, start: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, start).unwrap();
            // The rest is a hole.
            File::options().write(true).open(&path).unwrap().set_len(MIN_BYTES).unwrap();
            path
        }

        fn put(&self, path: &Path, version: Version) {
            self.cache.put(path, VersionCache::describe(path).as_ref(), version);
        }

        /// Caches the version of an executable, and returns whether it was cached.
        fn is_cached(&self, path: &Path) -> bool {
            self.put(path, FIRST);
            self.cache.get(path) == Some(FIRST)
        }
    }

    #[test]
    fn version_is_cached_until_file_changes() {
        let installed = Installed::new();
        let executable = installed.file("opencode", "one");
        assert_eq!(installed.cache.get(&executable), None);
        assert!(installed.is_cached(&executable));

        File::options().write(true).open(&executable).unwrap().set_len(MIN_BYTES + 1).unwrap();
        assert_eq!(installed.cache.get(&executable), None);
        assert!(installed.is_cached(&executable));
        std::fs::write(&installed.cache.file, "{").unwrap();
        assert_eq!(installed.cache.get(&executable), None);
    }

    #[test]
    fn executable_that_changed_meanwhile_is_not_cached() {
        let installed = Installed::new();
        let executable = installed.file("opencode", "one");
        let before = VersionCache::describe(&executable);
        File::options().write(true).open(&executable).unwrap().set_len(MIN_BYTES + 1).unwrap();
        installed.cache.put(&executable, before.as_ref(), FIRST);
        assert_eq!(installed.cache.get(&executable), None);
    }

    #[test]
    fn several_executables_are_cached() {
        let installed = Installed::new();
        let second = Version::new(2, 0, 14);
        let all: Vec<_> = (0..=MAX_EXECUTABLES).map(|n| installed.file(&format!("{n}/opencode"), "x")).collect();
        installed.put(&all[1], second);
        all.iter().skip(2).for_each(|executable| assert!(installed.is_cached(executable)));
        assert_eq!(installed.cache.get(&all[1]), Some(second));
        assert!(installed.is_cached(&all[0]));
        assert_eq!(installed.cache.get(&all[1]), None, "the oldest is dropped");
    }

    #[cfg(unix)]
    #[test]
    fn file_with_same_size_and_time_is_queried() {
        let installed = Installed::new();
        let executable = installed.file("opencode", "one");
        let modified = executable.metadata().unwrap().modified().unwrap();
        let set_time = |path: &Path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_times(FileTimes::new().set_modified(modified)).unwrap();
        };
        assert!(installed.is_cached(&executable));
        // Replaced by another file, as by an installation that keeps the times of an archive.
        let other = installed.file("other", "two");
        set_time(&other);
        std::fs::rename(&other, &executable).unwrap();
        assert_eq!(installed.cache.get(&executable), None);
        // Overwritten in place.
        assert!(installed.is_cached(&executable));
        std::thread::sleep(std::time::Duration::from_millis(20));
        installed.file("opencode", "one");
        set_time(&executable);
        assert_eq!(installed.cache.get(&executable), None);
    }

    #[cfg(unix)]
    #[test]
    fn retargeted_link_is_queried() {
        let installed = Installed::new();
        let link = installed.dir.path().join("opencode");
        let point_to = |target: &Path| {
            std::fs::remove_file(&link).ok();
            std::os::unix::fs::symlink(target, &link).unwrap();
        };
        // Links through a directory are the usual way: `current` -> `1.18.33`.
        let first = installed.file("1/bin/opencode", "one");
        let second = installed.file("2/bin/opencode", "one");
        for (first, second) in [(first, second), (installed.file("opencode-1", "x"), installed.file("opencode-2", "x"))]
        {
            point_to(&first);
            assert!(installed.is_cached(&link));
            point_to(&second);
            assert_eq!(installed.cache.get(&link), None);
            point_to(&first);
            assert_eq!(installed.cache.get(&link), Some(FIRST));
        }
    }

    #[cfg(unix)]
    #[test]
    fn shims_are_never_cached() {
        let installed = Installed::new();
        let link = |target: PathBuf| {
            let link = installed.dir.path().join("opencode");
            std::fs::remove_file(&link).ok();
            std::os::unix::fs::symlink(target, &link).unwrap();
            link
        };
        // Scripts choose the version by PATH, a variable or a file, and a version manager by the name that it is called by.
        let script = installed.file("bin/opencode", "#!/bin/sh\nexec \"$OPENCODE_HOME/opencode\" \"$@\"\n#");
        let small = installed.dir.path().join("small-opencode");
        std::fs::write(&small, "ELF").unwrap();
        for shim in [link(script.clone()), script, small, link(installed.file("bin/mise", "ELF"))] {
            assert!(!installed.is_cached(&shim), "{}", shim.display());
        }
        assert!(installed.is_cached(&installed.file("bin/opencode.exe", "ELF")));
    }
}
