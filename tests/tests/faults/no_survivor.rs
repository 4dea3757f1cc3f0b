//! Every way in which a run can end × every way in which a process can escape × both transports, and the server of
//! opencode 2: three seconds later no process of the run is alive, nor is the command. Output up to then is kept, and the exit code is right.

use crate::support::{
    Case, Outcome, PLAIN, PLAIN_TEXT, PLAIN2, Running, Transport, deaf, plain, ready_and_stall, spawn,
};
use opencode_run_tests::script::{Act, SignalName, SpawnKind};
use opencode_run_tests::serve_script::{Serving, TurnAct};
use rustix::process::{Pid, Signal, kill_process};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The promised time until all processes are gone.
const PROMISED: Duration = Duration::from_secs(3);

/// Returns ways to survive: processes that opencode leaves behind. They ignore all signals but SIGKILL.
fn escapes() -> [(&'static str, Vec<Act>); 4] {
    let single = [
        SpawnKind::Child,
        SpawnKind::Setsid,
        SpawnKind::DoubleFork,
        SpawnKind::ClearsEnvironment,
        SpawnKind::DoubleForkClearsEnvironment,
    ];
    let single = single.into_iter().map(spawn).chain([Act::HoldStdoutOpen { duration_s: 60 }]);
    [
        ("each single process", single.collect()),
        ("a fork storm", vec![spawn(SpawnKind::ForkStorm)]),
        ("a deaf opencode with a child", vec![deaf(), spawn(SpawnKind::Setsid)]),
        (
            "a stopped supervisor",
            vec![spawn(SpawnKind::DoubleForkClearsEnvironment), signal_supervisor(SignalName::Stop)],
        ),
    ]
}

fn signal_supervisor(signal: SignalName) -> Act {
    Act::SignalParent { signal }
}

/// A way in which a run ends.
struct Fault<'a> {
    arguments: &'a [&'a str],
    /// The last acts of opencode; it stalls by default.
    last: Option<Vec<Act>>,
    /// The action on the command once opencode stalls, or has begun to end.
    happens: &'a (dyn Fn(&mut Running) + Sync),
    /// The time until the action has an effect.
    takes: Duration,
    on_terminal: bool,
}

impl<'a> Fault<'a> {
    /// Returns an ending by an action on the command.
    fn of(happens: &'a (dyn Fn(&mut Running) + Sync)) -> Self {
        Self { arguments: &[], last: None, happens, takes: Duration::ZERO, on_terminal: false }
    }

    /// Returns an ending by a time limit.
    fn limit(arguments: &'a [&'a str], limit: Duration) -> Self {
        Self { arguments, takes: limit, ..Self::of(&|_| {}) }
    }

    /// Returns an ending of opencode by itself.
    fn end(last: Vec<Act>) -> Self {
        Self { last: Some(last), ..Self::of(&|_| {}) }
    }

    /// Plays this end with every escape on both transports.
    #[track_caller]
    fn play(&self, check: impl Fn(Transport, &Outcome) + Sync) {
        // In parallel, since the cases mostly wait.
        std::thread::scope(|scope| {
            for transport in [Transport::Run, Transport::Serve, Transport::Serve2] {
                let check = &check;
                // How processes are found does not depend on the generation.
                let count = if transport == Transport::Serve2 { 1 } else { usize::MAX };
                scope.spawn(move || {
                    for (name, escape) in escapes().into_iter().take(count) {
                        self.play_one(transport, name, escape, check);
                    }
                });
            }
        });
    }

    #[track_caller]
    fn play_one(
        &self,
        transport: Transport,
        name: &str,
        escape: Vec<Act>,
        check: &(impl Fn(Transport, &Outcome) + Sync),
    ) {
        let case = self.case(transport, escape);
        let mut running = self.start(&case);
        case.wait_until_ready();
        let began = Instant::now();
        (self.happens)(&mut running);
        let limit = PROMISED + self.takes;
        case.sandbox.assert_nothing_alive_within(limit.saturating_sub(began.elapsed()));
        let outcome = running.wait();
        assert!(!outcome.stderr.contains("panicked"), "{transport:?}, {name}: {outcome:?}");
        // While its directories exist.
        check(transport, &outcome);
    }

    fn case(&self, transport: Transport, escape: Vec<Act>) -> Case {
        let ends = self.last.clone();
        match transport {
            Transport::Run => Case::new(|script, sandbox| {
                let [ready, stall] = ready_and_stall(sandbox);
                let last = ends.map_or(vec![stall], |last| [vec![plain(2, 3)], last].concat());
                script.on("run", [plain(0, 2)].into_iter().chain(escape).chain([ready]).chain(last))
            }),
            Transport::Serve | Transport::Serve2 => Case::new(|script, sandbox| {
                let [ready, stall] = ready_and_stall(sandbox);
                let (plain, end, script) = if transport == Transport::Serve {
                    (PLAIN, "session.idle", script)
                } else {
                    (PLAIN2, "session.step.ended", script.opencode2())
                };
                let said = || [TurnAct::replay(plain).until(end)];
                let acts = |acts: Vec<Act>| acts.into_iter().map(TurnAct::from);
                let escape = acts(escape).chain(acts(vec![ready]));
                let turn: Vec<_> = match ends {
                    None => said().into_iter().chain(escape).chain(acts(vec![stall])).collect(),
                    Some(last) if last.is_empty() => escape.chain([TurnAct::replay(plain)]).collect(),
                    // Streamed text appears only in the stream, before the end of the process.
                    Some(last) => said()
                        .into_iter()
                        .chain(escape)
                        .chain(acts([vec![Act::Pause { ms: 200 }], last].concat()))
                        .collect(),
                };
                script.on("serve", [Serving::doing(turn).act()])
            })
            .on(transport),
        }
    }

    fn start(&self, case: &Case) -> Running {
        let arguments = [&["--output-format", "json"], self.arguments, &["hello"]].concat();
        let mut command = case.command(&arguments);
        if self.on_terminal { Running::spawn_on_terminal(&command) } else { Running::spawn(&mut command) }
    }
}

