//! Journals of conversations whose process was killed, and their continuation.

use crate::support::{Case, Outcome, PLAIN, PLAIN_TEXT, Running, Transport, plain, ready_and_stall, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Returns a case whose first turn writes a text and stalls, and whose later turns are complete.
fn stalling_once() -> Case {
    Case::new(|script, sandbox| {
        let stalling = [plain(0, 2)].into_iter().chain(ready_and_stall(sandbox));
        script.on("run", stalling).replay("run", PLAIN)
    })
}

/// Returns an act that reports this directory for every session.
fn says_where_sessions_belong(directory: &Path) -> Act {
    let info = serde_json::json!({"id": "{{session}}", "directory": directory});
    Act::Stdout { text: serde_json::json!({ "info": info }).to_string() }
}

/// Starts a turn, waits until its text is in the journal, and kills the command; returns the task's directory.
fn killed_in_the_middle(case: &Case) -> PathBuf {
    let running = case.start(&["hello"]);
    case.wait_until_ready();
    wait_until("the text is in the journal", || journals(case).iter().any(|path| text(path).contains(PLAIN_TEXT)));
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal, Some(Signal::KILL.as_raw()));
    case.sandbox.assert_nothing_alive();
    let [dir] = case.task_dirs().try_into().unwrap();
    dir
}

