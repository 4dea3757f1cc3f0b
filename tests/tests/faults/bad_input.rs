//! Invalid arguments: each gets a clear message and its exit code, and leaves no files behind.

use crate::support::{Case, Outcome, PLAIN, PLAIN_TEXT};
use opencode_runner::{FailureKind, Runner, Transport};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

/// Asserts that these arguments are refused before anything runs, in text and in JSON.
#[track_caller]
fn assert_refused(case: &Case, arguments: &[&str], code: i32, kind: &str, words: &[&str]) -> Outcome {
    let text = case.run(arguments);
    text.assert_code(code);
    text.assert_says(words);
    text.assert_says(&["error: "]);
    assert_eq!(text.stdout, "", "stdout is for the answer");
    let (json, object) = case.run_json(arguments);
    json.assert_code(code);
    assert_eq!((object["state"].as_str(), object["error"]["kind"].as_str()), (Some("error"), Some(kind)), "{object}");
    assert_eq!((object["output"].as_str(), object["task_dir"].is_null()), (Some(""), true), "{object}");
    assert!(case.task_dirs().is_empty(), "nothing half-made is left: {:?}", case.task_dirs());
    assert!(case.fake.log_of("run").is_empty(), "nothing ran");
    assert!(text.elapsed < Duration::from_secs(20), "{text:?}");
    text
}

#[test]
fn blank_message_is_refused() {
    let case = Case::replaying(PLAIN);
    for message in ["", " ", " \t\n  "] {
        assert_refused(&case, &[message], 2, "usage", &["the message is blank", "hint: write what to do"]);
        assert_refused(&case, &["--message", message], 2, "usage", &["the message is blank"]);
    }
    // An empty stdin is not a message either.
    assert_refused(&case, &[], 2, "usage", &["the message is blank"]);
    assert_refused(&case, &["-"], 2, "usage", &["the message is blank"]);
}

#[test]
fn binary_message_is_refused() {
    let case = Case::replaying(PLAIN);
    for (bytes, words) in [(&b"caf\xe9"[..], "not UTF-8 from byte 3 on"), (&b"a\0b"[..], "contains a NUL byte")] {
        let mut child = case.command(&[]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
    assert!(case.task_dirs().is_empty());
    case.sandbox.assert_nothing_alive();
}

#[test]
fn invalid_task_names_are_refused() {
    let case = Case::replaying(PLAIN);
    let long = "x".repeat(300);
    for (name, why) in [
        ("../x", "a path separator"),
        ("a/b", "a path separator"),
        ("..", "begins with a dash or a dot"),
        (".", "begins with a dash or a dot"),
        ("", "it is empty"),
        ("a b", "contains a space"),
        ("a\nb", "contains a space or another character"),
        (&long, "longer than 128 bytes"),
    ] {
        assert_refused(&case, &["--task-name", name, "hello"], 3, "config", &["cannot be a task's name", why]);
    }
    assert_refused(&case, &["--task-name=-x", "hello"], 3, "config", &["begins with a dash"]);
    let siblings = std::fs::read_dir(case.sandbox.root()).unwrap();
    assert!(siblings.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("task")));
    // Without an equals sign, the argument parser reads a value that begins with a dash as an option.
    case.run(&["--task-name", "-x", "hello"]).assert_code(2);
}

#[tokio::test]
async fn nul_byte_is_refused_by_library() {
    let case = Case::replaying(PLAIN);
    let builder = || {
        let environment = case.sandbox.env().iter().map(|(name, value)| (name.clone(), value.clone()));
        let builder = Runner::builder().transport(Transport::Run).workspace(case.sandbox.workspace());
        builder.opencode(case.fake.executable()).environment(environment)
    };
    let error = builder().task_name("a\0b").build().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Config, "{error}");
    assert!(case.task_dirs().is_empty());
    for odd in [builder().title("a\0b"), builder().agent("a\0b"), builder().variant("a\0b")] {
        let runner = odd.build().await.unwrap();
        let error = runner.run("hello").await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Usage, "opencode is not to blame: {error}");
        assert!(error.to_string().contains("NUL"), "{error}");
    }
    // A message is written to stdin, where a NUL is an ordinary byte.
    let runner = builder().build().await.unwrap();
    assert_eq!(runner.run("a\0b").await.unwrap().output(), PLAIN_TEXT);
    assert_eq!(case.fake.log_of("run")[0].stdin.as_deref(), Some("a\0b"));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn invalid_limits_are_refused() {
    let case = Case::replaying(PLAIN);
    for value in ["0s", "10", "soon", "-5s"] {
        let outcome = case.run(&[&format!("--timeout={value}"), "hello"]);
        outcome.assert_code(2);
        outcome.assert_says(&["--timeout"]);
    }
    assert!(case.task_dirs().is_empty());
}

#[test]
fn invalid_models_and_sources_are_refused() {
    let case = Case::replaying(PLAIN);
    let outcome = case.run(&["--model", "no-slash", "hello"]);
    outcome.assert_code(2);
    outcome.assert_says(&["no-slash"]);
    assert_refused(
        &case,
        &["--model-source-type", "code", "hello"],
        3,
        "config",
        &["no model source is configured for `code`"],
    );
}

#[test]
fn unknown_session_is_refused() {
    for (session, stderr) in [
        ("ses_0000", "Exporting session: ses_0000\n\u{1b}[91m\u{1b}[1mError: \u{1b}[0mSession not found: ses_0000\n"),
        (
            "nope",
            "\u{1b}[91m\u{1b}[1mError: \u{1b}[0mUnexpected error\n\nExpected a string starting with \"ses\", got \"nope\"\n",
        ),
    ] {
        use opencode_run_tests::script::Act;
        let acts = [Act::Stderr { text: stderr.to_owned() }, Act::Exit { code: 1 }];
        let case = Case::new(|script, _| script.on("export", acts));
        assert_refused(
            &case,
            &["--session", session, "hello"],
            1,
            "session_not_found",
            &[&format!("session {session} was not found"), "hint: "],
        );
    }
}

#[test]
fn directory_of_another_session_is_refused() {
    use opencode_run_tests::script::Act;
    let case = Case::new(|script, sandbox| {
        let home = sandbox.home();
        let export = format!("{{\"info\": {{\"id\": \"ses_1\", \"directory\": \"{}\"}}}}", home.display());
        script.on("export", [Act::Stdout { text: export }]).replay("run", PLAIN)
    });
    let words = ["session ses_1 belongs to", "remove --dir"];
    assert_refused(&case, &["--session", "ses_1", "--dir", ".", "hello"], 2, "usage", &words);
    let gone = Case::new(|script, _| {
        let export = r#"{"info": {"id": "ses_1", "directory": "/nowhere/at/all"}}"#;
        script.on("export", [Act::Stdout { text: export.to_owned() }])
    });
    assert_refused(&gone, &["--session", "ses_1", "hello"], 2, "usage", &["/nowhere/at/all"]);
}
