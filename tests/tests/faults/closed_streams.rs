//! Standard streams that are closed when the command starts (`>&-`).

use crate::support::{Case, PLAIN, PLAIN_TEXT, Running};
use std::fs::File;
use std::process::{Command, Stdio};

/// Returns the same command, started by a shell with this redirection.
fn redirected(case: &Case, redirection: &str, command: &Command) -> Command {
    let mut shell = case.sandbox.command("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn closed_stdout_fails_before_a_turn() {
    for arguments in [
        &["hello"][..],
        &["--output-format", "json", "hello"],
        &["--output-format", "stream-json", "hello"],
        &["--print-markdown", "hello"],
    ] {
        for redirection in [">&-", ">&- <&-"] {
            let case = Case::replaying(PLAIN);
            let outcome = Running::spawn(&mut redirected(&case, redirection, &case.command(arguments))).wait();
            outcome.assert_code(1);
            outcome.assert_says(&["stdout is closed", ">/dev/null"]);
            assert_eq!(case.fake.log_of("run").len(), 0, "{arguments:?}: no turn is paid for");
            case.sandbox.assert_nothing_alive();
        }
    }
}

#[test]
fn closed_stdout_fails_every_command() {
    let case = Case::replaying(PLAIN);
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["completions", "bash"],
        &["man"],
        &["doctor", "--offline"],
        &["models"],
        &["resume", "."],
        &["chat"],
        &["demo"],
    ] {
        let mut command = Command::new(opencode_run_tests::opencode_run_bin!());
        command.args(arguments);
        let outcome = Running::spawn(&mut redirected(&case, ">&-", &command)).wait();
        outcome.assert_code(1);
        outcome.assert_says(&["stdout"]);
    }
    case.sandbox.assert_nothing_alive();
}

#[test]
fn full_stdout_fails_the_help() {
    let case = Case::replaying(PLAIN);
    for option in ["--help", "--version"] {
        let mut command = Command::new(opencode_run_tests::opencode_run_bin!());
        command.arg(option);
        let outcome = Running::spawn(&mut redirected(&case, ">/dev/full", &command)).wait();
        outcome.assert_code(1);
        outcome.assert_says(&["stdout cannot be written to", "No space left"]);
    }
}

#[test]
fn answer_is_printed_with_stderr_closed() {
    for redirection in ["2>&-", "2>&- <&-"] {
        let case = Case::replaying(PLAIN);
        let outcome = Running::spawn(&mut redirected(&case, redirection, &case.command(&["-v", "hello"]))).wait();
        outcome.assert_code(0);
        assert_eq!(outcome.stdout, format!("{PLAIN_TEXT}\n"), "{redirection}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn closed_stdin_is_not_read_as_message() {
    let case = Case::replaying(PLAIN);
    for arguments in [&["--output-format", "json", "-"][..], &["--output-format", "json"]] {
        let outcome = Running::spawn(&mut redirected(&case, "<&-", &case.command(arguments))).wait();
        outcome.assert_code(2);
        let message = outcome.object()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("stdin: it is closed"), "{message}");
    }
    let outcome = Running::spawn(&mut redirected(&case, "<&-", &case.command(&["hello"]))).wait();
    outcome.assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn null_device_is_a_valid_stdout() {
    let case = Case::replaying(PLAIN);
    // Python's `subprocess.DEVNULL` opens it like this, and Rust's runtime in place of a closed stream.
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut command = case.command(&["hello"]);
    command.stdout(null);
    Running::spawn(&mut command).wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}
