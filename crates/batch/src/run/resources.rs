//! Memory and disk that a batch uses.

use std::path::Path;

/// Returns the free bytes of a path's file system; `None` if unknown.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(path).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Returns the resident memory of this process and its descendants in bytes; `None` if unknown.
pub(super) fn memory_in_use() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        linux::memory_of(std::process::id())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;

    /// A page: the sizes in `/proc/PID/statm` are in pages.
    fn page_size() -> u64 {
        rustix::param::page_size() as u64
    }

    pub(super) fn memory_of(root: u32) -> Option<u64> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // A process that ended meanwhile uses nothing.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            // The parent's id is the second field after the name, which is in parentheses and may contain anything.
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            if let Some(parent) = parent {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut pages = 0;
        let mut waiting = vec![root];
        while let Some(pid) = waiting.pop() {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            pages += statm.split(' ').nth(1).and_then(|resident| resident.parse::<u64>().ok()).unwrap_or(0);
            waiting.extend(children.remove(&pid).unwrap_or_default());
        }
        Some(pages.saturating_mul(page_size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_and_memory_are_plausible() {
        assert!(free_bytes(Path::new("/")).is_none_or(|bytes| bytes > 0));
        assert_eq!(free_bytes(Path::new("/no/such/path")), None);
        assert!(memory_in_use().is_none_or(|bytes| bytes > 1 << 20));
    }
}
