//! The live view of a turn on a terminal.

use crate::screen::Screen;
use crate::support::{Case, Transport, ready_and_stall};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use serde_json::{Value, json};
use std::process::Command;

/// A character that only the live view prints.
pub(crate) const SPINNER: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

pub(crate) fn playing(acts: impl IntoIterator<Item = TurnAct>) -> Case {
    Case::new(|script, _| script.on("serve", [Serving::doing(acts).act()])).on(Transport::Serve)
}

pub(crate) fn on_terminal(case: &Case, arguments: &[&str]) -> Command {
    let mut command = case.command(arguments);
    command.env("TERM", "xterm-256color");
    command
}

fn event(kind: &str, properties: &Value) -> TurnAct {
    let data = json!({"directory": "{{cwd}}", "payload": {"type": kind, "properties": properties}}).to_string();
    TurnAct::Event { data }
}

/// Returns a tool that runs until the file `go` exists, then a text.
fn running_tool(case_go: &std::path::Path) -> Vec<TurnAct> {
    let session = "{{session}}";
    let info = json!({"id": "{{answer}}", "role": "assistant", "sessionID": session, "parentID": "{{message}}"});
    let state = json!({"status": "running", "input": {"command": "cargo test 日本語"}, "time": {"start": 1}});
    let part = json!({
        "id": "prt_{{answer}}2", "messageID": "{{answer}}", "sessionID": session, "type": "tool", "tool": "bash",
        "callID": "call_1", "state": state,
    });
    vec![
        event("message.updated", &json!({"sessionID": session, "info": info})),
        event("message.part.updated", &json!({"sessionID": session, "part": part, "time": 1})),
        Act::WaitForFile { path: case_go.to_owned() }.into(),
        TurnAct::replay("1.18.33/plain-text"),
    ]
}

pub(crate) fn with_running_tool() -> (Case, std::path::PathBuf) {
    let mut path = std::path::PathBuf::new();
    let case = Case::new(|script, sandbox| {
        path = sandbox.path("go");
        script.on("serve", [Serving::doing(running_tool(&path)).act()])
    });
    (case.on(Transport::Serve), path)
}

