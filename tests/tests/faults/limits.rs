//! Resource limits (`ulimit`), which are reported with the reason and a remedy.

use crate::support::{Case, PLAIN, Running, Transport, plain, stdout};
use serde_json::json;
use std::fs::File;
use std::process::{Command, Stdio};

/// Returns the same command, started by a shell under these limits.
fn limited(case: &Case, limits: &str, arguments: &[&str]) -> Command {
    let command = case.command(arguments);
    let mut shell = case.sandbox.command("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn few_open_files_fail_early() {
    for limit in [6, 7, 8, 10, 12, 16, 24, 63] {
        for format in ["json", "stream-json"] {
            let case = Case::replaying(PLAIN);
            let arguments = ["--output-format", format, "hello"];
            let outcome = Running::spawn(&mut limited(&case, &format!("ulimit -n {limit}"), &arguments)).wait();
            outcome.assert_code(1);
            outcome.assert_says(&[&format!("only {limit} files can be open at a time"), "ulimit -n"]);
            let error = &outcome.object()["error"];
            assert_eq!(error["kind"], "io", "{limit}: {error}");
            assert!(error["hint"].as_str().unwrap().contains("ulimit -n"), "{limit}: {error}");
            assert!(case.fake.log_of("run").is_empty(), "nothing ran");
            case.sandbox.assert_nothing_alive();
        }
    }
}

#[test]
fn sixty_four_open_files_are_enough() {
    let case = Case::replaying(PLAIN);
    Running::spawn(&mut limited(&case, "ulimit -n 64", &["hello"])).wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn missing_thread_is_reported_as_json() {
    for format in ["text", "json", "stream-json"] {
        let case = Case::replaying(PLAIN);
        let mut command = case.command(&["--output-format", format, "hello"]);
        // No system has room for such a stack, which fails like a limit on threads.
        command.env("RUST_MIN_STACK", (1_u64 << 46).to_string());
        let outcome = Running::spawn(&mut command).wait();
        outcome.assert_code(1);
        outcome.assert_says(&["the command cannot start its threads", "ulimit -u"]);
        if format == "text" {
            assert_eq!(outcome.stdout, "");
        } else {
            let error = &outcome.object()["error"];
            assert_eq!(error["kind"], "io", "{error}");
            assert!(error["hint"].as_str().unwrap().contains("ulimit -u"), "{error}");
        }
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn file_size_limit_is_named() {
    for transport in [Transport::Run, Transport::Serve] {
        let case = Case::replaying(PLAIN).on(transport);
        let arguments = ["--output-format", "json", "hello"];
        let outcome = Running::spawn(&mut limited(&case, "ulimit -f 0", &arguments)).wait();
        assert!(outcome.code.is_some_and(|code| ![0, 101].contains(&code)), "{outcome:?}");
        let error = &outcome.object()["error"];
        assert!(error["hint"].as_str().unwrap().contains("ulimit -f"), "{error}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn file_size_limit_fails_the_answer() {
    let answer = "0123456789abcdef".repeat(20_000);
    let text = json!({"type": "text", "part": {"id": "p", "text": answer}}).to_string();
    for format in ["text", "json", "stream-json"] {
        let case = Case::doing([plain(0, 1), stdout(&(text.clone() + "\n")), plain(2, 3)]);
        let mut command = limited(&case, "ulimit -f 128", &["--output-format", format, "hello"]);
        command.stdout(File::create(case.sandbox.path("answer")).unwrap());
        let outcome = Running::spawn(&mut command).wait();
        outcome.assert_code(1);
        outcome.assert_says(&["stdout cannot be written to: File too large", "ulimit -f"]);
        case.sandbox.assert_nothing_alive();
    }
}
