//! Directories that are deleted or not writable.

use crate::support::{Case, PLAIN, Running};
use opencode_run_tests::opencode_run_bin;
use std::process::{Command, Stdio};

/// Returns a command that a shell starts in a directory that it has deleted.
fn in_deleted_directory(case: &Case, command: &Command) -> Command {
    let mut shell = case.sandbox.command("sh");
    shell.args(["-c", "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" \"$@\""]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn deleted_current_directory_is_named() {
    let case = Case::replaying(PLAIN);
    let other = case.sandbox.path("other");
    std::fs::create_dir(&other).unwrap();
    for further in [&[][..], &["--dir", "."], &["--workspace", "tasks"]] {
        let command = case.command(&[&["--output-format", "json"], further, &["hello"]].concat());
        let outcome = Running::spawn(&mut in_deleted_directory(&case, &command)).wait();
        outcome.assert_code(2);
        let error = &outcome.object()["error"];
        assert_eq!(error["message"], "the current directory no longer exists", "{further:?}");
        assert!(error["hint"].as_str().unwrap().contains("`cd`"), "{further:?}: {error}");
    }
    for option in ["--dir", "--workspace"] {
        let command = case.command(&[option, other.to_str().unwrap(), "hello"]);
        Running::spawn(&mut in_deleted_directory(&case, &command)).wait().assert_code(0);
    }
    let mut doctor = Command::new(opencode_run_bin!());
    doctor.args(["doctor", "--offline", "--opencode"]).arg(case.fake.executable());
    let outcome = Running::spawn(&mut in_deleted_directory(&case, &doctor)).wait();
    outcome.assert_code(3);
    assert!(outcome.stdout.contains("the current directory no longer exists"), "{outcome:?}");
    case.sandbox.assert_nothing_alive();
}

#[test]
fn doctor_finds_unwritable_directories() {
    for (variable, shown) in [
        ("XDG_DATA_HOME", "opencode cannot write to /dev/null/x"),
        ("XDG_STATE_HOME", "opencode cannot write to /dev/null/x"),
        ("XDG_CACHE_HOME", "opencode cannot write to /dev/null/x"),
        ("TMPDIR", "the temp directory /dev/null/x cannot be written to"),
    ] {
        let mut case = Case::replaying(PLAIN);
        case.sandbox.set(variable, "/dev/null/x");
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["doctor", "--offline", "--opencode"]).arg(case.fake.executable());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = Running::spawn(&mut command).wait();
        outcome.assert_code(3);
        assert!(outcome.stdout.contains(shown) && outcome.stdout.contains(variable), "{variable}: {outcome:?}");
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn missing_temp_directory_names_its_variable() {
    for further in [&["--isolated"][..], &["--file", "/dev/null"], &["--transport", "serve"]] {
        let mut case = Case::replaying(PLAIN);
        case.sandbox.set("TMPDIR", "/nowhere");
        let mut command = case.sandbox.command(opencode_run_bin!());
        command.args(["--output-format", "json", "hello", "--opencode"]).arg(case.fake.executable()).args(further);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = Running::spawn(&mut command).wait();
        outcome.assert_code(1);
        let error = &outcome.object()["error"];
        assert_eq!(error["kind"], "io", "{further:?}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("TMPDIR"), "{further:?}: {error}");
        case.sandbox.assert_nothing_alive();
    }
}
