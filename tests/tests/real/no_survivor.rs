//! A tool whose processes try everything to survive, and every kind of end, on both transports: three seconds later no
//! process of the run is alive, nor is the command.

use crate::sessions::mcp_server;
use crate::stage::{Running, Stage, bash, until};
use opencode_run_scripted_model::{Part, Script, When};
use rustix::process::Signal;
use serde_json::json;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The promised time until all processes are gone.
const PROMISED: Duration = Duration::from_secs(3);

/// Returns a shell command that starts a process for each way to escape, and a fork bomb. All sleep for this time, and
/// ignore all signals but SIGKILL.
fn escapes(sleep: &str) -> String {
    let stay = format!("exec sleep {sleep} >/dev/null 2>&1");
    let ways = [
        format!("sh -c '{stay}' &"),
        format!("setsid sh -c '{stay}' &"),
        format!("(setsid sh -c '{stay}' &)"),
        format!("env -i setsid sh -c '{stay}' &"),
        format!("(env -i setsid sh -c '{stay}' &)"),
        format!("n=0; while [ $n -lt 200 ]; do n=$((n+1)); (env -i setsid sh -c '{stay}' &); done >/dev/null 2>&1 &"),
    ];
    format!("trap '' INT TERM HUP\n{}\nsleep 0.3; touch ready;", ways.join("\n"))
}

/// Plays a turn whose tool starts all of these and continues with `then`, on both transports, calls `happen`, and
/// asserts the exit code and that no process survives.
#[track_caller]
fn nobody_survives(then: &str, more: &[&str], happen: impl Fn(&Running), code: i32, takes: Duration) {
    for transport in ["run", "serve"] {
        nobody_survives_on(transport, then, more, &happen, code, takes);
    }
}

/// Does the same on one transport.
#[track_caller]
fn nobody_survives_on(
    transport: &str,
    then: &str,
    more: &[&str],
    happen: impl Fn(&Running),
    code: i32,
    takes: Duration,
) {
    // A unique time, which identifies the processes of this test.
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let sleep = format!("120.{}{nanos:09}", std::process::id());
    let tool = bash(&format!("{} {then}", escapes(&sleep)));
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(vec![Part::text("I start."), tool]))
        .rule(When::agent().after_tools(1).reply("It is done."));
    let stage = Stage::new(script);
    let arguments = ["-m", "stub/gpt-4", "--transport", transport].into_iter().chain(more.iter().copied());
    let running = Running::start(stage.command(arguments.chain(["start"])));
    until("the tool", || stage.task_dirs().iter().any(|directory| directory.join("ready").exists()));
    let began = Instant::now();
    happen(&running);
    while sleepers(&sleep) > 0 || !stage.sandbox.suspects().alive().is_empty() {
        let alive = stage.sandbox.suspects().alive();
        assert!(began.elapsed() < PROMISED + takes, "{transport}: {} sleepers, and {alive:?}", sleepers(&sleep));
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = running.end();
    assert_eq!(done.code, code, "{transport}: {done:?}");
    stage.end();
}

/// Returns the number of processes that sleep for this time.
fn sleepers(sleep: &str) -> usize {
    let wanted = format!("sleep\0{sleep}\0");
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .count()
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn interrupt_ends_all() {
    nobody_survives("sleep 120", &[], |running| running.signal(Signal::INT), 130, Duration::ZERO);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn sigkill() {
    nobody_survives("sleep 120", &[], |running| running.signal(Signal::KILL), -1, Duration::ZERO);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn time_limit_ends_all() {
    let limit = Duration::from_secs(25);
    // Each waits most of the time.
    std::thread::scope(|scope| {
        for transport in ["run", "serve"] {
            scope.spawn(move || nobody_survives_on(transport, "sleep 120", &["--timeout", "25s"], |_| {}, 124, limit));
        }
    });
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn crash_of_opencode() {
    // The parent of a tool's shell is opencode.
    nobody_survives("kill -KILL $PPID; sleep 120", &[], |_| {}, 1, Duration::ZERO);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn end_of_turn() {
    let more_of_the_turn = Duration::from_secs(10);
    nobody_survives("true", &[], |_| {}, 0, more_of_the_turn);
}

/// Returns a shell command that sends a signal to its supervisor: the parent of opencode, which is the parent of the
/// shell.
fn signal_supervisor(signal: &str) -> String {
    format!("read -r _ _ _ supervisor _ </proc/$PPID/stat; kill -{signal} $supervisor;")
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn killed_supervisor() {
    nobody_survives(&format!("{} sleep 120", signal_supervisor("KILL")), &[], |_| {}, 1, Duration::ZERO);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn stopped_supervisor_and_an_interrupt() {
    let stop = format!("{} touch stopped; sleep 120", signal_supervisor("STOP"));
    nobody_survives(&stop, &[], |running| running.signal(Signal::INT), 130, Duration::ZERO);
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn escaped_process_is_killed_and_mcp_server_kept() {
    let sleep = format!("121.{}", std::process::id());
    let leave = format!("exec sleep {sleep} >/dev/null 2>&1");
    let leave = [
        format!("(cd /; setsid sh -c '{leave}' &)"),
        format!("(cd /; env -i setsid sh -c '{leave}' &)"),
        format!("(cd /; setsid sh -c '(setsid sh -c \"{leave}\" &) ; {leave}' &)"),
        format!("cd /; sh -c '{leave}' & sleep 0.5"),
    ];
    let script = Script::new()
        .rule(When::agent().turn(1).after_tools(0).reply(bash(&leave.join("\n"))))
        .rule(When::agent().turn(2).after_tools(0).reply(bash("touch second; until [ -e go ]; do sleep 0.05; done")))
        .rule(When::agent().reply("Turn {turn}."));
    let mut stage = Stage::new(script);
    let tools = mcp_server(&stage);
    stage.configure(&json!({"mcp": {"ruler": {"type": "local", "command": ["sh", &tools]}}}));
    let mut command = stage.command(["chat", "-m", "stub/gpt-4", "--permission", "allow"]);
    command.stdin(Stdio::piped());
    let mut chat = Running::start(command);
    chat.say("first\nsecond\n");
    let second = || stage.task_dirs().into_iter().find(|directory| directory.join("second").exists());
    until("the second turn", || second().is_some());
    let left = sleepers(&sleep);
    std::fs::write(second().unwrap().join("go"), "").unwrap();
    assert_eq!(chat.end().with_code(0).stdout, "Turn 1.\nTurn 2.\n");
    assert_eq!(left, 0);
    let starts = std::fs::read_to_string(tools.with_extension("sh.pids")).unwrap();
    assert_eq!(starts.lines().count(), 1, "the MCP server was started once");
    stage.end();
}
