//! Job control: the command is two processes and one job, so an action on one of them reaches the other.

use crate::support::{Case, Running, plain, wait_until};
use opencode_run_tests::worker_of;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::CommandExt;

fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap()).unwrap()
}

/// Starts a turn in its own process group, like a shell. Returns the command and its worker.
fn start(case: &Case) -> (Running, u32) {
    let running = Running::spawn(case.command(&["--output-format", "json", "hello"]).process_group(0));
    case.wait_until_ready();
    let worker = worker_of(running.child.id()).unwrap();
    (running, worker)
}

#[test]
fn stopped_command_is_continued_as_a_whole() {
    let case = Case::stalling([plain(0, 2)]);
    let (running, worker) = start(&case);
    let monitor = running.child.id();
    let both = |stopped: bool| is_stopped(monitor) == stopped && is_stopped(worker) == stopped;
    // From `kill`, and from a terminal; each time the shell continues the group, or only the process that it has
    // started.
    for _ in 0..3 {
        for (to_group, continue_group) in [(false, false), (true, true), (true, false), (false, true)] {
            let send = |to_group, signal| {
                if to_group { kill_process_group(pid(monitor), signal) } else { kill_process(pid(monitor), signal) }
            };
            send(to_group, Signal::TSTP).unwrap();
            wait_until("both are stopped", || both(true));
            send(continue_group, Signal::CONT).unwrap();
            wait_until("both run", || both(false));
        }
    }
    // The command must not stop again.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(both(false));
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn signal_to_the_worker_counts_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        for to_group in [false, true] {
            let case = Case::stalling([plain(0, 2)]);
            let (running, worker) = start(&case);
            if to_group {
                kill_process_group(pid(running.child.id()), signal).unwrap();
            } else {
                kill_process(pid(worker), signal).unwrap();
            }
            let outcome = running.wait();
            outcome.assert_code(code);
            assert_eq!(outcome.object()["state"], "interrupted");
            case.sandbox.assert_nothing_alive();
        }
    }
}

#[test]
fn signal_without_a_handler_ends_both() {
    for signal in [Signal::QUIT, Signal::USR1, Signal::ALARM, Signal::KILL] {
        for to_worker in [false, true] {
            let case = Case::stalling([plain(0, 2)]);
            let (running, worker) = start(&case);
            let process = if to_worker { worker } else { running.child.id() };
            kill_process(pid(process), signal).unwrap();
            assert_eq!(running.wait().signal, Some(signal.as_raw()), "{signal:?}, to the worker: {to_worker}");
            case.sandbox.assert_nothing_alive();
        }
    }
}

#[test]
fn callers_child_is_spared() {
    // A program that replaces a shell already has children.
    let case = Case::replaying(crate::support::PLAIN);
    let command = case.command(&["hello"]);
    let file = case.sandbox.path("child");
    let mut shell = case.sandbox.command("sh");
    let script = format!("sleep 60 > /dev/null 2>&1 & echo $! > {}; exec \"$0\" \"$@\"", file.display());
    shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    shell.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let outcome = Running::spawn(&mut shell).wait();
    outcome.assert_code(0);
    let child = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    kill_process(pid(child), Signal::KILL).unwrap();
    case.sandbox.assert_nothing_alive();
}
