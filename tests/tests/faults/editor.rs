//! A chat with a line editor: keys, pastes, commands, and the terminal afterwards.

use crate::live::{SPINNER, with_running_tool};
use crate::screen::Screen;
use crate::support::{Case, ready_and_stall};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const PROMPT: &str = "\n> ";

pub(crate) fn chat(case: &Case, arguments: &[&str]) -> Command {
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["chat", "--transport", "serve", "--opencode"]).arg(case.fake.executable()).args(arguments);
    command.env("TERM", "xterm-256color");
    command
}

pub(crate) fn playing(acts: impl IntoIterator<Item = TurnAct>) -> Case {
    Case::new(|script, _| script.on("serve", [Serving::doing(acts).act()]))
}

/// Starts a chat and waits for its prompt.
pub(crate) fn begin(case: &Case, arguments: &[&str]) -> Screen {
    let screen = Screen::start(&chat(case, arguments), 24, 100);
    at_prompt(&screen);
    screen
}

#[track_caller]
pub(crate) fn at_prompt(screen: &Screen) {
    screen.wait_until("the prompt", |contents| contents.trim_end().ends_with("\n>"));
}

/// Returns the messages that the server got.
fn messages(case: &Case) -> Vec<String> {
    let [server] = case.fake.log_of("serve").try_into().unwrap();
    let requests = server.requests_of("POST /session/*/message");
    requests.iter().map(|request| request.body["parts"][0]["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn chat_has_history_and_commands() {
    let case = playing([TurnAct::replay("1.18.33/plain-text")]);
    let screen = begin(&case, &[]);
    for (keys, shown) in [
        ("/rol\tcode\r", "model role: code"),
        ("/model\r", "model: from the role `code`"),
        ("/model default\r", "model: from the options"),
        ("/context be brief\r", "system prompt: be brief"),
        ("/cost\r", "0 turns · 0 tokens in, 0 out"),
        ("/undo\r", "there is no turn to undo"),
        ("/hlep\r", "did you mean `/help`?"),
        ("/retry\r", "no message to send again"),
    ] {
        screen.type_in(keys);
        screen.wait_for(shown);
        at_prompt(&screen);
    }
    screen.type_in("first\u{1b}\rline\r");
    screen.wait_for("completed in");
    at_prompt(&screen);
    for (keys, shown) in [
        ("/retry\r", "completed in"),
        ("/cost\r", "2 turns · "),
        ("/save saved.md\r", "transcript: saved.md"),
        ("/help\r", "save the transcript as Markdown"),
        ("/undo\r", "opencode took no snapshot of"),
    ] {
        screen.type_in("\u{c}");
        screen.wait_until("an empty screen", |contents| contents.trim() == ">");
        screen.type_in(keys);
        screen.wait_for(shown);
        at_prompt(&screen);
    }
    screen.type_in("/exit\r");
    let ended = screen.end();
    ended.outcome.assert_code(0);
    assert_eq!(messages(&case), ["first\nline", "first\nline"]);
    let transcript = std::fs::read_to_string(case.sandbox.workspace().join("saved.md")).unwrap();
    assert_eq!(transcript.matches("> first\n> line\n").count(), 2, "{transcript}");
    let history = case.sandbox.path("home/.local/state/opencode-run/chat-history");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The next chat finds the message by a search, and the last command with the arrow key.
    let screen = begin(&case, &[]);
    screen.type_in("\u{1b}[A");
    screen.wait_for("> /exit");
    screen.type_in("\u{15}\u{12}fir");
    screen.wait_for("first");
    screen.type_in("\r");
    screen.wait_for("completed in");
    at_prompt(&screen);
    screen.type_in("\u{4}");
    screen.end().outcome.assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn pasted_lines_are_one_message() {
    let case = playing([TurnAct::replay("1.18.33/plain-text")]);
    let screen = begin(&case, &[]);
    let lines: Vec<String> = (1..=5000).map(|line| format!("line {line}\r")).collect();
    let text = lines.concat();
    screen.type_in(&format!("\u{1b}[200~{text}\u{1b}[201~"));
    screen.type_in("the end\r");
    screen.wait_for("completed in");
    at_prompt(&screen);
    screen.type_in("\u{4}");
    screen.end().outcome.assert_code(0);
    let [message] = messages(&case).try_into().unwrap();
    assert_eq!(message.lines().count(), 5001);
    assert!(message.starts_with("line 1\nline 2\n") && message.ends_with("line 5000\nthe end"));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn lines_typed_during_turn_are_next_input() {
    let (case, go) = with_running_tool();
    let screen = begin(&case, &[]);
    screen.type_in("first\r");
    screen.wait_for("running bash · ");
    screen.type_in("second\r/cost\r");
    std::fs::write(&go, "").unwrap();
    screen.wait_for("2 turns · ");
    at_prompt(&screen);
    screen.type_in("\u{4}");
    let ended = screen.end();
    assert_eq!(messages(&case), ["first", "second"]);
    for shown in ["second", "/cost"] {
        assert_eq!(ended.contents.matches(shown).count(), 1, "{}", ended.contents);
    }
    case.sandbox.assert_nothing_alive();
}

#[test]
fn interrupt_stops_turn_not_chat() {
    let case = playing([Act::Stall {}.into()]);
    let screen = begin(&case, &[]);
    screen.type_in("hello\r");
    screen.wait_for("waiting for the model");
    screen.type_in("\u{3}");
    screen.wait_for("interrupted in");
    at_prompt(&screen);
    screen.type_in("begun\u{3}");
    screen.wait_for("or Ctrl-C again, to end the chat");
    at_prompt(&screen);
    screen.type_in("\u{3}");
    screen.end().outcome.assert_code(130);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn terminal_is_restored_at_every_end() {
    for (signal, code) in [(Signal::TERM, Some(143)), (Signal::HUP, Some(129)), (Signal::INT, Some(130))] {
        let case = Case::new(|script, sandbox| script.on("serve", ready_and_stall(sandbox)));
        let screen = begin(&case, &[]);
        assert!(screen.is_raw(), "the editor has the terminal");
        screen.signal(signal);
        assert_eq!(screen.end().outcome.code, code, "{signal:?}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn killed_worker_leaves_a_usable_terminal() {
    let case = Case::new(|script, sandbox| script.on("serve", ready_and_stall(sandbox)));
    let screen = begin(&case, &[]);
    screen.kill_worker();
    let ended = screen.end();
    assert_eq!(ended.outcome.signal, Some(9));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn question_in_a_chat_is_answered_by_its_line() {
    let mut go = std::path::PathBuf::new();
    let case = Case::new(|script, sandbox| {
        go = sandbox.path("go");
        let wait = Act::WaitForFile { path: go.clone() };
        script.on("serve", [Serving::doing([wait.into(), TurnAct::replay("1.18.33/allowed")]).act()])
    });
    let screen = begin(&case, &[]);
    screen.type_in("hello\r");
    screen.wait_for("waiting for the model");
    screen.type_in("y\r");
    std::fs::write(&go, "").unwrap();
    screen.wait_for("Allow it?");
    screen.type_in("n\n");
    screen.wait_for("completed in");
    at_prompt(&screen);
    screen.type_in("\u{4}");
    let ended = screen.end();
    let [server] = case.fake.log_of("serve").try_into().unwrap();
    let replies: Vec<_> =
        server.requests_of("POST /permission/*/reply").iter().map(|r| r.body["reply"].clone()).collect();
    assert_eq!(replies, ["reject"], "{}", ended.contents);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn interrupted_question_leaves_its_line() {
    let case = playing([TurnAct::replay("1.18.33/allowed")]);
    let screen = begin(&case, &[]);
    screen.type_in("hello\r");
    screen.wait_for("Allow it?");
    screen.type_in("\u{3}");
    screen.wait_for("interrupted in");
    at_prompt(&screen);
    screen.type_in("\u{4}");
    let ended = screen.end();
    let question = ended.contents.lines().find(|line| line.starts_with("Allow it?")).unwrap();
    assert!(question.trim_end_matches("^C").trim_end().ends_with("[a]lways:"), "{}", ended.contents);
    assert!(!ended.contents.contains(|c| SPINNER.contains(c)), "{}", ended.contents);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn programs_get_one_result_for_each_turn() {
    let case = playing([TurnAct::replay("1.18.33/error-401")]);
    let mut command = chat(&case, &["--output-format", "stream-json"]);
    let input = case.sandbox.path("input");
    std::fs::write(&input, "one\ntwo\n").unwrap();
    command.stdin(std::fs::File::open(input).unwrap());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let outcome = crate::support::Running::spawn(&mut command).wait();
    outcome.assert_code(1);
    let lines = outcome.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let results: Vec<_> = lines.filter(|line| line["type"] == "result").collect();
    assert_eq!(results.len(), 2, "{outcome:?}");
    assert!(
        results.iter().all(|result| result["state"] == "error" && result["error"]["kind"] == "provider"),
        "{results:?}"
    );
    assert!(!outcome.stderr.contains(PROMPT), "{outcome:?}");
    case.sandbox.assert_nothing_alive();
}
