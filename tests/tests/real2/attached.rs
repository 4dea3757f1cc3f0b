//! Turns on an attached server.

use crate::stage;
use opencode_run_scripted_model::{Script, When};
use opencode_run_tests::real_opencode2;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn turns_run_on_attached_server() {
    let stage = stage(Script::new().rule(When::agent().reply("Answer {turn}.")));
    let mut server = stage.sandbox.command(real_opencode2());
    server.args(["serve", "--stdio", "--port", "0"]).env("OPENCODE_PASSWORD", "theirs");
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = ready["url"].as_str().unwrap();
    let attached = |password: &str, code: i32| {
        let mut command = stage.command(["--attach", url, "-m", "stub/gpt-4", "--output-format", "json", "hello"]);
        command.env("OPENCODE_SERVER_PASSWORD", password);
        crate::stage::Running::start(command).end().with_code(code).json()
    };
    assert_eq!(attached("theirs", 0)["output"], "Answer 1.");
    assert_eq!(attached("wrong", 3)["error"]["kind"], "config");
    assert!(server.try_wait().unwrap().is_none(), "it is never ended by us");
    // The server exits when its stdin is closed.
    drop(server.stdin.take());
    server.wait().unwrap();
    assert_eq!(stage.requests().len(), 1);
    stage.end();
}
