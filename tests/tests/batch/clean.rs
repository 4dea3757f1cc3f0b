//! `clean` after batches.

use crate::stage::{Stage, assert_code, lines};
use opencode_run_tests::opencode_run_bin;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Makes a repository of one file.
fn repository(stage: &Stage) -> PathBuf {
    let repository = stage.path("repository");
    std::fs::create_dir(&repository).unwrap();
    std::fs::write(repository.join("file.txt"), "text\n").unwrap();
    let commit = "git init -q -b main && git add -A && git -c user.name=t -c user.email=t@example.com commit -qm one";
    let mut command = stage.sandbox.command("sh");
    assert_code(&command.current_dir(&repository).args(["-c", commit]).output().unwrap(), 0);
    repository
}

/// Runs `clean` and returns the row of a kind.
fn clean(stage: &Stage, arguments: &[&str], kind: &str) -> Value {
    let mut command = stage.sandbox.command(opencode_run_bin!());
    let output = command.arg("clean").args(arguments).args(["--output-format", "json"]).output().unwrap();
    assert_code(&output, 0);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    rows.as_array().unwrap().iter().find(|row| row["kind"] == kind).unwrap().clone()
}

#[test]
fn clones_and_mirrors_are_removed() {
    let stage = Stage::new(0, Duration::ZERO);
    let repository = repository(&stage);
    let task = |id: &str| json!({"id": id, "prompt": "m", "repo": repository}).to_string() + "\n";
    std::fs::write(stage.path("tasks.jsonl"), task("one") + &task("two")).unwrap();
    let results = stage.path("results.jsonl");
    assert_code(&stage.run(&results, &["--keep", "all"]), 0);
    let lines = lines(&results);
    let clones: Vec<_> = lines.iter().map(|line| line["task_dir"].as_str().unwrap()).map(Path::new).collect();
    assert!(clones.len() == 2 && clones.iter().all(|clone| clone.join("file.txt").exists()));

    let listed = clean(&stage, &["clones", "mirrors", "--dry-run"], "clones");
    assert_eq!((&listed["count"], &listed["removed"]), (&json!(2), &json!(0)));
    assert!(listed["items"].as_array().unwrap().iter().all(|item| item["bytes"].as_u64() > Some(100)), "{listed}");
    assert!(clones.iter().all(|clone| clone.exists()), "a dry run removes nothing");
    let mirrors = clean(&stage, &["mirrors", "--yes"], "mirrors");
    assert_eq!((&mirrors["count"], &mirrors["removed"]), (&json!(1), &json!(1)), "{mirrors}");
    let removed = clean(&stage, &["clones", "--yes"], "clones");
    assert_eq!((&removed["count"], &removed["removed"]), (&json!(2), &json!(2)), "{removed}");
    assert!(clones.iter().all(|clone| !clone.exists()) && results.exists());
    assert!(stage.path("results.jsonl.d/tasks").exists(), "the results stay");
    // The mirror is fetched again.
    assert_code(&stage.run(&results, &["--redo", "all"]), 0);
    stage.sandbox.assert_nothing_alive();
}
