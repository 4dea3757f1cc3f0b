//! The ways in which a command ends, and the messages about them. The module `no_survivor` tests that no process
//! survives.

use crate::support::{Case, HANG, PLAIN_TEXT, Running, plain, ready_and_stall, spawn};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::{Act, SignalName, SpawnKind};
use rustix::process::Signal;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn obeyed_interrupt_is_quick() {
    let case = Case::stalling([plain(0, 2), Act::OnSignal { signal: SignalName::Int, code: 130 }]);
    let mut running = case.start(&["hello"]);
    case.wait_until_ready();
    running.began = Instant::now();
    running.signal(Signal::INT);
    let outcome = running.wait();
    outcome.assert_code(130);
    assert!(outcome.elapsed < Duration::from_secs(3), "{outcome:?}");
    assert!(outcome.stdout.starts_with(PLAIN_TEXT), "{outcome:?}");
    outcome.assert_says(&["interrupted in"]);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn limit_names_itself_and_last_activity() {
    for (option, words) in [("--timeout", "the time limit of 2s was reached"), ("--idle-timeout", "no progress for 2s")]
    {
        let case = Case::stalling([plain(0, 2)]);
        let outcome = case.run(&[option, "2s", "hello"]);
        outcome.assert_code(124);
        outcome.assert_says(&[words, "last seen: text after"]);
        assert!(outcome.elapsed >= Duration::from_secs(2), "{outcome:?}");
    }
}

#[test]
fn progress_resets_the_idle_limit() {
    let pauses = (0..6).flat_map(|_| [plain(0, 1), Act::Pause { ms: 700 }]);
    let case = Case::doing(pauses.chain([plain(1, 3)]));
    let outcome = case.run(&["--idle-timeout", "3s", "hello"]);
    outcome.assert_code(0);
    assert!(outcome.elapsed > Duration::from_secs(4), "{outcome:?}");
}

#[test]
fn foreign_processes_are_spared() {
    let case = Case::stalling([plain(0, 2), spawn(SpawnKind::ForkStorm)]);
    let other = Case::doing([]);
    let mut bystander = other.sandbox.command("sleep").arg("60").spawn().unwrap();
    let running = case.start(&["hello"]);
    case.wait_until_ready();
    running.signal(Signal::TERM);
    running.wait_for(HANG).assert_code(143);
    case.sandbox.assert_nothing_alive();
    assert!(bystander.try_wait().unwrap().is_none(), "it lives");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn chat_leaves_no_survivors() {
    let case = Case::new(|script, sandbox| {
        script.on("run", [plain(0, 2), spawn(SpawnKind::Setsid)].into_iter().chain(ready_and_stall(sandbox)))
    });
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["chat", "--transport", "run", "--opencode"]).arg(case.fake.executable());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::spawn(&mut command);
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    case.wait_until_ready();
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}
