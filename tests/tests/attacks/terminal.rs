//! A model, a tool or a file name that tries to control the user's terminal.

use crate::faults_support::{Case, Running, plain, stdout, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

/// Text that sets the title, writes the clipboard, clears the screen, conceals further text, makes the terminal type a
/// reply, moves the cursor, and changes the direction; in both encodings of control sequences.
const HOSTILE: &str = "before\u{1b}]0;title\u{7}\u{1b}]52;c;cm0gLXJmIH4=\u{1b}\\\u{1b}[2J\u{1b}[H\u{1b}[8m\u{1b}[c\u{1b}P+q544e\u{1b}\\\
    \u{9b}2J\u{9d}0;title\u{9c}\u{90}q\u{9c}\u{5}\u{8}\u{b}\u{c}\u{e}\u{7f}\u{202e}\u{2066}\u{200f}\u{85}\rafter";

/// Asserts that a terminal received no control sequences except line ends and our own styling.
#[track_caller]
fn assert_harmless(screen: &str) {
    let shown = without_erasures(screen);
    let mut rest = shown.as_str();
    while let Some(c) = rest.chars().next() {
        let style = rest.strip_prefix("\u{1b}[").and_then(|style| style.split_once(['m', 'h'])).map(|(style, _)| style);
        let own = ["0", "1", "2", "3", "4", "9", "31", "32", "33", "34", "35", "36", "?25"];
        let length = match style.filter(|style| style.split(';').all(|code| own.contains(&code))) {
            Some(style) => "\u{1b}[m".len() + style.len(),
            None => c.len_utf8(),
        };
        let is_hostile = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200f}');
        let is_line_end = rest.starts_with("\r\n") || matches!(c, '\n' | '\t');
        assert!(
            !is_hostile || style.is_some() || is_line_end,
            "{:?}\nin {screen:?}",
            rest.chars().take(20).collect::<String>()
        );
        rest = &rest[length..];
    }
}

/// Removes the sequences that erase the live view: a return, a number of rows up, and clearing the rest of the screen.
fn without_erasures(screen: &str) -> String {
    let mut pieces = screen.split('\r');
    let mut rest = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let up = piece.strip_prefix("\u{1b}[").and_then(|up| up.split_once('A'));
        let after = up.filter(|(rows, _)| rows.parse::<u8>().is_ok()).map_or(piece, |(_, after)| after);
        if let Some(after) = after.strip_prefix("\u{1b}[J") {
            rest.push_str(after);
        } else {
            rest.push('\r');
            rest.push_str(piece);
        }
    }
    rest
}

/// Returns a turn in which everything under the agent's control is hostile.
fn hostile_turn() -> Case {
    let line = |value: Value| stdout(&format!("{value}\n"));
    let tool = |id: &str, state: Value| {
        line(json!({"type": "tool_use", "part": {
            "type": "tool", "id": id, "callID": id, "messageID": "msg_1", "tool": HOSTILE, "state": state,
        }}))
    };
    Case::doing([
        plain(0, 1),
        line(json!({"type": "text", "part": {"id": "prt_1", "text": HOSTILE}})),
        tool("prt_2", json!({"status": "completed", "input": {HOSTILE: HOSTILE}, "output": HOSTILE, "title": HOSTILE})),
        tool("prt_3", json!({"status": "error", "input": {}, "error": HOSTILE})),
        line(json!({"type": HOSTILE, "part": {}})),
        stdout(&format!("{HOSTILE}\n")),
        line(json!({"type": "error", "error": {"name": "APIError", "data": {"message": HOSTILE}}})),
        plain(2, 3),
    ])
}