/// Returns a subcommand with the fake as its opencode and an empty stdin.
fn subcommand(case: &Case, name: &str, arguments: &[&str]) -> Command {
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args([name, "--transport", "run", "--opencode"]).arg(case.fake.executable()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `resume` on a directory to its end.
fn resume(case: &Case, dir: &Path, arguments: &[&str]) -> Outcome {
    let mut command = subcommand(case, "resume", &[&[dir.to_str().unwrap()], arguments].concat());
    let outcome = Running::spawn(&mut command).wait();
    case.sandbox.assert_nothing_alive();
    outcome
}

/// Returns all journals of the sandbox.
fn journals(case: &Case) -> Vec<PathBuf> {
    let folders = case.sandbox.home().join(".local/state/opencode-run/journals").read_dir();
    let folders = folders.into_iter().flatten().map(|folder| folder.unwrap().path());
    // Skips the file with the time of the last cleanup.
    let entries = folders.filter(|path| path.is_dir()).flat_map(|folder| folder.read_dir().unwrap());
    let mut journals: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    journals.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    journals
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn killed_turn_is_shown_and_continued() {
    let case = stalling_once();
    let dir = killed_in_the_middle(&case);
    let session = case.fake.log_of("run")[0].flag("--session").map(str::to_owned);
    assert_eq!(session, None);

    let shown = resume(&case, &dir, &[]);
    shown.assert_code(0);
    assert_eq!(shown.stdout, format!("{PLAIN_TEXT}\n"));
    shown.assert_says(&["the last turn, “hello”: error after", "cut off", "to continue: opencode-run resume"]);
    assert_eq!(case.fake.log_of("run").len(), 1, "showing starts nothing");

    let went_on = resume(&case, &dir, &["go", "on", "--output-format", "json", "--save-markdown"]);
    went_on.assert_code(0);
    went_on.assert_says(&["cut off", PLAIN_TEXT]);
    let object = went_on.object();
    assert_eq!((object["state"].as_str(), object["output"].as_str()), (Some("completed"), Some(PLAIN_TEXT)));
    let earlier = &object["earlier_turns"][0];
    assert_eq!((earlier["message"].as_str(), earlier["state"].as_str()), (Some("hello"), Some("error")));
    assert_eq!((earlier["output"].as_str(), earlier["error"]["kind"].as_str()), (Some(PLAIN_TEXT), Some("protocol")));
    let run = &case.fake.log_of("run")[1];
    assert_eq!(run.flag("--session"), object["session_id"].as_str());
    assert_eq!((run.cwd.as_path(), run.stdin.as_deref()), (dir.as_path(), Some("go on")));
    let transcript = text(&dir.join("conversation.md"));
    assert!(transcript.contains("hello") && transcript.contains("go on"), "{transcript}");

    let shown = resume(&case, &dir, &["--output-format", "json"]).object();
    assert_eq!((&shown["output"], &shown["earlier_turns"]), (&object["output"], &object["earlier_turns"]));
    let markdown = resume(&case, &dir, &["--print-markdown"]).stdout;
    assert!(markdown.contains("hello") && markdown.contains("go on"), "{markdown}");
    assert_eq!(journals(&case).len(), 1);
}

#[test]
fn isolated_conversation_can_only_be_shown() {
    let case = Case::replaying(PLAIN);
    case.run(&["--isolated", "hello"]).assert_code(0);
    let [dir] = case.task_dirs().try_into().unwrap();
    let shown = resume(&case, &dir, &[]);
    shown.assert_code(0);
    assert_eq!(shown.stdout, format!("{PLAIN_TEXT}\n"));
    shown.assert_says(&["cannot be resumed", "--isolated"]);
    assert!(!shown.stderr.contains("to continue"), "{shown:?}");

    let [journal] = journals(&case).try_into().unwrap();
    let before = text(&journal);
    let refused = resume(&case, &dir, &["go on", "--output-format", "json"]);
    refused.assert_code(1);
    refused.assert_says(&["--isolated", "hint: ", "--dir"]);
    assert_eq!(refused.object()["error"]["kind"], "session_not_found");
    assert_eq!((case.fake.log_of("run").len(), text(&journal)), (1, before), "nothing ran");
}

#[test]
fn printed_output_survives_a_kill() {
    let pieces = TurnAct::Speak { delta: "word ".to_owned(), count: 2000, at_once: 7, pause_ms: 10 };
    let case = Case::new(|script, _| script.on("serve", [Serving::doing([pieces]).act()]));
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["--transport", "serve", "--opencode"]).arg(case.fake.executable()).arg("hello");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::spawn_unread(&mut command);
    let mut stdout = running.child.stdout.take().unwrap();
    let mut printed = vec![0; 200];
    stdout.read_exact(&mut printed).unwrap();
    running.signal(Signal::KILL);
    stdout.read_to_end(&mut printed).unwrap();
    running.wait();
    case.sandbox.assert_nothing_alive();

    let [dir] = case.task_dirs().try_into().unwrap();
    let shown = resume(&case, &dir, &[]).stdout;
    let printed = String::from_utf8(printed).unwrap();
    assert!(shown.starts_with(printed.trim_end()) && shown.len() < 2000 * 5, "{printed:?} is not in {shown:?}");
}

#[test]
fn truncated_last_line_is_reported() {
    let case = stalling_once();
    let dir = killed_in_the_middle(&case);
    let [journal] = journals(&case).try_into().unwrap();
    let whole = text(&journal);
    let torn = "{\"event\":{\"at\":1234567,\"event\":{\"type\":\"te";
    OpenOptions::new().append(true).open(&journal).unwrap().write_all(torn.as_bytes()).unwrap();

    assert_eq!(resume(&case, &dir, &[]).stdout, format!("{PLAIN_TEXT}\n"));
    assert_eq!(text(&journal), format!("{whole}{torn}"), "showing changes nothing");
    let went_on = resume(&case, &dir, &["go on"]);
    went_on.assert_code(0);
    let warning = format!("warning: the journal ended in the middle of a line: {} bytes were dropped\n", torn.len());
    went_on.assert_says(&[&warning]);
    let mended = text(&journal);
    assert!(mended.starts_with(&whole) && mended.ends_with('\n'), "{mended}");
    assert!(mended.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{mended}");
}

#[test]
fn active_conversation_can_only_be_shown() {
    let case = Case::new(|script, sandbox| {
        let stalling = [plain(0, 2)].into_iter().chain(ready_and_stall(sandbox));
        script.on("run", stalling).on("export", [says_where_sessions_belong(&sandbox.workspace())])
    });
    let running = case.start(&["--dir", ".", "hello"]);
    case.wait_until_ready();
    wait_until("the text is in the journal", || journals(&case).iter().any(|path| text(path).contains(PLAIN_TEXT)));
    let dir = case.sandbox.workspace();
    let mut resume = subcommand(&case, "resume", &[dir.to_str().unwrap()]);
    let shown = resume.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), format!("{PLAIN_TEXT}\n"));
    assert!(String::from_utf8_lossy(&shown.stderr).contains("it is running now"), "{shown:?}");
    let refused = resume.args(["go on", "--output-format", "json"]).output().unwrap();
    let object: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), object["error"]["kind"].as_str()), (Some(1), Some("busy")), "{refused:?}");
    let shown = subcommand(&case, "resume", &[dir.to_str().unwrap(), "--output-format", "json"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let by_session = [
        "--session",
        shown["session_id"].as_str().unwrap(),
        "--dir",
        dir.to_str().unwrap(),
        "--output-format",
        "json",
        "go on",
    ];
    // The living processes belong to the other command.
    let refused = case.start(&by_session).wait();
    refused.assert_code(1);
    assert_eq!(refused.object()["error"]["kind"], "busy");

    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
    assert_eq!(case.fake.log_of("run").len(), 1);
}

#[test]
fn parallel_turns_have_separate_journals() {
    let case = stalling_once();
    let first = case.start(&["--dir", ".", "hello"]);
    case.wait_until_ready();
    // The living processes belong to the first command.
    let second = case.start(&["--output-format", "json", "--dir", ".", "and hello again"]).wait();
    assert_eq!(second.object()["state"], "completed");
    wait_until("both are in journals", || journals(&case).len() == 2);
    first.signal(Signal::TERM);
    first.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
    let shown = resume(&case, &case.sandbox.workspace(), &["--output-format", "json"]).object();
    assert_eq!(shown["state"], "interrupted", "the one that was at work last");
}

#[test]
fn unwritable_state_directory_warns() {
    let mut case = Case::replaying(PLAIN);
    let file = case.sandbox.path("file");
    fs::write(&file, "").unwrap();
    case.sandbox.set("XDG_STATE_HOME", &file);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(0);
    assert_eq!((object["output"].as_str(), &object["journal"]), (Some(PLAIN_TEXT), &Value::Null));
    assert_eq!(outcome.stderr.matches("the journal of the conversation stopped").count(), 1, "{outcome:?}");
    let [dir] = case.task_dirs().try_into().unwrap();
    let refused = resume(&case, &dir, &["go on"]);
    refused.assert_code(1);
    refused.assert_says(&["cannot be used"]);
}

#[test]
fn no_journal_is_written_on_request() {
    let case = Case::replaying(PLAIN);
    let (outcome, object) = case.run_json(&["--no-journal", "hello"]);
    outcome.assert_code(0);
    assert_eq!((&object["journal"], journals(&case).len()), (&Value::Null, 0));
    let [dir] = case.task_dirs().try_into().unwrap();
    let refused = resume(&case, &dir, &["go on"]);
    refused.assert_code(2);
    refused.assert_says(&["there is no conversation to resume", "hint: "]);
    resume(&case, &case.sandbox.path("none"), &[]).assert_code(2);
}

#[test]
fn journal_is_private_and_elsewhere() {
    let case = Case::replaying("1.18.33/tool-then-text");
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(0);
    let [journal] = journals(&case).try_into().unwrap();
    assert_eq!(object["journal"].as_str(), journal.to_str());
    assert_eq!(fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
    let [dir] = case.task_dirs().try_into().unwrap();
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".git"]);
}

