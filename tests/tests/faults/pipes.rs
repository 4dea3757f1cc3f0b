//! Readers that are slow, blocked or gone, and pipes that are never closed.

use crate::support::{Case, HANG, PLAIN, PLAIN_TEXT, Running, plain, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::{Act, Stream};
use opencode_run_tests::serve_script::Serving;
use rustix::process::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Returns three events, repeated `times` times.
fn many(times: usize) -> impl Iterator<Item = Act> {
    std::iter::repeat_n(plain(0, 3), times)
}

#[test]
fn slow_reader_gets_every_event() {
    let case = Case::doing(many(3334));
    let mut running = Running::spawn_unread(&mut case.command(&["--output-format", "stream-json", "hello"]));
    let mut stdout = BufReader::with_capacity(4096, running.child.stdout.take().unwrap());
    // Long enough for opencode to exit, with its pipe full, before the first byte is read.
    sleep(Duration::from_secs(8));
    let mut lines = 0;
    let mut line = String::new();
    while stdout.read_line(&mut line).unwrap() > 0 {
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        lines += 1;
        if object["type"] == "result" {
            assert_eq!((&object["state"], &object["steps"]), (&"completed".into(), &3334.into()), "{object}");
        }
        if lines % 500 == 0 {
            sleep(Duration::from_millis(200));
        }
        line.clear();
    }
    assert_eq!(lines, 3 * 3334 + 1);
    running.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn pausing_reader_loses_nothing() {
    // More than the buffers on our side hold (1,024 events and our own pipe), less than that plus opencode's pipe: some
    // of it is still in that pipe when opencode exits.
    let case = Case::doing(many(450));
    let mut running = Running::spawn_unread(&mut case.command(&["--output-format", "stream-json", "hello"]));
    let mut stdout = running.child.stdout.take().unwrap();
    wait_until("opencode has ended", || case.fake.log_of("run").first().is_some_and(|run| run.exit.is_some()));
    sleep(Duration::from_secs(5));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 3 * 450 + 1);
    running.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn closed_reader_ends_the_turn_quietly() {
    let case = Case::doing([plain(0, 3), Act::Pause { ms: 500 }].into_iter().chain(many(200)).chain([Act::Stall {}]));
    let mut running = Running::spawn_unread(&mut case.command(&["-q", "--output-format", "stream-json", "hello"]));
    let mut line = String::new();
    BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let outcome = running.wait();
    outcome.assert_code(141);
    assert_eq!(outcome.stderr, "", "quietly");
    assert!(outcome.elapsed < Duration::from_secs(30), "{outcome:?}");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn head_ends_a_talkative_turn() {
    let text = |number: usize| {
        let part = serde_json::json!({"id": format!("prt_{number}"), "text": format!("line {number}\n")});
        let line = serde_json::json!({"type": "text", "sessionID": "ses_1", "part": part});
        [Act::Stdout { text: format!("{line}\n") }, Act::Pause { ms: 20 }]
    };
    let acts = [plain(0, 1)].into_iter().chain((0..400).flat_map(text)).chain([Act::Stall {}]);
    let case = Case::doing(acts);
    let mut running = Running::spawn_unread(&mut case.command(&["--quiet", "hello"]));
    let mut line = String::new();
    BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "line 0\n");
    let outcome = running.wait();
    outcome.assert_code(141);
    assert_eq!(outcome.stderr, "", "quietly");
    assert!(outcome.elapsed < Duration::from_secs(30), "{outcome:?}");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn stdout_closed_from_the_start_is_a_broken_pipe() {
    let case = Case::replaying(PLAIN);
    for format in ["text", "json", "stream-json"] {
        let mut running = Running::spawn_unread(&mut case.command(&["--quiet", "--output-format", format, "hello"]));
        drop(running.child.stdout.take());
        let outcome = running.wait();
        outcome.assert_code(141);
        assert_eq!(outcome.stderr, "", "{format}");
    }
    case.sandbox.assert_nothing_alive();
}

#[test]
fn signal_works_while_stdout_is_blocked() {
    // The remaining output waits for a reader for a while, and for less time after a second signal.
    let play = |signal, times, code, limit| {
        let case = Case::doing(many(3000).chain([Act::Stall {}]));
        let mut running = Running::spawn_unread(&mut case.command(&["--output-format", "stream-json", "hello"]));
        let stdout = running.child.stdout.take().unwrap();
        wait_until("opencode runs", || !case.fake.log_of("run").is_empty());
        sleep(Duration::from_secs(3));
        running.began = Instant::now();
        for _ in 0..times {
            running.signal(signal);
            // The turn's processes are killed long before the command exits.
            case_without_fake(&case);
            // The same signal within 50 ms counts once: `timeout` sends it to its child and to the group.
            sleep(Duration::from_millis(200));
        }
        let outcome = running.wait();
        outcome.assert_code(code);
        assert!(outcome.elapsed < Duration::from_secs(limit), "{outcome:?}");
        assert!(outcome.stderr.contains("warning: stdout was not read"), "{outcome:?}");
        drop(stdout);
        case.sandbox.assert_nothing_alive();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| play(Signal::TERM, 1, 143, 30));
        scope.spawn(|| play(Signal::INT, 2, 130, 14));
    });
}

/// Waits until the fake has exited; the command may continue.
fn case_without_fake(case: &Case) {
    let began = Instant::now();
    let pid = case.fake.log_of("run")[0].pid;
    wait_until("opencode is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn limit_holds_while_stdout_is_blocked() {
    let case = Case::doing(many(3000).chain([Act::Stall {}]));
    let arguments = ["--output-format", "stream-json", "--timeout", "4s", "hello"];
    let mut running = Running::spawn_unread(&mut case.command(&arguments));
    let stdout = running.child.stdout.take().unwrap();
    let outcome = running.wait();
    outcome.assert_code(124);
    assert!(outcome.elapsed < Duration::from_secs(40), "{outcome:?}");
    drop(stdout);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn opencodes_full_stderr_blocks_nothing() {
    let flood = Act::Flood { stream: Stream::Stderr, bytes: 1_000_000, line_length: None, one_line: false };
    let case = Case::doing([flood.clone(), plain(0, 2), flood, plain(2, 3)]);
    let outcome = case.run(&["hello"]);
    outcome.assert_code(0);
    assert_eq!(outcome.stdout, format!("{PLAIN_TEXT}\n"));
}

#[test]
fn unread_stderr_blocks_nothing() {
    let tools =
        Act::EmitRecording { recording: "1.18.33/tool-then-text".into(), from: 0, to: Some(4), line_pause_ms: 0 };
    let acts: Vec<Act> = std::iter::repeat_n(tools, 6000).chain([plain(0, 3)]).collect();
    let case = Case::doing(acts);
    let mut child = case.command(&["--output-format", "json", "hello"]).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let outcome = Running::from_child(child).wait();
    outcome.assert_code(0);
    assert_eq!(outcome.object()["state"], "completed");
    drop(stderr);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn open_stdin_delays_nothing() {
    let case = Case::replaying(PLAIN);
    let mut command = case.command(&["hello"]);
    command.stdin(Stdio::piped());
    let mut running = Running::spawn(&mut command);
    let stdin = running.child.stdin.take();
    let outcome = running.wait_for(HANG);
    outcome.assert_code(0);
    assert_eq!(case.fake.log_of("run")[0].stdin.as_deref(), Some("hello"), "nothing of our stdin is in it");
    drop(stdin);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn large_stdin_message_is_complete() {
    let case = Case::doing([Act::Pause { ms: 500 }, Act::ReadStdin {}, plain(0, 3)]);
    let message = "0123456789abcdef\n".repeat(60_000);
    let mut command = case.command(&["-"]);
    command.stdin(Stdio::piped());
    let mut running = Running::spawn(&mut command);
    running.child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    running.wait().assert_code(0);
    assert_eq!(case.fake.log_of("run")[0].stdin_bytes, Some(message.len()));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn unread_message_delays_nothing() {
    let case = Case::doing([Act::NoReadStdin {}, plain(0, 3)]);
    let mut command = case.command(&["-"]);
    command.stdin(Stdio::piped());
    let mut running = Running::spawn(&mut command);
    running.child.stdin.take().unwrap().write_all("long ".repeat(500_000).as_bytes()).unwrap();
    running.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn chat_stops_on_full_stdout() {
    for transport in ["run", "serve"] {
        let serving = Serving::replaying(PLAIN);
        let case = Case::new(|script, _| script.replay("run", PLAIN).on("serve", [serving.act()]));
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["chat", "--transport", transport, "--opencode"]).arg(case.fake.executable());
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        command.stdout(File::options().write(true).open("/dev/full").unwrap());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("stdout cannot be written to"), "{stderr}");
        let runs = case.fake.log_of("run").len();
        let messages: usize =
            case.fake.log_of("serve").iter().map(|server| server.requests_of("POST /session/*/message").len()).sum();
        assert_eq!(runs + messages, 1, "the second turn is not begun");
        case.sandbox.assert_nothing_alive();
    }
}
