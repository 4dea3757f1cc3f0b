//! Many turns of one session.

use crate::stage::{Running, Stage};
use opencode_run_scripted_model::{Script, When};
use serde_json::json;
use std::path::PathBuf;
use std::process::Stdio;

/// Returns a model that counts the turns of a session.
fn counting() -> Script {
    Script::new().rule(When::agent().reply("Answer {turn} to: {last_user}"))
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn session_continues_in_its_directory() {
    let stage = Stage::new(counting());
    let first = stage.turn(["first question"]).with_code(0).json();
    let session = first["session_id"].as_str().unwrap();
    assert!(session.starts_with("ses_"), "{session}");
    assert_eq!(stage.task_dirs().len(), 1);

    // From another directory, without --dir: the session continues in its own directory, and no other is created.
    stage.write("other/file", "");
    let mut command = stage.command(["-m", "stub/gpt-4", "--output-format", "json", "-s", session, "second question"]);
    command.current_dir(stage.sandbox.path("other")).env("PWD", "/");
    let second = Running::start(command).end().with_code(0).json();
    assert_eq!((&second["session_id"], &second["task_dir"]), (&first["session_id"], &first["task_dir"]));
    assert_eq!(second["output"], "Answer 2 to: second question");
    let requests = stage.requests();
    assert_eq!(requests.len(), 2);
    let messages = requests[1].messages_text();
    assert_eq!(messages, "first question\nAnswer 1 to: first question\nsecond question");
    assert_eq!(stage.task_dirs().len(), 1);
    assert_eq!(crate::stage::entries(&stage.sandbox.path("other")).len(), 1);

    // `--dir` may name the session's own directory; another one is an error, and no request is sent.
    let own = first["task_dir"].as_str().unwrap();
    stage.turn(["--session", session, "--dir", own, "third question"]).with_code(0);
    let elsewhere = stage.turn(["--session", session, "--dir", "../other", "x"]).with_code(2);
    assert_eq!(elsewhere.json()["error"]["kind"], "usage");
    assert!(elsewhere.stderr.contains(own), "{}", elsewhere.stderr);
    assert_eq!(stage.requests().len(), 3);
    assert_eq!(stage.requests()[2].turn(), 3);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn unknown_session_is_not_found() {
    let stage = Stage::new(counting());
    for session in ["ses_000000000000000000000000", "nonsense", "--help"] {
        let option = format!("--session={session}");
        let done = stage.turn([&option, "hello"]).with_code(1);
        let json = done.json();
        assert_eq!(json["error"]["kind"], "session_not_found", "{json}");
        assert!(done.stderr.contains(session) && done.stderr.contains("hint: "), "{}", done.stderr);
    }
    assert_eq!((stage.requests().len(), stage.task_dirs().len()), (0, 0));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn piped_chat_runs_line_by_line() {
    let stage = Stage::new(counting());
    let mut command = stage.command(["chat", "-m", "stub/gpt-4", "--save-markdown"]);
    command.stdin(Stdio::piped());
    let mut chat = Running::start(command);
    chat.say("first question\n\n  \nsecond question");
    let done = chat.end().with_code(0);
    assert_eq!(done.stdout, "Answer 1 to: first question\nAnswer 2 to: second question\n");
    let requests = stage.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].messages_text(), "first question\nAnswer 1 to: first question\nsecond question");
    let directories = stage.task_dirs();
    assert_eq!(directories.len(), 1);
    let transcript = std::fs::read_to_string(directories[0].join("conversation.md")).unwrap();
    assert!(transcript.contains("first question") && transcript.contains("Answer 2 to"), "{transcript}");
    stage.end();
}

/// Writes an MCP server with one tool. It writes its process id to a file beside it when it starts.
pub(crate) fn mcp_server(stage: &Stage) -> PathBuf {
    stage.write(
        "tools.sh",
        r#"echo $$ >>"$0.pids"
        while read -r line; do
            id=$(expr "$line" : '.*"id":\([0-9]*\)')
            version=$(expr "$line" : '.*"protocolVersion":"\([^"]*\)"')
            case $line in
                *'"initialize"'*) result='{"protocolVersion":"'$version'","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}' ;;
                *'"tools/list"'*) result='{"tools":[{"name":"measure","description":"d","inputSchema":{"type":"object","properties":{}}}]}' ;;
                *) result='{}' ;;
            esac
            [ -z "$id" ] || echo '{"jsonrpc":"2.0","id":'"$id"',"result":'"$result"'}'
        done"#,
    )
}

/// An MCP server from the user's configuration works in the task's directory, like processes that a turn leaves, but is
/// not left by a turn.
#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn mcp_server_survives_between_turns() {
    let mut stage = Stage::new(Script::new().rule(When::agent().reply("Turn {turn}.")));
    let tools = mcp_server(&stage);
    stage.configure(&json!({"mcp": {"ruler": {"type": "local", "command": ["sh", tools]}}}));
    let mut command = stage.command(["chat", "-m", "stub/gpt-4"]);
    command.stdin(Stdio::piped());
    let mut chat = Running::start(command);
    chat.say("first\nsecond\n");
    assert_eq!(chat.end().with_code(0).stdout, "Turn 1.\nTurn 2.\n");
    for request in stage.requests() {
        assert!(request.body.to_string().contains("ruler_measure"), "{}", request.body);
    }
    assert_eq!(stage.requests().len(), 2);
    stage.end();
}
