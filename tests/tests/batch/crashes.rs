//! Batches that are killed, and results that another process or a crash damaged.

use crate::stage::{Stage, assert_code, completed, lines, wait_until};
use std::io::Write;
use std::time::Duration;

/// The number of times that the batch is killed; `OPENCODE_RUN_TEST_KILLS` changes it.
const KILLS: u64 = 8;

#[test]
fn killed_batch_loses_no_result() {
    let kills = std::env::var("OPENCODE_RUN_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let stage = Stage::new(100, Duration::from_millis(400));
    let results = stage.path("results.jsonl");
    let mut seed = 18_u64;
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut batch = stage.start(&results, &["--resume", "--jobs", "4"], "log");
        std::thread::sleep(Duration::from_millis(200 + (seed >> 33) % 1200));
        batch.kill().unwrap();
        batch.wait().unwrap();
        // A torn last line at most: all others are results.
        let text = std::fs::read_to_string(&results).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        assert!(whole.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "kill {kill}");
    }
    let done = stage.run(&results, &["--resume", "--jobs", "8"]);
    assert_code(&done, 0);
    let completed = completed(&results);
    assert_eq!((completed.len(), completed.values().filter(|count| **count == 1).count()), (100, 100));
    assert!(!stage.path("results.jsonl.sock").exists(), "no socket is left");
    stage.sandbox.assert_nothing_alive();
    let again = stage.run(&results, &["--resume"]);
    assert_code(&again, 0);
    assert_eq!(lines(&results).iter().filter(|line| line["state"] == "completed").count(), 100);
}

#[test]
fn results_without_resume_are_refused() {
    let stage = Stage::new(2, Duration::ZERO);
    let results = stage.path("results.jsonl");
    assert_code(&stage.run(&results, &[]), 0);
    let refused = stage.run(&results, &[]);
    assert_code(&refused, 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("continue them with --resume"));
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn damaged_results_are_named() {
    let stage = Stage::new(2, Duration::ZERO);
    let results = stage.path("results.jsonl");
    assert_code(&stage.run(&results, &[]), 0);
    let whole = std::fs::read_to_string(&results).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&results).unwrap();
    file.write_all(&whole.as_bytes()[..50]).unwrap();
    let resumed = stage.run(&results, &["--resume"]);
    assert_code(&resumed, 0);
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("cut off by a crash"));
    assert_eq!(std::fs::read_to_string(&results).unwrap(), whole);
    assert!(stage.path("results.jsonl.torn").exists());

    std::fs::write(&results, whole.replace("\"v\":1", "\"v\":9")).unwrap();
    let other = stage.run(&results, &["--resume"]);
    assert_code(&other, 2);
    assert!(String::from_utf8_lossy(&other.stderr).contains("version 9 of the results format is not supported"));
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn second_batch_on_the_results_is_refused() {
    let stage = Stage::new(4, Duration::from_secs(1));
    let results = stage.path("results.jsonl");
    let mut first = stage.start(&results, &[], "log");
    wait_until("the first batch starts", || stage.path("results.jsonl.sock").exists());
    let second = stage.run(&results, &["--resume"]);
    assert_code(&second, 2);
    assert!(String::from_utf8_lossy(&second.stderr).contains("another batch is writing to"));
    let mut ctl = stage.sandbox.command(opencode_run_tests::opencode_run_bin!());
    let status = ctl.args(["batch", "ctl"]).arg(&results).arg("status").output().unwrap();
    assert_code(&status, 0);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["tasks"], 4);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(completed(&results).len(), 4);
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn changed_task_runs_again() {
    let stage = Stage::new(3, Duration::ZERO);
    let results = stage.path("results.jsonl");
    assert_code(&stage.run(&results, &[]), 0);
    let tasks = std::fs::read_to_string(stage.path("tasks.jsonl")).unwrap();
    std::fs::write(stage.path("tasks.jsonl"), tasks.replace("task 1", "another task")).unwrap();
    let resumed = stage.run(&results, &["--resume"]);
    assert_code(&resumed, 0);
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("1 tasks were changed and run again: t1"));
    let attempts: Vec<_> = lines(&results).iter().map(|line| (line["id"].clone(), line["attempt"].clone())).collect();
    assert_eq!(attempts.len(), 4);
    assert_eq!(attempts[3], ("t1".into(), 2.into()));
    stage.sandbox.assert_nothing_alive();
}
