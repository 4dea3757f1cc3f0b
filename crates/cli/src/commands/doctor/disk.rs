//! Checks the free space where opencode and the agent write.

use super::finding::Finding;
use std::path::Path;

const CHECK: &str = "disk";
/// With less than this, opencode cannot write its database and logs.
const MIN_BYTES: u64 = 64 << 20;
/// With less than this, a task that installs or builds something may fail.
const LOW_BYTES: u64 = 1 << 30;

/// Checks the free space of the temp directory, the home directory and the place of task directories.
pub(super) fn check(workspace: &Path) -> Vec<Finding> {
    let places = [Some(workspace.to_owned()), std::env::home_dir(), Some(std::env::temp_dir())];
    let mut findings = Vec::new();
    let mut devices = Vec::new();
    for place in places.into_iter().flatten() {
        let Some((device, free)) = free_bytes(&place) else { continue };
        if !devices.contains(&device) {
            devices.push(device);
            findings.push(judge(&place, free));
        }
    }
    findings
}

/// Returns the device of the place and its free space in bytes.
#[cfg(unix)]
fn free_bytes(place: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(place).ok()?.dev();
    let found = rustix::fs::statvfs(place).ok()?;
    Some((device, found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<(u64, u64)> {
    None
}

fn judge(place: &Path, free: u64) -> Finding {
    let left = format!("{} are free for {}", size_text(free), place.display());
    let fix = "delete files, for example with `opencode-run clean`";
    match free {
        0..MIN_BYTES => Finding::error(CHECK, format!("only {left}"), fix),
        MIN_BYTES..LOW_BYTES => Finding::warning(CHECK, format!("only {left}"), fix),
        _ => Finding::ok(CHECK, left),
    }
}

fn size_text(bytes: u64) -> String {
    if bytes < LOW_BYTES { format!("{} MiB", bytes >> 20) } else { format!("{} GiB", bytes >> 30) }
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingStatus;
    use super::*;

    #[test]
    fn little_space_is_a_problem() {
        let of = |free| judge(Path::new("/x"), free);
        assert_eq!(
            [of(0), of(MIN_BYTES), of(LOW_BYTES)].map(|finding| finding.status),
            [FindingStatus::Error, FindingStatus::Warning, FindingStatus::Ok]
        );
        assert_eq!(of(100 << 20).message, "only 100 MiB are free for /x");
        assert!(!check(Path::new("/")).is_empty());
    }
}
