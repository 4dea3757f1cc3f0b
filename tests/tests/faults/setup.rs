//! The installation, with an npm that starts other programs.

use crate::support::{HANG, Running, wait_until};
use opencode_run_tests::{Sandbox, opencode_run_bin};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// Returns a sandbox whose npm leaves three processes: one in its own session, one without an environment, and one that
/// ignores signals, reports that it is ready, and does `last`. Each sleeps for `seconds`, which identifies the
/// test's processes.
fn with_npm(seconds: &str, last: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    let bin = sandbox.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let ready = sandbox.path("ready");
    let script = format!(
        "#!/bin/sh\nsetsid sleep {seconds} &\n(env -i setsid sleep {seconds} &)\n\
         sh -c 'trap \"\" INT TERM HUP; sleep {seconds}' &\nsleep 0.2\necho > {}\n{last}\n",
        ready.display()
    );
    std::fs::write(bin.join("npm"), script).unwrap();
    std::fs::set_permissions(bin.join("npm"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&sandbox.env()[OsStr::new("PATH")])));
    sandbox.set("PATH", path.unwrap());
    sandbox
}

fn start(sandbox: &Sandbox) -> Running {
    let mut command = sandbox.command(opencode_run_bin!());
    Running::spawn(command.arg("setup").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Asserts that no process of npm is alive, including one that has cleared its environment.
fn assert_over(sandbox: &Sandbox, seconds: &str) {
    sandbox.assert_nothing_alive();
    assert_eq!(crate::supervisor::sleepers(seconds), 0);
}

#[test]
fn signal_kills_npm_and_its_descendants() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let sandbox = with_npm("71.25", "sleep 71.25");
        let running = start(&sandbox);
        wait_until("npm is at work", || sandbox.path("ready").exists());
        running.signal(signal);
        running.wait_for(HANG).assert_code(code);
        assert_over(&sandbox, "71.25");
        let installed = sandbox.home().join(".cache/opencode-run/opencode");
        let left: Vec<_> = std::fs::read_dir(installed).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"], "nothing half-made is left");
    }
}

#[test]
fn failed_npm_is_explained() {
    let sandbox = with_npm("71.75", "echo 'npm error no such registry' >&2; exit 7");
    let outcome = start(&sandbox).wait();
    outcome.assert_code(4);
    outcome.assert_says(&["npm could not install opencode: npm error no such registry", "hint: "]);
    assert_over(&sandbox, "71.75");
}

#[test]
fn missing_npm_is_reported() {
    let mut sandbox = Sandbox::new();
    sandbox.set("PATH", sandbox.home());
    let outcome = start(&sandbox).wait();
    outcome.assert_code(4);
    outcome.assert_says(&["npm was not found", "hint: install Node.js"]);
    sandbox.assert_nothing_alive();
}

/// Returns a sandbox whose npm answers `view` with this JSON and exit code, and fails to install.
fn with_registry(answer: &str, code: u8) -> Sandbox {
    let mut sandbox = Sandbox::new();
    let bin = sandbox.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("answer"), answer).unwrap();
    let script = format!(
        "#!/bin/sh\nif [ $1 = view ]; then cat {}; exit {code}; fi\necho 'npm error installed' >&2; exit 7\n",
        bin.join("answer").display()
    );
    std::fs::write(bin.join("npm"), script).unwrap();
    std::fs::set_permissions(bin.join("npm"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&sandbox.env()[OsStr::new("PATH")])));
    sandbox.set("PATH", path.unwrap());
    sandbox
}

fn setup(sandbox: &Sandbox, arguments: &[&str]) -> crate::support::Outcome {
    let mut command = sandbox.command(opencode_run_bin!());
    command.arg("setup").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::spawn(&mut command).wait()
}

#[test]
fn missing_generation_2_names_the_installer() {
    let sandbox = with_registry(r#"{"error": {"code": "E404", "summary": "Not Found"}}"#, 1);
    let outcome = setup(&sandbox, &["--generation", "2"]);
    outcome.assert_code(4);
    outcome.assert_says(&["there is no package @opencode/cli", "opencode's own installer"]);
    sandbox.assert_nothing_alive();
}

#[test]
fn unreachable_registry_is_not_a_missing_package() {
    let sandbox = with_registry(r#"{"error": {"code": "ENOTFOUND"}}"#, 1);
    let outcome = setup(&sandbox, &["--generation", "2"]);
    outcome.assert_code(4);
    outcome.assert_says(&["npm could not install opencode: ENOTFOUND", "npm ping"]);
}

#[test]
fn other_integrity_is_refused_before_installation() {
    let integrity = |letter: &str| format!("sha512-{}==", letter.repeat(86));
    let answer = format!(
        r#"{{"version": "2.0.14", "dist.integrity": "{}", "license": "MIT", "maintainers": ["somebody"]}}"#,
        integrity("A")
    );
    let sandbox = with_registry(&answer, 0);
    let outcome = setup(&sandbox, &["--package", "other-code@2.0.14", "--integrity", &integrity("B")]);
    outcome.assert_code(4);
    outcome.assert_says(&["the integrity of other-code@2.0.14 is", "do not install it"]);
    // The publisher is printed before npm installs anything.
    let outcome = setup(&sandbox, &["--package", "other-code@2.0.14", "--integrity", &integrity("A")]);
    outcome.assert_code(4);
    outcome.assert_says(&["publisher somebody", "npm error installed"]);
}

#[test]
fn package_without_exact_version_is_refused() {
    let integrity = format!("sha512-{}==", "A".repeat(86));
    let sandbox = with_registry("{}", 0);
    for package in ["other-code", "other-code@latest", "--registry=x@1.0.0", "git+https://x/y@1.0.0"] {
        let outcome = setup(&sandbox, &[&format!("--package={package}"), "--integrity", &integrity]);
        outcome.assert_code(2);
    }
    setup(&sandbox, &["--package", "other-code@2.0.14"]).assert_code(2);
}