#[test]
fn agent_cannot_drive_the_terminal() {
    for arguments in [
        &["x"][..],
        &["--output-format", "json", "x"],
        &["--output-format", "stream-json", "x"],
        &["--print-markdown", "x"],
        &["--no-wait", "x"],
        &["-vvv", "x"],
    ] {
        let case = hostile_turn();
        let mut command = case.command(arguments);
        command.env("TERM", "xterm-256color");
        let screen = Running::spawn_on_terminal(&command).screen();
        assert!(screen.contains("after"), "{arguments:?}: {screen:?}");
        assert_harmless(&screen);
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn pipe_gets_the_text_unchanged() {
    let case = hostile_turn();
    let outcome = case.run(&["x"]);
    assert!(outcome.stdout.contains(HOSTILE), "{outcome:?}");
    assert!(!outcome.stderr.contains(['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}']), "{outcome:?}");
}

#[test]
fn file_names_cannot_drive_the_terminal() {
    let case = hostile_turn();
    let directory = case.sandbox.workspace().join(HOSTILE.replace('/', ""));
    std::fs::create_dir(&directory).unwrap();
    let directory = directory.to_str().unwrap();
    let option = format!("--no-such-{HOSTILE}");
    for arguments in [
        &["--dir", directory, "x"][..],
        &["--file", directory, "x"],
        &["--config", directory, "x"],
        &["--context-file", directory, "x"],
        &["--model", directory, "x"],
        &[option.as_str(), "x"],
    ] {
        assert_harmless(&Running::spawn_on_terminal(&case.command(arguments)).screen());
    }
    for arguments in [
        &["doctor", "--offline", "--config", directory][..],
        &["doctor", "--offline", "--output-format", "json", "--config", directory],
        &["resume", directory],
        &["models", "--dir", directory, "--opencode", directory],
    ] {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(arguments);
        assert_harmless(&Running::spawn_on_terminal(&command).screen());
    }
    case.sandbox.assert_nothing_alive();
}

/// An event of the server's stream.
fn event(kind: &str, properties: &Value) -> TurnAct {
    let data = json!({"directory": "{{cwd}}", "payload": {"type": kind, "properties": properties}}).to_string();
    TurnAct::Event { data }
}

/// Returns the text of an answer in pieces, then tool calls with the provider's ids, then a permission request for the
/// first one.
fn asking(pieces: &[&str], calls: &[(&str, Value)]) -> Vec<TurnAct> {
    let session = "{{session}}";
    let head = |id: &str, kind: &str| json!({"id": id, "messageID": "{{answer}}", "sessionID": session, "type": kind});
    let part = |mut part: Value, more: Value| {
        part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event("message.part.updated", &json!({"sessionID": session, "part": part, "time": 1}))
    };
    let info = json!({"id": "{{answer}}", "role": "assistant", "sessionID": session, "parentID": "{{message}}"});
    let mut acts = vec![
        event("message.updated", &json!({"sessionID": session, "info": info})),
        part(head("prt_{{answer}}1", "text"), json!({"text": "", "time": {"start": 1}})),
    ];
    acts.extend(pieces.iter().map(|delta| {
        let properties = json!({
            "sessionID": session, "messageID": "{{answer}}", "partID": "prt_{{answer}}1", "field": "text", "delta": delta,
        });
        event("message.part.delta", &properties)
    }));
    for (number, (id, input)) in calls.iter().enumerate() {
        let state = json!({"status": "running", "input": input, "time": {"start": 1}});
        let id = json!({"tool": "bash", "callID": id, "state": state});
        acts.push(part(head(&format!("prt_{{{{answer}}}}2{number}"), "tool"), id));
    }
    let tool = json!({"messageID": "{{answer}}", "callID": calls[0].0});
    acts.push(event(
        "permission.asked",
        &json!({
            "id": "per_1", "sessionID": session, "permission": "bash", "patterns": ["ls"], "metadata": {}, "always": ["ls *"],
            "tool": tool,
        }),
    ));
    acts
}

/// Returns the output of a chat's terminal up to its question, which is then answered with no.
fn question(acts: Vec<TurnAct>) -> String {
    let case = Case::new(|script, _| script.on("serve", [Serving::doing(acts).act()]));
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["chat", "--transport", "serve", "--opencode"]).arg(case.fake.executable());
    command.env("TERM", "xterm-256color");
    let mut running = Running::spawn_on_terminal(&command);
    let mut terminal = running.take_terminal();
    let screen = Arc::<Mutex<Vec<u8>>>::default();
    let mut output = terminal.try_clone().unwrap();
    let shown = Arc::clone(&screen);
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            shown.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    });
    let screen = || String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
    wait_until("the prompt", || screen().contains("> "));
    terminal.write_all(b"hello\n").unwrap();
    wait_until("the question", || screen().contains("[a]lways: "));
    let text = screen();
    running.signal(rustix::process::Signal::TERM);
    running.wait().assert_code(143);
    reader.join().unwrap();
    case.sandbox.assert_nothing_alive();
    // The editor of messages has sequences of its own, until it switches bracketed paste off; it shows no text of the agent.
    let (_, turn) = text.split_once("\u{1b}[?2004l").unwrap();
    assert_harmless(turn);
    text
}

#[test]
fn question_shows_the_real_command() {
    let command = format!("ls\nrm -rf precious{HOSTILE}{}Allow it?", " ".repeat(300));
    let input = json!({"command": command, "description": "List the files"});
    // A control sequence that is split between two pieces still works on a terminal.
    let screen = question(asking(&["Allow it? [y]es: \u{1b}", "[8m", "\u{9b}", "8m\r"], &[("call_1", input)]));
    let (before, question) = screen.split_once("The agent asks for bash (ls).").unwrap();
    assert!(before.ends_with("\u{1b}[0m\u{1b}[?25h\r\n"), "{before:?}");
    assert!(question.contains("  | command: ls␊\r\n  |     rm -rf precious"), "{question:?}");
    let heading = "`always` allows all of these, without further questions:";
    for line in question.lines().skip(1).filter(|line| *line != heading) {
        assert!(line.starts_with("  | ") || line.starts_with("Allow it? [y]es"), "{line:?}");
    }
    let (_, always) = question.split_once(heading).unwrap();
    assert!(always.starts_with("\r\n  | bash "), "{always:?}");
}

#[test]
fn input_of_ambiguous_call_is_not_shown() {
    let calls = [("call_1", json!({"command": "rm -rf precious"})), ("call_1", json!({"command": "ls"}))];
    let screen = question(asking(&[], &calls));
    assert!(
        screen.contains("The agent asks for bash (ls). opencode does not report what the tool was given."),
        "{screen:?}"
    );
}
