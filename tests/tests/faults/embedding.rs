//! A program that embeds the library and ends during a turn in every possible way, while a tool is running.

use crate::support::{Case, PLAIN, PLAIN2, Running, Transport, deaf, plain, ready_and_stall, spawn};
use opencode_run_tests::locate;
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::serve_script::{Serving, TurnAct};
use rustix::process::Signal;
use std::process::Stdio;
use std::time::Duration;

/// The maximum time for which processes of a program may outlive it.
const PROMISED: Duration = Duration::from_secs(5);

/// The way in which a program ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Signal(Signal),
    Itself(&'static str),
}

const ENDS: [End; 8] = [
    End::Signal(Signal::INT),
    End::Signal(Signal::TERM),
    End::Signal(Signal::HUP),
    End::Signal(Signal::QUIT),
    End::Signal(Signal::KILL),
    End::Itself("exit"),
    End::Itself("abort"),
    End::Itself("panic"),
];

/// Returns a turn that does these acts and stalls, of an opencode that ignores signals.
fn case(transport: Transport, acts: Vec<Act>) -> Case {
    Case::new(|script, sandbox| {
        let rest = acts.into_iter().chain(ready_and_stall(sandbox));
        match transport {
            Transport::Run => script.on("run", [deaf(), plain(0, 2)].into_iter().chain(rest)),
            Transport::Serve | Transport::Serve2 => {
                let (script, plain, end) = if transport == Transport::Serve {
                    (script, PLAIN, "session.idle")
                } else {
                    (script.opencode2(), PLAIN2, "session.step.ended")
                };
                let said = [TurnAct::from(deaf()), TurnAct::replay(plain).until(end)];
                script.on("serve", [Serving::doing(said.into_iter().chain(rest.map(TurnAct::from))).act()])
            }
        }
    })
}

/// Ends the program during a turn that has done these acts, on both transports, and asserts that no process is left.
#[track_caller]
fn nothing_is_left(line: &str, ends: &[End], acts: &[Act]) {
    for transport in [Transport::Run, Transport::Serve] {
        for end in ends {
            let case = case(transport, acts.to_vec());
            let mut command =
                case.sandbox.command(locate("embedding-program", env!("CARGO_BIN_EXE_embedding-program")));
            command.arg(if transport == Transport::Run { "run" } else { "serve" }).arg(case.fake.executable());
            command.arg(if let End::Itself(how) = end { how } else { "not" }).env("LINE", line);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let running = Running::spawn(&mut command);
            case.wait_until_ready();
            match end {
                End::Signal(signal) => running.signal(*signal),
                End::Itself(_) => std::fs::write(case.sandbox.workspace().join("end"), "").unwrap(),
            }
            let outcome = running.wait();
            eprintln_on_failure(line, transport, *end, &outcome.stderr);
            case.sandbox.assert_nothing_alive_within(PROMISED);
            if let End::Signal(signal) = end {
                assert_eq!(outcome.signal, Some(signal.as_raw()), "the library handles no signal: {outcome:?}");
            }
        }
    }
}

/// Printed only if the test fails.
#[expect(clippy::print_stderr, reason = "shown if the test fails")]
fn eprintln_on_failure(line: &str, transport: Transport, end: End, stderr: &str) {
    eprintln!("supervisor::init {line}, {transport:?}, {end:?}: {stderr}");
}

/// Returns acts that start processes which try to survive, up to a daemon that has cleared its environment.
fn escapes() -> Vec<Act> {
    let kinds = [
        SpawnKind::Child,
        SpawnKind::Setsid,
        SpawnKind::DoubleFork,
        SpawnKind::ClearsEnvironment,
        SpawnKind::DoubleForkClearsEnvironment,
    ];
    kinds.map(spawn).into_iter().chain([Act::HoldStdoutOpen { duration_s: 60 }]).collect()
}

#[test]
fn program_with_supervisor_leaves_nothing() {
    nothing_is_left("first", &ENDS, &escapes());
}

#[test]
fn supervisor_initialized_in_runtime_leaves_nothing() {
    let ends = [End::Signal(Signal::INT), End::Signal(Signal::KILL), End::Itself("exit")];
    nothing_is_left("within", &ends, &escapes());
    nothing_is_left("within", &ends[1..2], &[spawn(SpawnKind::ForkStorm)]);
}

#[test]
fn program_without_supervisor_leaves_no_opencode() {
    nothing_is_left("none", &ENDS, &[spawn(SpawnKind::Child)]);
}