#[test]
fn empty_turn_leaves_no_journal() {
    let case = Case::replaying("1.18.33/unknown-model");
    let (_, object) = case.run_json(&["--model", "nope/x", "hello"]);
    assert_eq!((object["error"]["kind"].as_str(), &object["journal"]), (Some("model_not_found"), &Value::Null));
    assert_eq!((journals(&case).len(), case.task_dirs().len()), (0, 0));
}

#[test]
fn continued_session_keeps_its_journal() {
    let case = Case::new(|script, sandbox| {
        script.on("export", [says_where_sessions_belong(&sandbox.home())]).replay("run", PLAIN)
    });
    let home = case.sandbox.home();
    let (_, first) = case.run_json(&["--dir", home.to_str().unwrap(), "one"]);
    let (_, second) = case.run_json(&["--session", first["session_id"].as_str().unwrap(), "two"]);
    assert_eq!((second["state"].as_str(), &second["session_id"]), (Some("completed"), &first["session_id"]));
    assert_eq!((&second["journal"], &second["earlier_turns"][0]["message"]), (&first["journal"], &"one".into()));
    assert_eq!(journals(&case).len(), 1);
}

#[test]
fn chat_is_journalled_and_resumed() {
    let case = Case::replaying(PLAIN);
    tell(subcommand(&case, "chat", &[]), "one\ntwo\n");
    let [dir] = case.task_dirs().try_into().unwrap();
    let resume = subcommand(&case, "resume", &[dir.to_str().unwrap(), "--output-format", "json"]);
    let object: Value = serde_json::from_str(&tell(resume, "three\n")).unwrap();
    let messages: Vec<_> = object["earlier_turns"].as_array().unwrap().iter().map(|turn| &turn["message"]).collect();
    assert_eq!(messages, ["one", "two"]);
    assert_eq!(case.fake.log_of("run")[2].stdin.as_deref(), Some("three\n"));
    case.sandbox.assert_nothing_alive();
}

