//! The supervisor alone: it does not show in its child's input, output and exit status.

use crate::support::{HANG, Running, wait_until};
use opencode_run_tests::{Sandbox, opencode_run_bin};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the command that runs a shell script under a supervisor, as the child of `parent`.
fn supervised_by(sandbox: &Sandbox, parent: u32, script: &str) -> Command {
    let mut command = sandbox.command(opencode_run_bin!());
    command.arg("__watch").arg(parent.to_string()).args(["/bin/sh", "-c", script]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn watched(sandbox: &Sandbox, script: &str) -> Command {
    supervised_by(sandbox, std::process::id(), script)
}

/// Waits until the child has written a line.
fn first_line(child: &mut Child) -> String {
    let mut line = Vec::new();
    let stdout = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn supervisor_exits_like_its_child() {
    let sandbox = Sandbox::new();
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 7", Some(7), None),
        ("exit 255", Some(255), None),
        ("kill -INT $$", None, Some(Signal::INT)),
        ("kill -TERM $$", None, Some(Signal::TERM)),
        ("kill -SEGV $$", None, Some(Signal::SEGV)),
        ("kill -KILL $$", None, Some(Signal::KILL)),
        ("kill -PIPE $$", None, Some(Signal::PIPE)),
    ] {
        let outcome = Running::spawn(&mut watched(&sandbox, script)).wait();
        assert_eq!((outcome.code, outcome.signal), (code, signal.map(Signal::as_raw)), "{script}: {outcome:?}");
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "{script}");
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn standard_streams_belong_to_the_child() {
    let sandbox = Sandbox::new();
    let mut child = watched(&sandbox, "cat; echo err >&2; exec >&- 2>&-; exec sleep 60").spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"in").unwrap();
    // Each ends when the child closes it, while both are still running.
    let mut stdout = String::new();
    let mut stderr = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("in", "err\n"));
    assert!(child.try_wait().unwrap().is_none());
    kill_process_group(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(Running::from_child(child).wait().signal, Some(Signal::TERM.as_raw()));
    sandbox.assert_nothing_alive();
}

#[test]
fn group_signal_is_for_the_child() {
    let sandbox = Sandbox::new();
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1)] {
        let script = format!("trap 'echo heard; exit {number}' {number}; echo ready; while :; do sleep 0.01; done");
        let mut child = watched(&sandbox, &script).spawn().unwrap();
        assert_eq!(first_line(&mut child), "ready");
        kill_process_group(Pid::from_child(&child), signal).unwrap();
        let outcome = Running::from_child(child).wait();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(number), "heard\n"), "{outcome:?}");
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn early_signal_is_not_lost() {
    let sandbox = Sandbox::new();
    for delay in (0..40).map(|tenths| Duration::from_micros(tenths * 250)) {
        let child = watched(&sandbox, "exec sleep 60").spawn().unwrap();
        std::thread::sleep(delay);
        kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
        let outcome = Running::from_child(child).wait_for(Duration::from_secs(20));
        assert_eq!(outcome.signal, Some(Signal::INT.as_raw()), "after {delay:?}: {outcome:?}");
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn survivors_are_killed_before_exit() {
    let sandbox = Sandbox::new();
    let script = "(env -i setsid sleep 61.5 & env -i setsid sh -c 'sleep 61.5 & sleep 61.5' &) & sleep 0.2; exit 3";
    let outcome = Running::spawn(&mut watched(&sandbox, script)).wait();
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.elapsed < HANG, "the pipes are free");
    assert_eq!(sleepers("61.5"), 0);
    sandbox.assert_nothing_alive();
}

#[test]
fn forking_chain_is_caught() {
    let sandbox = Sandbox::new();
    // Each forks the next and exits, without a tag, in its own session. Without the file they stop.
    let file = sandbox.path("go-on");
    let chain = sandbox.path("chain.sh");
    std::fs::write(&file, "").unwrap();
    let go_on = file.display();
    let again = chain.display();
    // The shell allows a thousand nested calls.
    let text = format!("f() {{ [ -e {go_on} ] || exit; n=$((n+1)); [ $n = 500 ] && exec sh {again}; f & }}\nf\n");
    std::fs::write(&chain, text).unwrap();
    let script = format!("env -i setsid sh {again} & echo ready; exec sleep 60");
    let mut child = watched(&sandbox, &script).spawn().unwrap();
    assert_eq!(first_line(&mut child), "ready");
    std::thread::sleep(Duration::from_millis(300));
    let chain = chain.to_string_lossy();
    wait_until("one of them is seen", || running(&chain) > 0);
    let began = Instant::now();
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    let outcome = Running::from_child(child).wait();
    assert_eq!(outcome.signal, Some(Signal::KILL.as_raw()), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(running(&chain), 0);
    sandbox.assert_nothing_alive();
}

#[test]
fn ended_parent_is_noticed() {
    let sandbox = Sandbox::new();
    // The parent ended before the supervisor started: nothing is started.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let outcome = Running::spawn(&mut supervised_by(&sandbox, gone.id(), "echo started")).wait();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    // A living process that is not the parent counts as none.
    let outcome = Running::spawn(&mut supervised_by(&sandbox, 1, "echo started")).wait();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    // The parent ends while the supervisor runs.
    let script = format!("{} __watch $$ sleep 60 & echo ready; wait", opencode_run_bin!().display());
    let mut parent = sandbox.command("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(first_line(&mut parent), "ready");
    wait_until("the watcher watches", || {
        sandbox.suspects().alive().iter().any(|(_, line)| line.starts_with("sleep 60"))
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    sandbox.assert_nothing_alive();
}

#[test]
fn unstartable_program_is_reported() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(opencode_run_bin!());
    command.arg("__watch").arg(std::process::id().to_string()).arg("/nowhere/opencode");
    let outcome = Running::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait();
    outcome.assert_code(4);
    outcome.assert_says(&["error: /nowhere/opencode cannot be started: No such file"]);
    for arguments in [&[][..], &["x", "sh"], &["0", "sh"], &["-1", "sh"], &["1"]] {
        let mut command = sandbox.command(opencode_run_bin!());
        command.arg("__watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = Running::spawn(&mut command).wait();
        outcome.assert_code(4);
        outcome.assert_says(&["a supervisor is started only by opencode-run"]);
    }
    sandbox.assert_nothing_alive();
}

/// Returns the number of `sleep` processes with this argument.
pub(crate) fn sleepers(argument: &str) -> usize {
    running(&format!("sleep\0{argument}\0"))
}

/// Returns the number of processes whose command line contains this text.
fn running(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}
