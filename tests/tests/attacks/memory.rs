//! A process of the same user that opens the command's memory at its start, and one that traces it.
//!
//! Permissions do not apply to the superuser: if the tests run as root, the command and the attacker run as an
//! unprivileged user.

use crate::faults_support::{Case, Running, wait_until};
use crate::users::{as_plain_user, give_away};
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::{
    Fake, FakeScript, Sandbox, children_of, fake_opencode_bin, locate, opencode_run_bin, worker_of,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

const KEY: &str = "sk-of-the-attacked-0123456789";

/// Returns a command that is about to start, with its id: a shell that becomes it once it has read a line.
fn about_to_start(sandbox: &Sandbox, fake: &Fake) -> Child {
    let mut command = sandbox.command("/bin/sh");
    command.args(["-c", "read -r _; exec \"$@\"", "sh"]).arg(opencode_run_bin!());
    command.args(["--transport", "run", "--opencode"]).arg(fake.executable()).args(["--config", "keys.env", "hello"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    as_plain_user(&mut command).spawn().unwrap()
}

fn sandbox() -> Option<(Sandbox, Fake)> {
    let sandbox = Sandbox::new();
    let ready = Act::WriteFile { path: sandbox.path("ready"), text: String::new() };
    let fake = FakeScript::new(&sandbox, fake_opencode_bin!()).on("run", [ready, Act::Stall {}]).write();
    let keys =
        format!("MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY={KEY}\n");
    std::fs::write(sandbox.workspace().join("keys.env"), keys).unwrap();
    give_away(&sandbox, fake.executable()).then_some((sandbox, fake))
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap()).unwrap()
}

fn start(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
}

#[test]
fn memory_opened_at_the_start_contains_no_key() {
    let Some((sandbox, fake)) = sandbox() else { return };
    let mut attacker = sandbox.command(locate("memory-reader", env!("CARGO_BIN_EXE_memory-reader")));
    attacker.arg(sandbox.path("ready")).arg(KEY).arg(opencode_run_bin!());
    attacker.args(["--transport", "run", "--opencode"]).arg(fake.executable()).args(["--config", "keys.env", "hello"]);
    let output = as_plain_user(attacker.stdin(Stdio::null())).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let mut lines = report.lines();
    assert_eq!(lines.next(), Some("program: read true, found false"), "{output:?}");
    // The worker, its supervisor, and opencode.
    let below: Vec<_> = lines.collect();
    assert!(below.len() >= 3 && below.iter().all(|line| *line == "below it: found false"), "{output:?}");
    assert_eq!(fake.log_of("run").len(), 1, "{output:?}");
    sandbox.assert_nothing_alive();
}

#[test]
fn unreadable_program_is_protected_from_start() {
    let Some((sandbox, fake)) = sandbox() else { return };
    if !geteuid().is_root() {
        writeln!(std::io::stderr(), "skipped: only root can install a program of another owner").ok();
        return;
    }
    let program = sandbox.path("opencode-run");
    std::fs::copy(opencode_run_bin!(), &program).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o711)).unwrap();
    let arguments = ["--transport", "run", "--config", "keys.env", "hello", "--opencode"];
    let mut attacker = sandbox.command(locate("memory-reader", env!("CARGO_BIN_EXE_memory-reader")));
    attacker.arg(sandbox.path("ready")).arg(KEY).arg(&program).args(arguments).arg(fake.executable());
    let output = as_plain_user(attacker.stdin(Stdio::null())).output().unwrap();
    let refused = String::from_utf8_lossy(&output.stderr).contains("PermissionDenied");
    assert!(!output.status.success() && output.stdout.is_empty() && refused, "{output:?}");
    sandbox.assert_nothing_alive();
    let mut command = sandbox.command(&program);
    command.args(arguments).arg(fake.executable()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::spawn(as_plain_user(&mut command));
    let ready = sandbox.path("ready");
    wait_until("the turn runs", || ready.exists());
    running.signal(Signal::TERM);
    running.wait().assert_code(143);
    sandbox.assert_nothing_alive();
}

#[test]
fn tracer_is_noticed_at_start() {
    // The script calls PTRACE_SEIZE, then PTRACE_CONT with the signal that has stopped the tracee.
    let script = "import ctypes, os, sys\n\
                  libc = ctypes.CDLL(None)\n\
                  libc.ptrace.argtypes = [ctypes.c_long] * 4\n\
                  pid = int(sys.argv[1])\n\
                  print(libc.ptrace(0x4206, pid, 0, 0), flush=True)\n\
                  while True:\n    \
                      _, status = os.waitpid(pid, 0x40000000)\n    \
                      if not os.WIFSTOPPED(status): break\n    \
                      libc.ptrace(7, pid, 0, os.WSTOPSIG(status))\n";
    let Some((sandbox, fake)) = sandbox() else { return };
    let mut victim = about_to_start(&sandbox, &fake);
    let mut tracer = Command::new("python3");
    tracer.args(["-c", script, &victim.id().to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let seized = as_plain_user(&mut tracer).spawn().map(|mut tracer| {
        let mut line = String::new();
        BufReader::new(tracer.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (tracer, line)
    });
    let Ok((mut tracer, line)) = seized else {
        writeln!(std::io::stderr(), "skipped: there is no python3 to trace with").ok();
        victim.kill().unwrap();
        victim.wait().unwrap();
        return;
    };
    assert_eq!(line, "0\n", "it is traced");
    start(&mut victim);
    let output = victim.wait_with_output().unwrap();
    tracer.kill().unwrap();
    tracer.wait().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("another process traces this one"), "{output:?}");
    assert_eq!(fake.log_of("run").len(), 0);
    sandbox.assert_nothing_alive();
}

#[test]
fn worker_and_monitor_end_together() {
    for kill_worker in [false, true] {
        let Some((sandbox, fake)) = sandbox() else { return };
        let mut victim = about_to_start(&sandbox, &fake);
        start(&mut victim);
        let ready = sandbox.path("ready");
        wait_until("the turn runs", || ready.exists());
        let monitor = Pid::from_child(&victim);
        let worker = pid(worker_of(victim.id()).unwrap());
        kill_process(if kill_worker { worker } else { monitor }, Signal::KILL).unwrap();
        sandbox.assert_nothing_alive();
        let status = victim.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::KILL.as_raw()));
    }
}

#[test]
fn supervisor_and_worker_kill_leaves_nothing() {
    let escape =
        |kind, count| Act::Spawn { kind, duration_s: 60, ignore_signals: true, hold_output: false, count: Some(count) };
    for kind in [SpawnKind::DoubleForkClearsEnvironment, SpawnKind::ForkStorm, SpawnKind::Chain] {
        let case = Case::stalling([escape(kind, 200)]);
        let mut victim = case.start(&["hello"]);
        case.wait_until_ready();
        let worker = worker_of(victim.child.id()).unwrap();
        for process in children_of(worker).into_iter().chain([worker]).map(pid) {
            kill_process(process, Signal::KILL).unwrap();
        }
        case.sandbox.assert_nothing_alive();
        let status = victim.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::KILL.as_raw()));
    }
}