/// Runs a command with this stdin and returns its stdout.
fn tell(mut command: Command, stdin: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ephemeral_conversation_leaves_no_journal() {
    for ends in [vec![TurnAct::replay(PLAIN)], vec![TurnAct::replay("1.18.33/error-401")]] {
        let case = Case::new(|script, _| script.on("serve", [Serving::doing(ends).act()])).on(Transport::Serve);
        let outcome = case.run(&["--ephemeral", "--output-format", "json", "hello"]);
        assert!(outcome.object()["journal"].is_null(), "{outcome:?}");
        assert_eq!(journals(&case), Vec::<PathBuf>::new());
        assert_eq!(case.fake.log_of("serve")[0].requests_of("DELETE /session/*").len(), 1);
    }
}

#[test]
fn old_journal_is_deleted() {
    let case = Case::replaying(PLAIN);
    case.run(&["hello"]).assert_code(0);
    let [old] = journals(&case).try_into().unwrap();
    let days = |days: u64| SystemTime::now() - Duration::from_hours(24 * days);
    let age = |path: &Path, age| fs::File::open(path).unwrap().set_modified(age).unwrap();
    age(&old, days(31));
    case.run(&["hello"]).assert_code(0);
    let [young] = journals(&case).try_into().unwrap();
    assert_ne!(young, old);
}

#[test]
fn journal_that_does_not_answer_is_interrupted() {
    let case = Case::replaying(PLAIN);
    case.run(&["hello"]).assert_code(0);
    let [dir] = case.task_dirs().try_into().unwrap();
    let [journal] = journals(&case).try_into().unwrap();
    // Simulates a network file system whose server is gone: every read blocks.
    fs::remove_file(&journal).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &journal, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for message in [&[][..], &["again"]] {
        let mut command = subcommand(&case, "resume", &[&[dir.to_str().unwrap()], message].concat());
        let running = Running::spawn(&mut command);
        // Gives the command time to open the journal. If that is too short, the test passes anyway.
        std::thread::sleep(Duration::from_millis(700));
        running.signal(Signal::TERM);
        running.wait().assert_code(143);
    }
    case.sandbox.assert_nothing_alive();
}
