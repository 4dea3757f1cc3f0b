//! A person in a chat: input on the terminal, and its output.

use crate::support::{Case, Running, ready_and_stall, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

const QUESTION: &str = "Allow it?";
const PROMPT: &str = "> ";

/// A chat on a terminal.
struct Chat {
    running: Running,
    terminal: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Chat {
    /// Starts a chat and waits for the prompt.
    fn begin(case: &Case) -> Self {
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["chat", "--transport", "serve", "--opencode"]).arg(case.fake.executable());
        let mut running = Running::spawn_on_terminal(&command);
        let terminal = running.take_terminal();
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let mut output = terminal.try_clone().unwrap();
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the other end is closed.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        let chat = Self { running, terminal, screen, reader };
        chat.wait_for(PROMPT, 1);
        chat
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until a text has been shown `times` times.
    #[track_caller]
    fn wait_for(&self, text: &str, times: usize) {
        wait_until(text, || self.screen().matches(text).count() >= times);
    }

    fn type_in(&self, keys: &str) {
        (&self.terminal).write_all(keys.as_bytes()).unwrap();
    }

    /// Switches the terminal's line mode on or off.
    fn give_by_line(&self, by_line: bool) {
        let mut modes = tcgetattr(&self.terminal).unwrap();
        modes.local_modes.set(LocalModes::ICANON, by_line);
        tcsetattr(&self.terminal, OptionalActions::Now, &modes).unwrap();
    }

    /// Ends the chat at its prompt, and returns all of its output.
    fn end(self) -> String {
        self.type_in("\u{4}");
        self.running.wait().assert_code(0);
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }
}

fn playing(acts: impl IntoIterator<Item = TurnAct>) -> Case {
    Case::new(|script, _| script.on("serve", [Serving::doing(acts).act()]))
}

/// Returns the agent's received replies.
fn replies(case: &Case) -> Vec<Value> {
    let [server] = case.fake.log_of("serve").try_into().unwrap();
    server.requests_of("POST /permission/*/reply").into_iter().map(|request| request.body["reply"].clone()).collect()
}

#[test]
fn early_input_grants_no_permission() {
    for by_line in [true, false] {
        let case = playing([TurnAct::replay("1.18.33/allowed")]);
        let chat = Chat::begin(&case);
        chat.give_by_line(by_line);
        chat.type_in("hello\ny\n");
        chat.wait_for(QUESTION, 1);
        // For the Ctrl-D at the end.
        chat.give_by_line(true);
        chat.type_in("n\n");
        chat.wait_for(PROMPT, 2);
        let screen = chat.end();
        assert_eq!(replies(&case), ["reject"], "by line: {by_line}, {screen}");
        assert!(screen.contains("Input typed before this question is ignored."), "{screen}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn input_to_stopped_terminal_is_not_an_answer() {
    let case = playing([TurnAct::replay("1.18.33/allowed")]);
    let chat = Chat::begin(&case);
    // Ctrl-S, and after a while Ctrl-Q.
    chat.type_in("hello\n\u{13}");
    wait_until("the turn has begun", || {
        case.fake
            .log_of("serve")
            .first()
            .is_some_and(|server| !server.requests_of("POST /session/*/message").is_empty())
    });
    // Time for the agent's request, and for the answer if it is accepted. If the time is too short, the test passes all
    // the same.
    sleep(Duration::from_secs(1));
    chat.type_in("y\n");
    sleep(Duration::from_millis(500));
    chat.type_in("\u{11}");
    chat.wait_for(QUESTION, 1);
    chat.type_in("n\n");
    chat.wait_for(PROMPT, 2);
    let screen = chat.end();
    assert_eq!(replies(&case), ["reject"], "{screen}");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn question_follows_the_earlier_text() {
    let part = json!({
        "id": "prt_{{answer}}", "messageID": "{{answer}}", "sessionID": "{{session}}", "type": "text", "text": "",
        "time": {"start": 1},
    });
    let session = "{{session}}";
    let event = |kind: &str, properties: Value| TurnAct::Event {
        data: json!({"directory": "{{cwd}}", "payload": {"type": kind, "properties": properties}}).to_string(),
    };
    let piece = |delta: String| {
        let properties = json!({
            "sessionID": session, "messageID": "{{answer}}", "partID": part["id"], "field": "text", "delta": delta,
        });
        event("message.part.delta", properties)
    };
    let info = json!({"id": "{{answer}}", "role": "assistant", "sessionID": session, "parentID": "{{message}}"});
    let mut acts = vec![
        event("message.updated", json!({"sessionID": session, "info": info})),
        event("message.part.updated", json!({"sessionID": session, "part": part, "time": 1})),
    ];
    // Each is written separately, which takes time.
    acts.extend((1..=200).map(|n| piece(format!("call {n}. "))));
    acts.push(TurnAct::replay("1.18.33/allowed"));
    let case = playing(acts);
    let chat = Chat::begin(&case);
    chat.type_in("hello\n");
    chat.wait_for(QUESTION, 1);
    chat.type_in("y\n");
    chat.wait_for(PROMPT, 2);
    let screen = chat.end();
    let (before, after) = screen.split_once("The agent asks").unwrap();
    assert!(before.ends_with("call 199. call 200. \r\n"), "{screen}");
    assert!(!after.contains("call "), "{screen}");
    assert_eq!(replies(&case), ["once"]);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn discarded_message_is_reported() {
    let case = Case::new(|script, sandbox| script.on("serve", ready_and_stall(sandbox)));
    let chat = Chat::begin(&case);
    chat.type_in("hello\n");
    case.wait_until_ready();
    chat.type_in("\u{3}");
    chat.wait_for(PROMPT, 2);
    let screen = chat.end();
    assert!(screen.contains("interrupted before the turn began"), "{screen}");
    case.sandbox.assert_nothing_alive();
}