fn assert_ended(outcome: &Outcome, code: i32, state: &str) {
    outcome.assert_code(code);
    let object = outcome.object();
    assert_eq!((object["state"].as_str(), object["output"].as_str()), (Some(state), Some(PLAIN_TEXT)), "{object}");
    assert!(std::path::Path::new(object["task_dir"].as_str().unwrap()).is_dir(), "what was begun stays");
}

#[test]
fn sigint() {
    let fault = Fault::of(&|running| running.signal(Signal::INT));
    fault.play(|_, outcome| assert_ended(outcome, 130, "interrupted"));
}

#[test]
fn sigint_twice() {
    let fault = Fault::of(&|running| {
        running.signal(Signal::INT);
        sleep(Duration::from_millis(100));
        // The command may have ended already after the first signal.
        kill_process(Pid::from_child(&running.child), Signal::INT).ok();
    });
    fault.play(|_, outcome| assert_ended(outcome, 130, "interrupted"));
}

#[test]
fn sigterm() {
    let fault = Fault::of(&|running| running.signal(Signal::TERM));
    fault.play(|_, outcome| assert_ended(outcome, 143, "interrupted"));
}

#[test]
fn sighup() {
    let fault = Fault::of(&|running| running.signal(Signal::HUP));
    fault.play(|_, outcome| assert_ended(outcome, 129, "interrupted"));
}

#[test]
fn sigkill() {
    let fault = Fault::of(&|running| running.signal(Signal::KILL));
    fault.play(|_, outcome| {
        assert_eq!((outcome.code, outcome.signal), (None, Some(Signal::KILL.as_raw())), "{outcome:?}");
    });
}

#[test]
fn closed_terminal() {
    let fault = Fault { on_terminal: true, ..Fault::of(&Running::close_terminal) };
    fault.play(|_, outcome| outcome.assert_code(129));
}

#[test]
fn turn_limit() {
    let fault = Fault::limit(&["--timeout", "3s"], Duration::from_secs(3));
    fault.play(|_, outcome| assert_ended(outcome, 124, "error"));
}

#[test]
fn idle_limit() {
    let fault = Fault::limit(&["--idle-timeout", "2s"], Duration::from_secs(2));
    fault.play(|_, outcome| assert_ended(outcome, 124, "error"));
}

#[test]
fn end_of_turn() {
    Fault::end(Vec::new()).play(|_, outcome| assert_ended(outcome, 0, "completed"));
}

#[test]
fn crash_of_opencode() {
    Fault::end(vec![Act::KillSelf { signal: SignalName::Segv }]).play(|transport, outcome| {
        assert_ended(outcome, 1, "error");
        let kind = match transport {
            Transport::Run => "crashed",
            Transport::Serve | Transport::Serve2 => "server_lost",
        };
        assert_eq!(outcome.object()["error"]["kind"], kind, "{outcome:?}");
    });
}

fn assert_supervisor_was_killed(transport: Transport, outcome: &Outcome) {
    assert_ended(outcome, 1, "error");
    let kind = match transport {
        Transport::Run => "crashed",
        Transport::Serve | Transport::Serve2 => "server_lost",
    };
    assert_eq!(outcome.object()["error"]["kind"], kind, "{outcome:?}");
}

#[test]
fn killed_supervisor() {
    let kill = vec![signal_supervisor(SignalName::Kill), Act::Stall {}];
    Fault::end(kill).play(assert_supervisor_was_killed);
}

#[test]
fn supervisor_killed_before_escape() {
    let kinds = [SpawnKind::DoubleForkClearsEnvironment, SpawnKind::ForkStorm, SpawnKind::DoubleForkClearsEnvironment];
    let kill = [signal_supervisor(SignalName::Kill)].into_iter().chain(kinds.map(spawn)).chain([Act::Stall {}]);
    Fault::end(kill.collect()).play(assert_supervisor_was_killed);
}

#[test]
fn supervisor_killed_before_command() {
    let kill = vec![signal_supervisor(SignalName::Kill), Act::Stall {}];
    let happens = |running: &mut Running| {
        // The command notices the supervisor's end within milliseconds.
        sleep(Duration::from_secs(1));
        kill_process(Pid::from_child(&running.child), Signal::KILL).ok();
    };
    Fault { happens: &happens, ..Fault::end(kill) }.play(|_, _| {});
}
