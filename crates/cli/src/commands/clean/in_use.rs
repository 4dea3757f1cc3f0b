//! The directories that processes of this machine use.

use std::path::{Path, PathBuf};

/// The working directories and homes of all processes that can be read.
#[derive(Debug, Default)]
pub(super) struct Uses(Vec<PathBuf>);

impl Uses {
    /// Scans all processes. Only Linux shows them; elsewhere locks alone protect what is in use.
    pub(super) fn of_processes() -> Self {
        let mut used = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
            if !is_process {
                continue;
            }
            used.extend(std::fs::read_link(entry.path().join("cwd")));
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let homes = environment.split(|byte| *byte == 0).filter_map(|variable| variable.strip_prefix(b"HOME="));
            used.extend(homes.map(|home| PathBuf::from(String::from_utf8_lossy(home).into_owned())));
        }
        Self(used)
    }

    /// Returns whether a process works in a directory or below it.
    pub(super) fn is_used(&self, path: &Path) -> bool {
        self.0.iter().any(|used| used.starts_with(path))
    }
}
