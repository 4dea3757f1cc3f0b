//! Unexpected output of opencode, and exits without a reason.

use crate::support::{Case, PLAIN_TEXT, flood, plain, stdout};
use opencode_run_tests::script::{Act, SignalName, Stream};
use serde_json::Value;

/// Runs these acts in JSON and asserts the turn's outcome.
#[track_caller]
fn assert_ends(acts: impl IntoIterator<Item = Act>, code: i32, kind: Option<&str>, words: &str) -> Value {
    let case = Case::doing(acts);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(code);
    assert_eq!(object["error"]["kind"].as_str(), kind, "{object}");
    let message = object["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{object}");
    assert_eq!(object["state"], if kind.is_some() { "error" } else { "completed" }, "{object}");
    object
}

#[test]
fn exit_0_without_events_is_not_success() {
    let words = "without a single finished step";
    let object = assert_ends([], 1, Some("protocol"), words);
    assert!(object["task_dir"].is_null(), "nothing happened in it: {object}");
    assert_ends([stdout("\n\n  \n")], 1, Some("protocol"), words);
    assert_ends([stdout("Everything is fine.\n")], 1, Some("protocol"), words);
}

#[test]
fn exit_0_within_turn_is_not_success() {
    let half = assert_ends([plain(0, 2)], 1, Some("protocol"), "in the middle of a step");
    assert_eq!(half["output"], PLAIN_TEXT, "what was said is kept");
    let tools =
        Act::EmitRecording { recording: "1.18.33/tool-then-text".into(), from: 0, to: Some(4), line_pause_ms: 0 };
    let object = assert_ends([tools], 1, Some("protocol"), "more was to follow");
    assert_eq!(object["output"], "I make a file.");
}

#[test]
fn truncated_last_line_is_reported() {
    let half = stdout("{\"type\":\"step_finish\",\"part\":{\"reason\":\"sto");
    let object = assert_ends([plain(0, 2), half], 1, Some("protocol"), "in the middle of a step");
    assert_eq!(object["output"], PLAIN_TEXT);
    // A complete last line without its newline is a line.
    let line = recorded_line(2);
    assert_ends([plain(0, 2), stdout(&line)], 0, None, "");
}

fn recorded_line(number: usize) -> String {
    opencode_run_tests::recording::Recording::named(crate::support::PLAIN).unwrap().stdout[number].clone()
}

#[test]
fn line_in_pieces_is_read() {
    let line = recorded_line(1) + "\n";
    let halves = Act::Split { text: line, at: None, pause_ms: 300 };
    let object = assert_ends([plain(0, 1), halves, plain(2, 3)], 0, None, "");
    assert_eq!(object["output"], PLAIN_TEXT);
}

#[test]
fn invalid_utf8_on_stdout_is_read() {
    let noise = Act::StdoutBytes { hex: "ff fe 00 c3 28 0a".into() };
    let object = assert_ends([plain(0, 2), noise.clone(), plain(2, 3)], 0, None, "");
    assert_eq!(object["output"], PLAIN_TEXT);
    assert_ends([noise], 1, Some("protocol"), "without a single finished step");
}

#[test]
fn unknown_lines_are_passed_on() {
    let case = Case::doing([plain(0, 2), stdout("{\"type\":\"new.kind\",\"x\":1}\nnot json\n"), plain(2, 3)]);
    let outcome = case.run(&["--output-format", "stream-json", "hello"]);
    outcome.assert_code(0);
    let lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["step_start", "text", "unknown", "unknown", "step_finish", "result"]);
    assert_eq!(lines[2]["raw"]["x"], 1);
    assert_eq!(lines[3]["raw"], "not json");
}

#[test]
fn crash_by_signal_is_reported() {
    for (signal, words) in [
        (SignalName::Segv, "signal 11"),
        (SignalName::Abrt, "signal 6"),
        (SignalName::Kill, "signal 9"),
        (SignalName::Term, "signal 15"),
    ] {
        let last_words = Act::Stderr { text: "out of luck\n".into() };
        let acts = [plain(0, 2), last_words, Act::KillSelf { signal }];
        let object = assert_ends(acts, 1, Some("crashed"), words);
        assert!(object["error"]["message"].as_str().unwrap().contains("out of luck"), "{object}");
        assert_eq!(object["output"], PLAIN_TEXT);
    }
}

#[test]
fn nonzero_exit_without_error_fails() {
    let object = assert_ends([Act::Exit { code: 7 }], 1, Some("crashed"), "exit code 7");
    assert!(object["task_dir"].is_null(), "{object}");
    assert_ends([plain(0, 3), Act::Exit { code: 1 }], 1, Some("crashed"), "exit code 1");
}

#[test]
fn noisy_stderr_does_not_hide_the_outcome() {
    let object = assert_ends([flood(Stream::Stderr, 5_000_000, false), plain(0, 3)], 0, None, "");
    assert_eq!(object["output"], PLAIN_TEXT);
    let reason = Act::Stderr { text: "the reason\n".into() };
    let acts = [flood(Stream::Stderr, 5_000_000, false), reason, Act::Exit { code: 9 }];
    let object = assert_ends(acts, 1, Some("crashed"), "the reason");
    let message = object["error"]["message"].as_str().unwrap();
    assert!(message.contains("lines omitted") && message.len() < 100_000, "{}", message.len());
}

#[test]
fn turn_continues_after_stdout_is_closed() {
    let acts = [plain(0, 3), Act::CloseStdout {}, Act::Pause { ms: 500 }, Act::Exit { code: 0 }];
    assert_ends(acts, 0, None, "");
    let acts = [plain(0, 3), Act::CloseStdout {}, Act::Pause { ms: 500 }, Act::Exit { code: 3 }];
    assert_ends(acts, 1, Some("crashed"), "exit code 3");
}

#[test]
fn endless_steps_without_reason_end() {
    let unknown =
        Act::EmitRecording { recording: "1.18.33/finish-unknown".into(), from: 0, to: Some(3), line_pause_ms: 10 };
    let acts: Vec<Act> = std::iter::repeat_n(unknown, 40).chain([Act::Stall {}]).collect();
    let object = assert_ends(acts, 1, Some("provider"), "without a finish reason");
    assert_eq!(object["output"], "Odd.");
}