#[test]
fn tool_is_shown_while_it_runs() {
    let (case, go) = with_running_tool();
    let screen = Screen::start(&on_terminal(&case, &["x"]), 24, 80);
    screen.wait_for("  bash cargo test 日本語 · ");
    screen.wait_for("running bash · ");
    // It would move the cursor of the view.
    screen.type_in("typed\r");
    std::fs::write(&go, "").unwrap();
    let ended = screen.end();
    ended.outcome.assert_code(0);
    assert!(!ended.bytes.contains("typed"), "{:?}", ended.bytes);
    assert!(!ended.contents.contains(|c| SPINNER.contains(c)), "{}", ended.contents);
    assert_eq!(ended.contents.matches("Hello from the model.").count(), 1, "{}", ended.contents);
    assert!(ended.contents.contains("Hello from the model.\n\ncompleted in "), "{}", ended.contents);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn bars_of_batch_are_redrawn_in_place() {
    let (case, go) = with_running_tool();
    let tasks = (1..=2).map(|number| format!("{{\"id\": \"名字-{number}\", \"prompt\": \"x\"}}\n"));
    std::fs::write(case.sandbox.workspace().join("tasks.jsonl"), tasks.collect::<String>()).unwrap();
    for columns in [100, 40] {
        let results = format!("results-{columns}.jsonl");
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["batch", "tasks.jsonl", "--jobs", "2", "--results", &results, "--opencode"]);
        command.arg(case.fake.executable()).env("TERM", "xterm-256color");
        std::fs::remove_file(&go).ok();
        let screen = Screen::start(&command, 24, columns);
        screen.wait_until("both tasks for two seconds", |contents| {
            contents.matches(" bash 0:0").count() == 2 && contents.contains("0:02")
        });
        let contents = screen.contents();
        assert_eq!(contents.matches("0/2 2 tasks").count(), 1, "{contents}");
        assert_eq!(contents.matches("  名字-").count(), 2, "{contents}");
        std::fs::write(&go, "").unwrap();
        screen.end().outcome.assert_code(0);
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn view_survives_resizing() {
    let (case, go) = with_running_tool();
    let screen = Screen::start(&on_terminal(&case, &["x"]), 24, 80);
    screen.wait_for("running bash · ");
    for (rows, columns) in [(24, 30), (5, 30), (2, 12), (24, 200), (24, 80)] {
        screen.resize(rows, columns);
        screen.wait_until("a frame", |contents| contents.contains(|c| SPINNER.contains(c)));
    }
    std::fs::write(&go, "").unwrap();
    let ended = screen.end();
    ended.outcome.assert_code(0);
    assert!(ended.contents.contains("Hello from the model."), "{}", ended.contents);
    case.sandbox.assert_nothing_alive();
}

/// Returns an answer that repeats this delta.
fn speaking(delta: &str, count: u64, at_once: usize) -> Case {
    playing([TurnAct::Speak { delta: delta.to_owned(), count, at_once, pause_ms: 0 }])
}

#[test]
fn answer_is_rendered_unless_plain() {
    let case = speaking("**bold** and `code`\n\n", 2, 1);
    let rendered = Screen::start(&on_terminal(&case, &["x"]), 24, 80).end();
    assert!(rendered.contents.contains("bold and code"), "{}", rendered.contents);
    assert!(rendered.bytes.contains("\u{1b}[1mbold\u{1b}[0m"), "{:?}", rendered.bytes);
    for plain in [&["--plain", "x"][..], &["--plain", "-q", "x"]] {
        let plain = Screen::start(&on_terminal(&case, plain), 24, 80).end();
        assert!(plain.contents.contains("**bold** and `code`"), "{}", plain.contents);
    }
    let outcome = case.run(&["x"]);
    assert!(outcome.stdout.starts_with("**bold** and `code`\n\n**bold**"), "{outcome:?}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn view_respects_terminal_and_user() {
    let (case, go) = with_running_tool();
    std::fs::write(&go, "").unwrap();
    let mut no_colour = on_terminal(&case, &["x"]);
    no_colour.env("NO_COLOR", "1");
    let ended = Screen::start(&no_colour, 24, 80).end();
    let mut sequences = ended.bytes.split("\u{1b}[").skip(1);
    let ends = |sequence: &str| sequence.chars().find(char::is_ascii_alphabetic);
    assert!(sequences.all(|sequence| ends(sequence) != Some('m')), "{:?}", ended.bytes);
    let mut dumb = case.command(&["x"]);
    dumb.env("TERM", "dumb").env("NO_COLOR", "1");
    let ended = Screen::start(&dumb, 24, 80).end();
    assert!(!ended.bytes.contains('\u{1b}') && ended.contents.contains("Hello from"), "{:?}", ended.bytes);
    let ended = Screen::start(&on_terminal(&case, &["-q", "x"]), 24, 80).end();
    assert_eq!(ended.contents.trim(), "Hello from the model.", "{:?}", ended.bytes);
    case.sandbox.assert_nothing_alive();
}

/// Presses Ctrl-C when the screen shows this, and asserts that the view is removed and the terminal restored.
#[track_caller]
fn interrupt_at(case: &Case, stage: &str) {
    let screen = Screen::start(&on_terminal(case, &["x"]), 24, 100);
    screen.wait_for(stage);
    screen.type_in("\u{3}");
    let deadline = std::time::Instant::now() + crate::support::HANG;
    while screen.contents().contains(|c| SPINNER.contains(c)) {
        assert!(std::time::Instant::now() < deadline, "{}", screen.contents());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(screen.is_restored(), "{stage}");
    let ended = screen.end();
    ended.outcome.assert_code(130);
    assert!(ended.contents.contains("interrupted"), "{stage}: {}", ended.contents);
    case.sandbox.assert_nothing_alive();
}

/// Returns a turn that stays at each stage, with the text of the view at this stage.
pub(crate) fn stages() -> Vec<(Case, &'static str)> {
    let stalled =
        |command: &str| Case::new(|script, sandbox| script.on(command, ready_and_stall(sandbox))).on(Transport::Serve);
    let writing = TurnAct::Speak { delta: "word ".to_owned(), count: 100_000, at_once: 1, pause_ms: 50 };
    vec![
        (stalled("--version"), "locating opencode · "),
        (stalled("serve"), "starting opencode · "),
        (playing([Act::Stall {}.into()]), "waiting for the model · "),
        (with_running_tool().0, "running bash · "),
        (playing([writing]), "writing · "),
    ]
}

#[test]
fn interrupt_leaves_clean_terminal() {
    for (case, stage) in stages() {
        interrupt_at(&case, stage);
    }
}

#[test]
fn mistyped_subcommand_is_confirmed() {
    let case = Case::replaying("1.18.33/plain-text");
    let asked = |answer: &str| {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.arg("docter").args(["--transport", "run", "--opencode"]).arg(case.fake.executable());
        let screen = Screen::start(&command, 24, 80);
        screen.wait_for("did you mean `doctor`?");
        screen.type_in(answer);
        screen.end()
    };
    asked("\n").outcome.assert_code(2);
    let sent = asked("m\n");
    sent.outcome.assert_code(0);
    assert!(sent.contents.contains("Hello from the model."), "{}", sent.contents);
    // `doctor` has no --transport.
    let ran = asked("y\n");
    ran.outcome.assert_code(2);
    assert!(ran.contents.contains("--transport"), "{}", ran.contents);
    // Without a terminal it is a message.
    case.run(&["docter"]).assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn fast_long_answer_is_shown() {
    // 5 MB of paragraphs, items and code.
    let delta = format!(
        "A paragraph with **bold** text and `code`. {}\n\n- item\n\n```rust\nlet x = 1;\n```\n",
        "word ".repeat(185)
    );
    let case = speaking(&delta, 5000, 50);
    let ended = Screen::start(&on_terminal(&case, &["x"]), 24, 80).end();
    ended.outcome.assert_code(0);
    assert!(ended.contents.contains("completed in "), "{}", ended.contents);
    assert_eq!(ended.bytes.matches("• ").count(), 5000);
    case.sandbox.assert_nothing_alive();
}
