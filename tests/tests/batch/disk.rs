//! A disk that is full while a batch runs.

use crate::stage::{Stage, assert_code, completed, wait_until};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A small file system, which only root can mount.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).stdout(Stdio::null()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Fills the disk, and returns the file that fills it.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[test]
fn write_waits_for_full_disk() {
    let stage = Stage::new(30, Duration::from_millis(300));
    let Some(disk) = SmallDisk::mount(stage.path("disk"), "size=2m") else {
        eprintln!("skipped: this user cannot mount a file system");
        return;
    };
    let results = disk.0.join("results.jsonl");
    let mut batch = stage.start(&results, &["--jobs", "3", "--retry-delay", "1s"], "log");
    let count = || std::fs::read_to_string(&results).unwrap_or_default().lines().count();
    wait_until("five tasks end", || count() >= 5);
    let filler = fill(&disk.0);
    let log = || std::fs::read_to_string(stage.path("log")).unwrap();
    wait_until("the batch waits for room", || log().contains("the disk of the results is full"));
    std::fs::remove_file(filler).unwrap();
    assert_eq!(batch.wait().unwrap().code(), Some(0), "{}", log());
    let completed = completed(&results);
    assert_eq!((completed.len(), completed.values().filter(|count| **count == 1).count()), (30, 30));
    assert!(log().contains("tasks are started again"), "{}", log());
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn read_only_results_start_nothing() {
    let stage = Stage::new(2, Duration::ZERO);
    let Some(disk) = SmallDisk::mount(stage.path("disk"), "size=2m,ro") else {
        eprintln!("skipped: this user cannot mount a file system");
        return;
    };
    let refused = stage.run(&disk.0.join("results.jsonl"), &[]);
    assert_code(&refused, 2);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("cannot be written") && text.contains("a writable directory"), "{text}");
    assert!(!disk.0.join("results.jsonl.d").exists());
    stage.sandbox.assert_nothing_alive();
}
