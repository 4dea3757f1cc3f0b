//! The installation, with a program for npm that starts others.

use crate::support::{HANG, Running, wait_until};
use opencode_run_tests::{Sandbox, opencode_run_bin};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// A sandbox whose npm leaves a process in a session of its own, one without an environment, and one that is deaf, says that it
/// is ready, and then does this. Each sleeps for so many seconds, by which it is found: every test has its own.
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

/// Asserts that nothing of npm's is alive, one that has cleared its environment included.
fn assert_over(sandbox: &Sandbox, seconds: &str) {
    sandbox.assert_nothing_alive();
    assert_eq!(crate::watcher::sleepers(seconds), 0);
}

#[test]
fn a_signal_ends_npm_and_all_that_it_started() {
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
fn an_npm_that_fails_says_why_and_leaves_nothing() {
    let sandbox = with_npm("71.75", "echo 'npm error no such registry' >&2; exit 7");
    let outcome = start(&sandbox).wait();
    outcome.assert_code(4);
    outcome.assert_says(&["npm could not install opencode: npm error no such registry", "hint: "]);
    assert_over(&sandbox, "71.75");
}

#[test]
fn a_machine_without_npm_is_told_so() {
    let mut sandbox = Sandbox::new();
    sandbox.set("PATH", sandbox.home());
    let outcome = start(&sandbox).wait();
    outcome.assert_code(4);
    outcome.assert_says(&["npm was not found", "hint: install Node.js"]);
    sandbox.assert_nothing_alive();
}
