//! The message of a turn reaches the model unchanged from every source.

use crate::stage::{Running, Stage};
use opencode_run_scripted_model::Script;
use std::process::Stdio;

fn answering() -> Script {
    Script::always("Done.")
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn message_is_verbatim() {
    let stage = Stage::new(answering());
    let messages = [
        "  leading space, two  words, \"double\" and 'single' quotes, a \\ and $HOME and `ls` and {env:HOME}\n\n\
         ```sh\necho \"x\"\n```\nünïcödé 日本語 🦀 \u{202e}\n@README.md /help !ls --agent plan",
        "--help -f x",
    ];
    for message in messages {
        let option = format!("--message={message}");
        stage.turn([option.as_str()]).with_code(0);
        let requests = stage.requests();
        assert_eq!(requests.last().unwrap().last_user_text(), message);
    }
    assert_eq!(stage.requests().len(), messages.len());
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn long_piped_message_is_complete() {
    let stage = Stage::new(answering());
    let message = (0..20_000).map(|line| format!("line {line:05}\n")).collect::<Vec<_>>().concat();
    assert!(message.len() > 200_000);
    let mut command = stage.command(["-m", "stub/gpt-4"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.say(&message);
    assert_eq!(running.end().with_code(0).stdout, "Done.\n");
    assert!(stage.request().last_user_text() == message, "{} bytes arrived", stage.request().last_user_text().len());

    // The words of a command line are joined by spaces, and a dash among them stands for stdin.
    let mut command = stage.command(["-m", "stub/gpt-4", "review", "this \"diff\"", "-"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.say("+ new\n- old\n");
    running.end().with_code(0);
    assert_eq!(stage.requests()[1].last_user_text(), "review this \"diff\"\n\n+ new\n- old\n");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn open_pipe_delays_nothing() {
    let stage = Stage::new(answering());
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = stage.command(["-m", "stub/gpt-4", "hello"]);
    command.stdin(reader);
    Running::start(command).end().with_code(0);
    drop(writer);
    assert_eq!(stage.request().last_user_text(), "hello");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn empty_message_is_wrong_usage() {
    let stage = Stage::new(answering());
    for message in ["--message=", "--message=  \n\t", "", "   "] {
        let done = stage.turn([message]).with_code(2);
        assert_eq!(done.json()["error"]["kind"], "usage", "{message:?}");
    }
    stage.turn([]).with_code(2);
    assert_eq!((stage.requests().len(), stage.task_dirs().len()), (0, 0));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn content_of_a_pipe_is_attached() {
    for transport in ["serve", "run"] {
        let stage = Stage::new(answering());
        stage.write("workspace/file", "BETA-IN-A-FILE\n");
        let mut shell = stage.sandbox.command("bash");
        let script = "exec \"$0\" \"$@\" -f <(echo ALPHA-IN-A-PIPE) -f /dev/stdin <file";
        shell.args(["-c", script]).arg(opencode_run_tests::opencode_run_bin!()).args(["-m", "stub/gpt-4"]);
        shell.args(["--transport", transport, "what is in them?"]);
        Running::start(shell).end().with_code(0);
        let messages = stage.request().messages_text();
        for part in ["what is in them?", "ALPHA-IN-A-PIPE", "BETA-IN-A-FILE"] {
            assert!(messages.contains(part), "{part} is not in {messages}");
        }
        // No copy is left.
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn files_and_title_reach_opencode() {
    let stage = Stage::new(answering());
    stage.write("workspace/a b.txt", "ALPHA-IN-A-FILE\n");
    stage.write("other/-f.md", "BETA-IN-A-FILE\n");
    let arguments = ["-f", "a b.txt", "--file=../other/-f.md", "--title", "A \"title\" of ours", "what is in them?"];
    let done = stage.turn(arguments).with_code(0);
    let messages = stage.request().messages_text();
    for part in ["what is in them?", "ALPHA-IN-A-FILE", "BETA-IN-A-FILE"] {
        assert!(messages.contains(part), "{part} is not in {messages}");
    }
    let mut list = stage.sandbox.command(&stage.opencode);
    list.args(["session", "list", "--format", "json"]).current_dir(done.json()["task_dir"].as_str().unwrap());
    list.env("PWD", done.json()["task_dir"].as_str().unwrap());
    let list = String::from_utf8(list.output().unwrap().stdout).unwrap();
    assert!(list.contains("A \\\"title\\\" of ours"), "{list}");
    stage.end();
}
