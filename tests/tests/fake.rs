//! Tests each act of the fake, on which the other suites rely.

#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

use opencode_run_tests::recording::{End, Recording};
use opencode_run_tests::script::{Act, SignalName, SpawnKind, Stream};
use opencode_run_tests::{Fake, FakeScript, Sandbox, fake_opencode_bin};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn script(sandbox: &Sandbox) -> FakeScript {
    FakeScript::new(sandbox, fake_opencode_bin!())
}

/// Returns a fake whose `run` does these acts.
fn doing(sandbox: &Sandbox, acts: impl IntoIterator<Item = Act>) -> Fake {
    script(sandbox).on("run", acts).write()
}

fn command(sandbox: &Sandbox, fake: &Fake) -> Command {
    let mut command = sandbox.command(fake.executable());
    command.arg("run").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(sandbox: &Sandbox, acts: impl IntoIterator<Item = Act>) -> Output {
    let fake = doing(sandbox, acts);
    command(sandbox, &fake).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

fn text(text: &str) -> Act {
    Act::Stdout { text: text.to_owned() }
}

fn spawn(kind: SpawnKind) -> Act {
    Act::Spawn { kind, duration_s: 60, ignore_signals: true, hold_output: false, count: Some(20) }
}

#[test]
fn version_is_from_the_script() {
    let sandbox = Sandbox::new();
    let fake = script(&sandbox).version("1.2.3").write();
    for flag in ["--version", "-v"] {
        let output = sandbox.command(fake.executable()).arg(flag).output().unwrap();
        assert_eq!(stdout(&output), "1.2.3\n");
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn script_is_found_in_three_ways() {
    let sandbox = Sandbox::new();
    let fake = doing(&sandbox, [text("here")]);
    assert_eq!(command(&sandbox, &fake).output().unwrap().stdout, b"here");
    let by_path = Command::new("opencode")
        .arg("run")
        .env_clear()
        .env("PATH", fake.bin_dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(by_path.stdout, b"here");
    let (name, path) = fake.env();
    let by_variable = sandbox.command(fake.raw_bin()).arg("run").env(name, path).stdin(Stdio::null()).output().unwrap();
    assert_eq!(by_variable.stdout, b"here");
    let lost = sandbox.command(fake.raw_bin()).arg("run").output().unwrap();
    assert_eq!(lost.status.code(), Some(70));
}

#[test]
fn invocations_are_logged_and_counted() {
    let sandbox = Sandbox::new();
    let fake = script(&sandbox)
        .on("run", [text("first")])
        .on("run", [text("then"), Act::Exit { code: 7 }])
        .on("session list", [text("[]")])
        .write();
    for (said, code) in [("first", 0), ("then", 7), ("then", 7)] {
        let mut child = command(&sandbox, &fake).arg("--session=ses_1").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all("a \"quoted\" prompt\n".as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((stdout(&output), output.status.code()), (said, Some(code)));
    }
    let list = sandbox.command(fake.executable()).args(["session", "list"]).output().unwrap();
    assert_eq!(stdout(&list), "[]");
    let unknown = sandbox.command(fake.executable()).args(["serve"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(70));
    let runs = fake.log_of("run");
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[2].number, 2);
    assert_eq!(runs[0].argv, ["run", "--session=ses_1"]);
    assert_eq!(runs[0].flag("--session"), Some("ses_1"));
    assert_eq!(runs[0].stdin.as_deref(), Some("a \"quoted\" prompt\n"));
    assert_eq!((runs[0].exit, runs[1].exit), (Some(0), Some(7)));
    assert_eq!(runs[0].cwd, sandbox.workspace().canonicalize().unwrap());
    assert_eq!(runs[0].env["PWD"], sandbox.workspace().to_str().unwrap());
    assert_eq!(fake.log_of("session list")[0].stdin, None);
    sandbox.assert_nothing_alive();
}

#[test]
fn parallel_invocations_claim_different_lists() {
    let sandbox = Sandbox::new();
    let fake = (0..8).fold(script(&sandbox), |script, n| script.on("run", [text(&n.to_string())])).write();
    let children: Vec<Child> = (0..8).map(|_| command(&sandbox, &fake).spawn().unwrap()).collect();
    let mut said: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap().stdout).collect();
    said.sort();
    assert_eq!(said.concat(), b"01234567");
    assert_eq!(fake.log().len(), 8);
    sandbox.assert_nothing_alive();
}

#[test]
fn placeholders_are_replaced() {
    let sandbox = Sandbox::new();
    let fake = doing(&sandbox, [text("{{session}} {{cwd}}")]);
    let output = command(&sandbox, &fake).args(["--session", "ses_x"]).output().unwrap();
    assert_eq!(stdout(&output), format!("ses_x {}", sandbox.workspace().canonicalize().unwrap().display()));
}

#[test]
fn fake_writes_raw_bytes_split_texts_and_stderr() {
    let sandbox = Sandbox::new();
    let acts = [
        Act::StdoutBytes { hex: "ff fe 0a".into() },
        Act::Split { text: "äb".into(), at: Some(1), pause_ms: 100 },
        Act::Stderr { text: "oh".into() },
    ];
    let began = Instant::now();
    let output = run(&sandbox, acts);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(output.stdout, b"\xff\xfe\n\xc3\xa4b");
    assert_eq!(output.stderr, b"oh");
}

#[test]
fn floods_have_the_requested_size() {
    let sandbox = Sandbox::new();
    let flood = |stream, line_length, one_line| Act::Flood { stream, bytes: 1_000_000, line_length, one_line };
    let output = run(&sandbox, [flood(Stream::Stdout, Some(50), false), flood(Stream::Stderr, None, true)]);
    assert_eq!((output.stdout.len(), output.stderr.len()), (1_000_000, 1_000_000));
    assert!(output.stdout.split_inclusive(|&byte| byte == b'\n').all(|line| line.len() == 50));
    assert_eq!(output.stderr.iter().position(|&byte| byte == b'\n'), Some(999_999));
}

#[test]
fn stdin_is_read_first_by_default() {
    let sandbox = Sandbox::new();
    let fake = script(&sandbox).on("run", [text("read")]).on("run", [Act::NoReadStdin {}, text("not read")]).write();
    let mut first = command(&sandbox, &fake).stdin(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(first.try_wait().unwrap(), None, "it waits for the end of stdin");
    drop(first.stdin.take());
    assert_eq!(first.wait_with_output().unwrap().stdout, b"read");
    let mut second = command(&sandbox, &fake).stdin(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    second.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "not read");
    second.wait().unwrap();
    sandbox.assert_nothing_alive();
}

/// Starts a fake that stalls after these acts, and waits until it stalls.
fn stalled(sandbox: &Sandbox, acts: impl IntoIterator<Item = Act>) -> Child {
    let acts = acts.into_iter().chain([text("ready\n"), Act::Stall {}]);
    let mut child = command(sandbox, &doing(sandbox, acts)).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn fake_ends_on_signals_by_default() {
    use rustix::process::Signal;
    let sandbox = Sandbox::new();
    let mut plain = stalled(&sandbox, []);
    signal(&plain, Signal::INT);
    assert_eq!(plain.wait().unwrap().signal(), Some(2));
    sandbox.assert_nothing_alive();

    let sandbox = Sandbox::new();
    let mut polite = stalled(&sandbox, [Act::OnSignal { signal: SignalName::Int, code: 130 }]);
    signal(&polite, Signal::INT);
    assert_eq!(polite.wait().unwrap().code(), Some(130));
    sandbox.assert_nothing_alive();

    let sandbox = Sandbox::new();
    let signals = vec![SignalName::Int, SignalName::Term];
    let mut deaf = stalled(&sandbox, [Act::IgnoreSignals { signals }]);
    signal(&deaf, Signal::INT);
    signal(&deaf, Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(deaf.try_wait().unwrap(), None);
    signal(&deaf, Signal::KILL);
    assert_eq!(deaf.wait().unwrap().signal(), Some(9));
    sandbox.assert_nothing_alive();
}

#[test]
fn fake_crashes_by_requested_signals() {
    for (name, number) in [(SignalName::Kill, 9), (SignalName::Segv, 11), (SignalName::Abrt, 6)] {
        let sandbox = Sandbox::new();
        let output = run(&sandbox, [text("before"), Act::KillSelf { signal: name }, text("after")]);
        assert_eq!((output.stdout.as_slice(), output.status.signal()), (b"before".as_slice(), Some(number)));
        sandbox.assert_nothing_alive();
    }
}

#[test]
fn files_are_written_and_waited_for() {
    let sandbox = Sandbox::new();
    let acts = [
        Act::WriteFile { path: "made.txt".into(), text: "{{session}}".into() },
        Act::WaitForFile { path: "go".into() },
        Act::Exit { code: 5 },
    ];
    let fake = script(&sandbox).session("ses_y").on("run", acts).write();
    let mut child = command(&sandbox, &fake).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(std::fs::read_to_string(sandbox.workspace().join("made.txt")).unwrap(), "ses_y");
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    sandbox.assert_nothing_alive();
}

#[test]
fn stdout_can_end_before_the_process() {
    let sandbox = Sandbox::new();
    let fake = doing(&sandbox, [text("x"), Act::CloseStdout {}, Act::WaitForFile { path: "go".into() }]);
    let mut child = command(&sandbox, &fake).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), child.try_wait().unwrap()), ("x", None));
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
    sandbox.assert_nothing_alive();
}

#[test]
fn stdout_can_stay_open_after_exit() {
    let sandbox = Sandbox::new();
    let fake = doing(&sandbox, [text("x"), Act::HoldStdoutOpen { duration_s: 2 }]);
    let mut child = command(&sandbox, &fake).spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let began = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(fake.spawned()[0].is_alive());
    let mut said = String::new();
    pipe.read_to_string(&mut said).unwrap();
    assert_eq!(said, "x");
    assert!(began.elapsed() > Duration::from_secs(1), "the pipe was held open");
    sandbox.assert_nothing_alive();
}

/// Returns the parent and the session of a process.
fn family(pid: i32) -> (i32, i32) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<i32> =
        stat.rsplit_once(") ").unwrap().1.split(' ').skip(1).take(3).map(|field| field.parse().unwrap()).collect();
    (fields[0], fields[2])
}

#[test]
fn spawned_processes_escape_as_requested() {
    for kind in [
        SpawnKind::Child,
        SpawnKind::Setsid,
        SpawnKind::DoubleFork,
        SpawnKind::ClearsEnvironment,
        SpawnKind::DoubleForkClearsEnvironment,
    ] {
        let sandbox = Sandbox::new();
        let fake = doing(&sandbox, [spawn(kind), text("ready\n"), Act::Stall {}]);
        let mut child = command(&sandbox, &fake).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let leader = i32::try_from(child.id()).unwrap();
        let spawned = fake.spawned();
        assert_eq!(spawned.len(), 1, "{kind:?}");
        assert!(spawned[0].is_alive());
        let (parent, session) = family(spawned[0].pid);
        let daemon = matches!(kind, SpawnKind::DoubleFork | SpawnKind::DoubleForkClearsEnvironment);
        assert_eq!(parent == leader, !daemon, "{kind:?}");
        assert_eq!(session == family(leader).1, kind == SpawnKind::Child, "{kind:?}");
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", spawned[0].pid)).unwrap();
        let clears = matches!(kind, SpawnKind::ClearsEnvironment | SpawnKind::DoubleForkClearsEnvironment);
        assert_eq!(environment.contains(sandbox.marker().1), !clears, "{kind:?}");

        signal(&child, rustix::process::Signal::KILL);
        child.wait().unwrap();
        assert!(spawned[0].is_alive(), "{kind:?} outlives its starter");
        sandbox.suspects().kill_all();
        sandbox.assert_nothing_alive();
    }
}

#[test]
fn fork_bomb_is_bounded_and_replaces_exited_processes() {
    let sandbox = Sandbox::new();
    let output = {
        let fake = doing(&sandbox, [spawn(SpawnKind::ForkStorm), Act::Pause { ms: 500 }]);
        let output = command(&sandbox, &fake).output().unwrap();
        assert!(fake.spawned().len() > 3);
        sandbox.suspects().kill_all();
        assert!(fake.spawned().len() <= 20);
        output
    };
    assert!(output.status.success());
    sandbox.assert_nothing_alive();
}

#[test]
fn fork_bomb_ends_by_itself() {
    let sandbox = Sandbox::new();
    let kind = SpawnKind::ForkStorm;
    run(&sandbox, [Act::Spawn { kind, duration_s: 1, ignore_signals: true, hold_output: false, count: Some(30) }]);
    sandbox.assert_nothing_alive_within(Duration::from_secs(10));
}

#[test]
fn survivors_are_found_and_named() {
    let sandbox = Sandbox::new();
    let fake = doing(&sandbox, [spawn(SpawnKind::DoubleForkClearsEnvironment)]);
    command(&sandbox, &fake).output().unwrap();
    let suspects = sandbox.suspects();
    let panic =
        std::panic::catch_unwind(move || suspects.assert_nothing_alive(Duration::from_millis(100))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains(&fake.spawned()[0].pid.to_string()), "{message}");
    sandbox.assert_nothing_alive();
}

#[test]
fn every_recording_can_be_replayed() {
    for name in Recording::names().unwrap() {
        let recording = Recording::named(&name).unwrap();
        let sandbox = Sandbox::new();
        let fake = script(&sandbox).replay("run", &name).write();
        let output = command(&sandbox, &fake).output().unwrap();
        let end = match recording.about.end {
            End::Code(_) => output.status.code().map(End::Code),
            End::Signal(name) => output.status.signal().map(|_| End::Signal(name)),
        };
        assert_eq!(end, Some(recording.about.end), "{name}");
        let said = stdout(&output);
        assert_eq!(said.lines().count(), recording.stdout.len(), "{name}");
        assert!(!said.contains("{{"), "{name} has an unknown placeholder");
        let cwd = sandbox.workspace().canonicalize().unwrap();
        let had = recording.stdout.iter().any(|line| line.contains("{{cwd}}"));
        assert_eq!(said.contains(cwd.to_str().unwrap()), had, "{name}");
    }
}

#[test]
fn partial_recording_uses_requested_session() {
    let sandbox = Sandbox::new();
    let name = "1.18.33/plain-text";
    let recording = Recording::named(name).unwrap();
    let act = Act::EmitRecording { recording: name.into(), from: 1, to: Some(2), line_pause_ms: 0 };
    let fake = doing(&sandbox, [act]);
    let output = command(&sandbox, &fake).args(["--session", "ses_mine"]).output().unwrap();
    let expected = recording.stdout[1].replace(&recording.session_id().unwrap(), "ses_mine");
    assert_eq!(stdout(&output), expected + "\n");
}
