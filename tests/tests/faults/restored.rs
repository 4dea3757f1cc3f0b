//! The terminal after an unusual end: a panic, a signal that cannot be handled, a stop, streams that are closed or
//! broken. `Screen::end` compares the modes of the terminal with those before the command.

use crate::editor::{at_prompt, begin, chat, playing};
use crate::live::{self, SPINNER, on_terminal, stages};
use crate::screen::{Ended, Screen};
use crate::support::{Case, wait_until};
use opencode_run_tests::script::{Act, SignalName};
use opencode_run_tests::serve_script::TurnAct;
use opencode_run_tests::worker_of;
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::PathBuf;
use std::process::Command;

/// Makes the command panic when the returned file exists.
fn panicking(case: &Case, command: &mut Command) -> PathBuf {
    let file = case.sandbox.path("panic");
    command.env("OPENCODE_RUN_TEST_PANIC", &file);
    file
}

#[track_caller]
fn assert_panicked(ended: &Ended) {
    assert_eq!(ended.outcome.code, Some(101), "{}", ended.contents);
    assert!(ended.bytes.contains("thread `main`: "), "{}", ended.bytes);
    assert!(!ended.contents.contains(|c| SPINNER.contains(c)), "{}", ended.contents);
}

#[test]
fn panic_in_any_stage_restores_terminal() {
    for (case, stage) in stages() {
        let mut command = on_terminal(&case, &["x"]);
        let file = panicking(&case, &mut command);
        let screen = Screen::start(&command, 24, 100);
        screen.wait_for(stage);
        std::fs::write(file, "").unwrap();
        assert_panicked(&screen.end());
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn panic_while_editing_restores_terminal() {
    let case = playing([TurnAct::replay("1.18.33/plain-text")]);
    let mut command = chat(&case, &[]);
    let file = panicking(&case, &mut command);
    let screen = Screen::start(&command, 24, 100);
    at_prompt(&screen);
    assert!(screen.is_raw());
    std::fs::write(file, "").unwrap();
    assert_panicked(&screen.end());
    case.sandbox.assert_nothing_alive();
}

#[test]
fn unhandled_signal_restores_terminal() {
    for signal in [Signal::QUIT, Signal::USR1, Signal::ALARM] {
        let case = playing([TurnAct::replay("1.18.33/plain-text")]);
        let screen = begin(&case, &[]);
        screen.signal(signal);
        assert_eq!(screen.end().outcome.signal, Some(signal.as_raw()));
        case.sandbox.assert_nothing_alive();
    }
}

/// Waits until the command stops, records the modes of the terminal, and continues it.
const STOPPED: &str = "stty -a > before; set -m; \"$0\" \"$@\"; stty -a > stopped; fg; echo code $?";

/// Returns a shell that runs this script, in which `"$0" "$@"` is the command.
fn in_shell(case: &Case, command: &Command, script: &str) -> Command {
    let mut shell = case.sandbox.command("sh");
    shell.args(["-c", script]).arg(command.get_program()).args(command.get_args()).env("TERM", "xterm-256color");
    shell
}

#[test]
fn stopped_editor_leaves_usable_terminal() {
    for is_key in [true, false] {
        let case = playing([TurnAct::replay("1.18.33/plain-text")]);
        let screen = Screen::start(&in_shell(&case, &chat(&case, &[]), STOPPED), 24, 100);
        at_prompt(&screen);
        screen.type_in("half ");
        screen.wait_for("> half");
        if is_key {
            screen.type_in("\u{1a}");
        } else {
            let monitor = worker_of(screen.id()).unwrap().try_into().unwrap();
            kill_process_group(Pid::from_raw(monitor).unwrap(), Signal::TSTP).unwrap();
        }
        let stopped = case.sandbox.workspace().join("stopped");
        wait_until("the shell has the terminal", || stopped.exists());
        wait_until("the editor has it again", || screen.is_raw());
        screen.type_in("message\r");
        screen.wait_for("completed in");
        at_prompt(&screen);
        screen.type_in("\u{4}");
        screen.wait_for("code 0");
        screen.end().outcome.assert_code(0);
        let modes = |name: &str| std::fs::read_to_string(case.sandbox.workspace().join(name)).unwrap();
        assert_eq!(modes("stopped"), modes("before"), "by a key: {is_key}");
        let [server] = case.fake.log_of("serve").try_into().unwrap();
        let [message] = server.requests_of("POST /session/*/message").try_into().unwrap();
        assert_eq!(message.body["parts"][0]["text"], "half message");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn stopped_view_shows_typing() {
    let (case, go) = live::with_running_tool();
    let screen = Screen::start(&in_shell(&case, &on_terminal(&case, &["x"]), STOPPED), 24, 100);
    screen.wait_for("running bash · ");
    screen.type_in("\u{1a}");
    let stopped = case.sandbox.workspace().join("stopped");
    wait_until("the shell has the terminal", || stopped.exists());
    std::fs::write(go, "").unwrap();
    screen.wait_for("code 0");
    screen.end().outcome.assert_code(0);
    let modes = |name: &str| std::fs::read_to_string(case.sandbox.workspace().join(name)).unwrap();
    assert_eq!(modes("stopped"), modes("before"));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn pager_keeps_its_modes() {
    let (case, go) = live::with_running_tool();
    let script = format!(
        "\"$0\" \"$@\" | {{ terminal='stty -F /dev/tty'; $terminal -icanon -echo; touch {}; \
         cat > /dev/null; $terminal -a > pager; $terminal icanon echo; }}",
        go.display()
    );
    let screen = Screen::start(&in_shell(&case, &on_terminal(&case, &["x"]), &script), 24, 100);
    screen.end().outcome.assert_code(0);
    let modes = std::fs::read_to_string(case.sandbox.workspace().join("pager")).unwrap();
    assert!(modes.contains("-icanon") && modes.contains("-echo "), "{modes}");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn broken_stdout_leaves_clean_terminal() {
    let writing = TurnAct::Speak { delta: "word ".to_owned(), count: 100_000, at_once: 1, pause_ms: 20 };
    let case = live::playing([writing]);
    for command in [on_terminal(&case, &["x"]), chat(&case, &[])] {
        let is_chat = command.get_args().any(|argument| argument == "chat");
        let script = "{ \"$0\" \"$@\"; echo code $? >&9; } 9>&0 | head -c 1";
        let screen = Screen::start(&in_shell(&case, &command, script), 24, 100);
        if is_chat {
            at_prompt(&screen);
            assert!(!screen.is_raw(), "no editor without a terminal on stdout");
            screen.type_in("hello\n");
        }
        screen.wait_for("code 141");
        let ended = screen.end();
        assert!(!ended.contents.contains(|c| SPINNER.contains(c)), "{}", ended.contents);
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn closed_streams_leave_clean_terminal() {
    let case = playing([TurnAct::replay("1.18.33/plain-text")]);
    for (redirection, code) in [("2>&-", "code 0"), (">&-", "code 1"), (">&- 2>&-", "code 1")] {
        let script = format!("\"$0\" \"$@\" {redirection}; echo code $?");
        let screen = Screen::start(&in_shell(&case, &chat(&case, &[]), &script), 24, 100);
        screen.type_in("hello\n\u{4}");
        screen.wait_for(code);
        let ended = screen.end();
        assert_eq!(ended.contents.contains("Hello from the model."), code == "code 0", "{}", ended.contents);
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn crashed_opencode_leaves_editor_usable() {
    let case = playing([Act::KillSelf { signal: SignalName::Kill }.into()]);
    let screen = begin(&case, &[]);
    screen.type_in("hello\r");
    screen.wait_for("error: ");
    at_prompt(&screen);
    screen.type_in("\u{4}");
    screen.end().outcome.assert_code(1);
    case.sandbox.assert_nothing_alive();
}
