//! `clean` after batches.

use crate::stage::{Stage, assert_code, lines, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::TurnAct;
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

#[test]
fn clean_spares_a_running_batch() {
    let go = std::env::temp_dir().join(format!("clean-spares-{}", std::process::id()));
    let stage = Stage::doing(0, [Act::WaitForFile { path: go.clone() }.into(), TurnAct::replay("1.18.33/plain-text")]);
    let repository = repository(&stage);
    let task = |id: &str| json!({"id": id, "prompt": "m", "repo": repository}).to_string() + "\n";
    let plain = "{\"id\":\"plain\",\"prompt\":\"m\"}\n";
    std::fs::write(stage.path("tasks.jsonl"), task("one") + &task("two") + plain).unwrap();
    let results = stage.path("results.jsonl");
    let mut batch = stage.start(&results, &["--jobs", "3"], "log");
    let model = |id: &str| {
        let control =
            stage.sandbox.command(opencode_run_bin!()).args(["batch", "ctl"]).arg(&results).arg("status").output();
        let status: Value = serde_json::from_slice(&control.unwrap().stdout).unwrap_or_default();
        let running = status["running_attempts"].as_array().cloned().unwrap_or_default();
        running.iter().any(|attempt| attempt["id"] == id && attempt["step"] == "model")
    };
    wait_until("all turns run", || ["one", "two", "plain"].into_iter().all(model));
    for kind in ["leftovers", "mirrors", "clones", "sessions", "tasks", "journals"] {
        let row = clean(&stage, &[kind, "--yes"], kind);
        assert_eq!(row["removed"], 0, "{row}");
    }
    std::fs::write(&go, "").unwrap();
    assert!(batch.wait().unwrap().success(), "{}", std::fs::read_to_string(stage.path("log")).unwrap());
    std::fs::remove_file(go).unwrap();
    let lines = lines(&results);
    assert!(lines.len() == 3 && lines.iter().all(|line| line["state"] == "completed"), "{lines:#?}");
    // It would have found them.
    for kind in ["mirrors", "clones"] {
        assert_eq!(clean(&stage, &[kind, "--dry-run"], kind)["count"], 1, "{kind}");
    }
    stage.sandbox.assert_nothing_alive();
}
