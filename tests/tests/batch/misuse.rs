//! User mistakes, odd task ids, checks that misbehave, and signals to a batch.

use crate::stage::{Stage, assert_code, completed, lines, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use opencode_run_tests::terminal::spawn_on_terminal;
use rustix::termios::Winsize;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

fn write_tasks(stage: &Stage, tasks: impl IntoIterator<Item = serde_json::Value>) {
    let lines = tasks.into_iter().map(|task| format!("{task}\n")).collect::<Vec<_>>().concat();
    std::fs::write(stage.path("tasks.jsonl"), lines).unwrap();
}

fn command(stage: &Stage, arguments: &[&str]) -> Output {
    stage.sandbox.command(opencode_run_bin!()).args(arguments).current_dir(stage.path(".")).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn odd_ids_stay_within_the_results() {
    let stage = Stage::new(0, Duration::ZERO);
    let long = "ü".repeat(150);
    let ids = ["a/b", "../../up", "..", "-rf", "Case", "case", "näme 🙂", "<b>&\"'|`", "$(touch x)", long.as_str()];
    write_tasks(&stage, ids.iter().map(|id| json!({"id": id, "prompt": "m", "check": "true"})));
    let before: BTreeSet<_> = std::fs::read_dir(stage.path(".")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let results = stage.path("r.jsonl");
    assert_code(&stage.run(&results, &["--keep", "none"]), 0);
    assert_eq!(completed(&results).into_keys().collect::<BTreeSet<_>>(), ids.iter().map(ToString::to_string).collect());
    let after: BTreeSet<_> = std::fs::read_dir(stage.path(".")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let new = after.difference(&before).map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let new: Vec<_> = new.filter(|name| !name.starts_with("fake")).collect();
    assert_eq!(new, ["r.jsonl", "r.jsonl.d"]);
    assert_eq!(std::fs::read_dir(stage.path("r.jsonl.d/tasks")).unwrap().count(), ids.len());
    let transcripts: BTreeSet<_> = lines(&results).iter().map(|line| line["transcript"].to_string()).collect();
    assert_eq!(transcripts.len(), ids.len());
    for arguments in [
        &["batch", "export", "r.jsonl", "--format", "md"][..],
        &["batch", "export", "r.jsonl", "--format", "junit"],
        &["batch", "export", "r.jsonl", "--joblog", "joblog"],
        &["report", "r.jsonl"],
    ] {
        assert_code(&command(&stage, arguments), 0);
    }
    assert_eq!(std::fs::read_to_string(stage.path("joblog")).unwrap().lines().count(), ids.len() + 1);
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn outputs_never_replace_results() {
    let stage = Stage::new(2, Duration::ZERO);
    let results = stage.path("r.jsonl");
    assert_code(&stage.run(&results, &[]), 0);
    let whole = std::fs::read(&results).unwrap();
    for arguments in [
        &["batch", "export", "r.jsonl", "--predictions", "r.jsonl"][..],
        &["batch", "export", "r.jsonl", "--joblog", "./r.jsonl"],
        &["batch", "merge", "r.jsonl", "--output", "r.jsonl"],
        &["report", "r.jsonl", "--output", "r.jsonl"],
    ] {
        let refused = command(&stage, arguments);
        assert!(refused.status.code() != Some(0), "{arguments:?}");
        assert!(stderr(&refused).contains("it is one of the results files"), "{}", stderr(&refused));
        assert_eq!(std::fs::read(&results).unwrap(), whole, "{arguments:?}");
    }
    // A tasks file of one line without its end is no torn line of results.
    let tasks = stage.path("tasks.jsonl");
    std::fs::write(&tasks, "{\"id\":\"a\",\"prompt\":\"m\"}").unwrap();
    let refused = stage.run(&tasks, &["--resume"]);
    assert_code(&refused, 2);
    assert!(stderr(&refused).contains("tasks.jsonl:1: not a result"), "{}", stderr(&refused));
    assert_eq!(std::fs::read_to_string(&tasks).unwrap(), "{\"id\":\"a\",\"prompt\":\"m\"}");
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn unknown_ids_and_empty_selections_are_refused() {
    let stage = Stage::new(3, Duration::ZERO);
    let results = stage.path("r.jsonl");
    for (arguments, text) in [
        (&["--redo", "t9"][..], "no selected task has the id `t9`"),
        (&["--filter", "nothing"], "no task is selected"),
        (&["--slice", "7:9"], "no task is selected"),
    ] {
        let refused = stage.run(&results, arguments);
        assert_code(&refused, 2);
        assert!(stderr(&refused).contains(text) && !results.exists(), "{}", stderr(&refused));
    }
    assert_code(&stage.run(&results, &["--filter", "nothing", "--shard", "1/2"]), 0);
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn faults_of_tasks_cost_no_turn_and_stop_no_other() {
    let stage = Stage::new(0, Duration::ZERO);
    let missing = |number: u32| json!({"id": format!("dir{number}"), "prompt": "m", "dir": "missing"});
    let files = json!({"id": "files", "prompt": "m", "check_files": {"a": "missing"}, "check": "true"});
    let schema = json!({"id": "schema", "prompt": "m", "json_schema": "missing.json"});
    let escapes = json!({"id": "escapes", "prompt": "m", "subdir": "../x"});
    let good = json!({"id": "good", "prompt": "m"});
    write_tasks(&stage, (0..3).map(missing).chain([files, schema, escapes, good]));
    let results = stage.path("r.jsonl");
    assert_code(&stage.run(&results, &["--jobs", "1"]), 1);
    let lines = lines(&results);
    assert_eq!(lines.len(), 7, "a task was retried: {lines:#?}");
    for line in &lines[..6] {
        assert_eq!((&line["error"]["kind"], &line["session_id"]), (&json!("usage"), &json!(null)), "{line}");
    }
    assert_eq!((&lines[6]["id"], &lines[6]["state"]), (&json!("good"), &json!("completed")));
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn failed_start_of_opencode_is_retried() {
    let fails = || [Act::Stderr { text: "out of file descriptors\n".into() }, Act::Exit { code: 1 }];
    let serving = || Serving::doing([TurnAct::replay("1.18.33/plain-text")]).act();
    let stage = Stage::serving(2, |fake| fake.on("serve", fails()).on("serve", [serving()]));
    let results = stage.path("r.jsonl");
    assert_code(&stage.run(&results, &["--jobs", "1", "--retry-delay", "100ms"]), 0);
    let kinds: Vec<_> = lines(&results).iter().map(|line| line["error"]["kind"].clone()).collect();
    assert_eq!(kinds, [json!("opencode"), json!(null), json!(null)]);
    stage.sandbox.assert_nothing_alive();
    // An opencode that never starts ends the batch.
    let stage = Stage::serving(50, |fake| fake.on("serve", fails()));
    let output = stage.run(&stage.path("r.jsonl"), &["--jobs", "1", "--retry-delay", "1ms"]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("no more were started"), "{}", stderr(&output));
    assert!(lines(&stage.path("r.jsonl")).len() < 20, "each of three tasks was tried three times");
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn check_cannot_hold_or_flood_the_batch() {
    let stage = Stage::new(0, Duration::ZERO);
    let marker = stage.path("late");
    let daemon = format!("(trap '' HUP TERM; setsid sh -c 'sleep 5; touch {}' &) ; true", marker.display());
    let checks = [
        ("daemon", daemon.as_str(), true),
        ("ignores_signals", "trap '' TERM INT; while :; do sleep 1; done", false),
        ("flood", "head -c 30000000 /dev/zero | tr '\\0' x; printf '\\377\\376end'", true),
        ("secret", "env; test -z \"$MODEL_DEFAULT_APIKEY\"", true),
    ];
    write_tasks(&stage, checks.map(|(id, check, _)| json!({"id": id, "prompt": "m", "check": check})));
    std::fs::write(
        stage.path("models.env"),
        "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY=sk-secret-12345\n",
    )
    .unwrap();
    let results = stage.path("r.jsonl");
    let config = stage.path("models.env").display().to_string();
    let mut command = stage.batch(&results, &["--check-timeout", "2s", "--keep", "none", "--config", &config]);
    command.env("MODEL_DEFAULT_APIKEY", "sk-secret-12345").env("COPY", "sk-secret-12345");
    assert_code(&command.output().unwrap(), 1);
    for (id, _, passes) in checks {
        let line = lines(&results).into_iter().find(|line| line["id"] == id).unwrap();
        assert_eq!(line["check"]["passed"], passes, "{line}");
        let log = stage.path(line["check"]["log"].as_str().unwrap());
        assert!(log.metadata().unwrap().len() < 12_000_000, "{id}");
        let log = std::fs::read(log).unwrap();
        assert!(!log.windows(15).any(|bytes| bytes == b"sk-secret-12345"), "the key of {id}'s source");
        assert!(id != "flood" || log.ends_with(b"\xff\xfeend"));
    }
    assert!(!std::fs::read_to_string(&results).unwrap().contains("sk-secret"));
    stage.sandbox.assert_nothing_alive();
    assert!(!marker.exists());
}

#[test]
fn signals_have_their_exit_codes() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let stage = Stage::new(4, Duration::from_mins(2));
        let results = stage.path("r.jsonl");
        let mut batch = stage.start(&results, &["--jobs", "2"], "log");
        wait_until("the tasks run", || stage.path("r.jsonl.d/tasks").exists());
        let log = || std::fs::read_to_string(stage.path("log")).unwrap();
        for text in ["no more tasks are started", "the running tasks are interrupted"] {
            // The same signal within a moment counts once.
            std::thread::sleep(Duration::from_millis(1100));
            kill_process(Pid::from_child(&batch), signal).unwrap();
            wait_until("the signal is handled", || log().contains(text));
        }
        assert_eq!(batch.wait().unwrap().code(), Some(code), "{}", log());
        let lines = lines(&results);
        assert!(!lines.is_empty() && lines.iter().all(|line| line["state"] == "interrupted"), "{lines:?}");
        stage.sandbox.assert_nothing_alive();
    }
}

#[test]
fn closed_terminal_lets_running_tasks_finish() {
    let stage = Stage::new(40, Duration::from_secs(1));
    let results = stage.path("r.jsonl");
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut running, terminal, _) = spawn_on_terminal(&stage.batch(&results, &["--jobs", "2"]), size).unwrap();
    rustix::fs::fcntl_setfl(&terminal, rustix::fs::OFlags::NONBLOCK).unwrap();
    wait_until("the first tasks end", || {
        // An unread terminal would block the progress display.
        while rustix::io::read(&terminal, &mut [0; 4096][..]).is_ok_and(|count| count > 0) {}
        lines(&results).len() >= 2
    });
    drop(terminal);
    assert_eq!(running.wait().unwrap().code(), Some(129));
    let completed = completed(&results);
    assert!((2..40).contains(&completed.len()) && completed.values().all(|count| *count == 1), "{completed:?}");
    stage.sandbox.assert_nothing_alive();
}
