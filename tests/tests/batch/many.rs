//! Shards, exports, signals and streams.

use crate::stage::{Stage, assert_code, completed, wait_until};
use opencode_run_tests::opencode_run_bin;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn missing_shard_is_named_by_merge() {
    let stage = Stage::new(20, Duration::ZERO);
    let merged = stage.path("all.jsonl");
    let shard = |number: u32| {
        let results = stage.path(&format!("r{number}.jsonl"));
        let mut command = stage.batch(&results, &["--shard", "auto"]);
        // The environment of a Slurm array.
        command.env("SLURM_ARRAY_TASK_ID", number.to_string());
        command.env("SLURM_ARRAY_TASK_MIN", "1").env("SLURM_ARRAY_TASK_MAX", "3").env("SLURM_ARRAY_TASK_STEP", "1");
        assert_code(&command.output().unwrap(), 0);
        results
    };
    let merge = |files: &[std::path::PathBuf]| {
        let mut command = stage.sandbox.command(opencode_run_bin!());
        command.args(["batch", "merge"]).args(files).arg("--output").arg(&merged).output().unwrap()
    };
    let two = [shard(1), shard(3)];
    let missing = merge(&two);
    assert_code(&missing, 2);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no results of 2/3"));
    let [first, third] = two;
    assert_code(&merge(&[first, shard(2), third]), 0);
    assert_eq!(completed(&merged).len(), 20);
    let none = stage.run(&stage.path("x.jsonl"), &["--shard", "auto"]);
    assert_code(&none, 2);
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn first_signal_lets_running_tasks_finish() {
    let stage = Stage::new(20, Duration::from_secs(2));
    let results = stage.path("results.jsonl");
    let mut batch = stage.start(&results, &["--jobs", "2"], "log");
    wait_until("the first tasks end", || results.metadata().is_ok_and(|metadata| metadata.len() > 0));
    kill_process(Pid::from_child(&batch), Signal::INT).unwrap();
    assert_eq!(batch.wait().unwrap().code(), Some(130));
    let completed = completed(&results);
    assert!((2..20).contains(&completed.len()) && completed.values().all(|count| *count == 1), "{completed:?}");
    stage.sandbox.assert_nothing_alive();
    assert_code(&stage.run(&results, &["--resume", "--jobs", "10"]), 0);
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn tasks_stream_from_stdin() {
    let stage = Stage::new(0, Duration::ZERO);
    let results = stage.path("results.jsonl");
    let mut command = stage.sandbox.command(opencode_run_bin!());
    let fake = stage.batch(&results, &[]);
    let opencode = fake.get_args().skip_while(|argument| *argument != "--opencode").nth(1).unwrap();
    command.args(["batch", "-", "--results"]).arg(&results).arg("--opencode").arg(opencode);
    let mut batch = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = batch.stdin.take().unwrap();
    stdin.write_all(b"{\"id\":\"one\",\"prompt\":\"m\"}\n").unwrap();
    wait_until("the first task ends before stdin does", || completed(&results).len() == 1);
    stdin.write_all(b"{\"id\":\"two\",\"promt\":\"m\"}\n{\"id\":\"three\",\"prompt\":\"m\"}\n").unwrap();
    drop(stdin);
    let output = batch.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("<stdin>:2: unknown field `promt`"));
    assert_eq!(completed(&results).keys().collect::<Vec<_>>(), ["one", "three"]);
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn invalid_tasks_start_nothing() {
    let stage = Stage::new(3, Duration::ZERO);
    let mut file = std::fs::OpenOptions::new().append(true).open(stage.path("tasks.jsonl")).unwrap();
    file.write_all(b"{\"id\":\"t0\",\"prompt\":\"again\"}\n").unwrap();
    let results = stage.path("results.jsonl");
    let refused = stage.run(&results, &[]);
    assert_code(&refused, 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("tasks.jsonl:4: line 1 has the same id"));
    assert!(!results.exists());
    let only = stage.run(&results, &["--dry-run", "--limit", "1"]);
    assert_code(&only, 2);
}
