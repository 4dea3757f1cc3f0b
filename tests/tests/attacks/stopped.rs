//! A process of the same user that stops the monitor, the worker or the supervisor: limits and signals still work, and
//! no process survives.

use crate::faults_support::{Case, PLAIN, Running, spawn, wait_until};
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::{children_of, worker_of};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::CommandExt;
use std::thread::sleep;
use std::time::Duration;

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap()).unwrap()
}

fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

/// Stops a process and waits until it has stopped.
fn stop(process: u32) {
    kill_process(pid(process), Signal::STOP).unwrap();
    wait_until("it is stopped", || is_stopped(process));
}

/// Starts a stalling turn with an untagged orphan.
fn start(arguments: &[&str]) -> (Case, Running, u32) {
    let case = Case::stalling([spawn(SpawnKind::DoubleForkClearsEnvironment)]);
    let running = Running::spawn(case.command(arguments).process_group(0));
    case.wait_until_ready();
    let worker = worker_of(running.child.id()).unwrap();
    (case, running, worker)
}

#[test]
fn stopped_monitor_ends_with_its_turn() {
    let case = Case::new(|script, sandbox| {
        let ready = Act::WriteFile { path: sandbox.path("ready"), text: String::new() };
        let go = Act::WaitForFile { path: sandbox.path("go") };
        let replay = Act::EmitRecording { recording: PLAIN.to_owned(), from: 0, to: None, line_pause_ms: 0 };
        script.on("run", [spawn(SpawnKind::DoubleForkClearsEnvironment), ready, go, replay])
    });
    let running = case.start(&["hello"]);
    case.wait_until_ready();
    stop(running.child.id());
    // At once, so that the worker has not noticed the monitor yet.
    std::fs::write(case.sandbox.path("go"), "").unwrap();
    running.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn signal_reaches_a_stopped_monitor() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (case, running, _) = start(&["hello"]);
        stop(running.child.id());
        running.signal(signal);
        running.wait().assert_code(code);
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn time_limit_holds_for_a_stopped_worker() {
    for stop_supervisor in [false, true] {
        let (case, running, worker) = start(&["--timeout", "3s", "hello"]);
        if stop_supervisor {
            children_of(worker).into_iter().for_each(stop);
        }
        stop(worker);
        running.wait().assert_code(124);
        case.sandbox.assert_nothing_alive();
    }
}

#[test]
fn signal_ends_turn_of_stopped_worker() {
    let (case, running, worker) = start(&["hello"]);
    stop(worker);
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn fully_stopped_command_is_killed_cleanly() {
    let (case, mut running, worker) = start(&["hello"]);
    let monitor = running.child.id();
    for process in children_of(worker).into_iter().chain([worker, monitor]) {
        kill_process(pid(process), Signal::STOP).unwrap();
    }
    wait_until("both are stopped", || is_stopped(monitor) && is_stopped(worker));
    // The command has no running process that could continue it.
    sleep(Duration::from_secs(3));
    assert!(is_stopped(monitor) && is_stopped(worker));
    running.signal(Signal::KILL);
    running.child.wait().unwrap();
    case.sandbox.assert_nothing_alive();
}

#[test]
fn command_stopped_by_caller_stays_stopped() {
    let (case, running, worker) = start(&["hello"]);
    let group = pid(running.child.id());
    kill_process_group(group, Signal::STOP).unwrap();
    wait_until("both are stopped", || is_stopped(running.child.id()) && is_stopped(worker));
    sleep(Duration::from_secs(3));
    assert!(is_stopped(running.child.id()) && is_stopped(worker));
    kill_process_group(group, Signal::CONT).unwrap();
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}
