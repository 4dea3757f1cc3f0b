//! `setup` and `check`.

use super::Fixture;
use crate::CheckFiles;
use crate::workspace::TaskCommand;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[tokio::test]
async fn command_logs_both_streams_in_order() {
    let fixture = Fixture::new(&[("sub/a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    let log = fixture.path("check.log");
    let line = "pwd; echo out; echo err >&2; echo last; read x || echo nothing to read; exit 3";
    let command = TaskCommand::new(line, &log).subdir(Some("sub".to_owned()));
    let outcome = task.run(&command).await.unwrap();
    assert_eq!((outcome.exit_code, outcome.passed(), outcome.timed_out), (Some(3), false, false));
    let expected = format!("{}\nout\nerr\nlast\nnothing to read\n", task.directory().join("sub").display());
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
    assert!(task.run(&TaskCommand::new("true", &log)).await.unwrap().passed());
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

#[tokio::test]
async fn limit_ends_the_whole_process_tree() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    let log = fixture.path("check.log");
    let pids = fixture.path("pids");
    let line = format!(
        "echo $$ > {0}; setsid sh -c 'echo $$ >> {0}; sleep 60' & sleep 0.3; echo deadline $OPENCODE_RUN_DEADLINE; sleep 60",
        pids.display()
    );
    let began = Instant::now();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let outcome = task.run(&TaskCommand::new(line, &log).limit(Duration::from_secs(2))).await.unwrap();
    assert!(outcome.timed_out && outcome.exit_code.is_none() && began.elapsed() < Duration::from_secs(20));
    let log = fs::read_to_string(log).unwrap();
    let deadline: u64 = log.trim().strip_prefix("deadline ").unwrap().parse().unwrap();
    assert!((before + 1..before + 20).contains(&deadline), "{before} {deadline}");
    assert_dead(&fs::read_to_string(pids).unwrap(), 2);
}

#[tokio::test]
async fn background_process_ends_with_its_command() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    let pids = fixture.path("pids");
    let line = format!("setsid sh -c 'echo $$ > {}; sleep 60' & sleep 0.3", pids.display());
    assert!(task.run(&TaskCommand::new(line, fixture.path("log"))).await.unwrap().passed());
    assert_dead(&fs::read_to_string(pids).unwrap(), 1);
}

fn assert_dead(pids: &str, count: usize) {
    assert_eq!(pids.lines().count(), count);
    for pid in pids.lines() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}

#[tokio::test]
async fn long_log_keeps_beginning_and_end() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    let log = fixture.path("check.log");
    let line = "echo first; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last";
    let outcome = task.run(&TaskCommand::new(line, &log)).await.unwrap();
    let text = fs::read_to_string(log).unwrap();
    assert!(outcome.passed() && outcome.dropped_bytes > 9_000_000, "{}", outcome.dropped_bytes);
    assert!(text.starts_with("first\n") && text.ends_with("\nlast\n") && text.len() < 11_000_000);
    assert!(text.contains(&format!("... {} bytes were dropped ...", outcome.dropped_bytes)));
}

#[tokio::test]
async fn check_sees_the_copied_files() {
    let fixture = Fixture::new(&[("test.sh", b"exit 1\n"), ("keep.txt", b"k\n")]).await;
    let task = fixture.task().await;
    let folder = fixture.path("checks");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("test.sh"), "test -f deep/x\n").unwrap();
    fs::write(folder.join("deep/x"), "").unwrap();
    let check = TaskCommand::new("sh test.sh && test -f keep.txt", fixture.path("log"));
    assert!(!task.run(&check).await.unwrap().passed());
    let patch = fixture.patch(&task).await;
    task.lay_over(&CheckFiles::Folder(folder)).await.unwrap();
    assert!(task.run(&check).await.unwrap().passed());
    assert_eq!(patch.bytes, 0, "the patch was taken before");
}

#[tokio::test]
async fn plain_and_existing_directories_run_commands() {
    let fixture = Fixture::new(&[]).await;
    let made = fixture.workspaces.new_directory("a b").await.unwrap();
    let existing = fixture.workspaces.existing(&fixture.path("source")).await.unwrap();
    for task in [&made, &existing] {
        let command = TaskCommand::new("test -d .git", fixture.path("log"));
        assert!(task.run(&command).await.unwrap().passed());
        assert!(task.take_patch(&fixture.path("patch")).await.is_err());
    }
    let path = made.directory().to_owned();
    assert!(path.starts_with(fixture.path("clones").canonicalize().unwrap()));
    made.remove().await.unwrap();
    existing.remove().await.unwrap();
    assert!(!path.exists() && fixture.path("source").exists());
}
