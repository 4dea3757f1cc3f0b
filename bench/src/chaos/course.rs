//! The behaviour of the fake opencode, and the expected result.

use fastrand::Rng;
use opencode_run_tests::script::{Act, SignalName, SpawnKind, Stream};
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};

/// The recording used by most courses, and its text.
pub(crate) const PLAIN: &str = "1.18.33/plain-text";
pub(crate) const PLAIN_TEXT: &str = "Hello from the model.";

/// The result of a course that nothing else ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The turn completes with this answer.
    Completed(String),
    /// The turn fails with one of these kinds.
    Failed(&'static [&'static str]),
    /// The turn does not start, because opencode is broken.
    NotBegun,
    /// The turn does not end.
    Nothing,
}

/// The behaviour of opencode in a turn.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) name: &'static str,
    pub(crate) expected: Expected,
    /// The acts of `run`, or the single one of `serve`.
    pub(crate) acts: Vec<Act>,
}

/// Draws a way in which opencode leaves processes behind or resists its end, with its name.
pub(crate) fn escape(rng: &mut Rng) -> (&'static str, Vec<Act>) {
    let ignores_signals = Act::IgnoreSignals { signals: vec![SignalName::Int, SignalName::Term, SignalName::Hup] };
    let hold = Act::HoldStdoutOpen { duration_s: 60 };
    match rng.u8(..10) {
        0 => ("nothing", vec![]),
        1 => ("a child", vec![spawn(rng, SpawnKind::Child)]),
        2 => ("a session of its own", vec![spawn(rng, SpawnKind::Setsid)]),
        3 => ("a double fork", vec![spawn(rng, SpawnKind::DoubleFork)]),
        4 => ("a cleared environment", vec![spawn(rng, SpawnKind::ClearsEnvironment)]),
        5 => ("a double fork with a cleared environment", vec![spawn(rng, SpawnKind::DoubleForkClearsEnvironment)]),
        6 => ("a fork bomb", vec![spawn(rng, SpawnKind::ForkStorm)]),
        7 => ("an open stdout", vec![hold]),
        8 => ("a deaf opencode with a child", vec![ignores_signals, spawn(rng, SpawnKind::Setsid)]),
        _ => {
            let all = [SpawnKind::Setsid, SpawnKind::DoubleFork, SpawnKind::DoubleForkClearsEnvironment];
            ("several", all.map(|kind| spawn(rng, kind)).into_iter().chain([ignores_signals, hold]).collect())
        }
    }
}

fn spawn(rng: &mut Rng, kind: SpawnKind) -> Act {
    Act::Spawn { kind, duration_s: 60, ignore_signals: rng.bool(), hold_output: rng.bool(), count: Some(60) }
}

/// Draws output of opencode that has no effect.
fn noise(rng: &mut Rng) -> Vec<Act> {
    let flood = |stream, bytes, one_line| Act::Flood { stream, bytes, line_length: None, one_line };
    match rng.u8(..8) {
        0 => vec![flood(Stream::Stdout, rng.u64(1..2_000_000), false)],
        1 => vec![flood(Stream::Stderr, rng.u64(1..5_000_000), false)],
        2 => vec![flood(Stream::Stdout, rng.u64(1..40_000_000), true)],
        3 => vec![flood(Stream::Stderr, rng.u64(1..5_000_000), true)],
        4 => vec![Act::StdoutBytes { hex: "ff fe 00 c3 28 0a".to_owned() }],
        5 => vec![Act::Stdout { text: "{\"type\":\"new.kind\",\"x\":1}\nnot json\n\n".to_owned() }],
        6 => vec![Act::Pause { ms: rng.u64(..400) }],
        _ => vec![],
    }
}

/// Draws a way to die.
pub(crate) fn crash(rng: &mut Rng) -> Act {
    let signals = [SignalName::Segv, SignalName::Abrt, SignalName::Kill, SignalName::Term];
    let picked = signals[rng.usize(..signals.len())];
    if rng.bool() { Act::KillSelf { signal: picked } } else { Act::Exit { code: rng.i32(2..100) } }
}

fn lines(recording: &str, from: usize, to: usize) -> Act {
    Act::EmitRecording { recording: recording.to_owned(), from, to: Some(to), line_pause_ms: 0 }
}

fn completed() -> Expected {
    Expected::Completed(PLAIN_TEXT.to_owned())
}

/// Draws a course of `opencode run`. `ready` signals that there is something to end.
pub(crate) fn of_run(rng: &mut Rng, ready: Act, escape: Vec<Act>) -> Course {
    let said = || vec![lines(PLAIN, 0, 2)];
    let replay = |recording: &str| Act::Replay { recording: recording.to_owned() };
    let end = || lines(PLAIN, 2, 3);
    let failed = Expected::Failed;
    let (name, expected, before, last) = match rng.u8(..18) {
        0 | 1 => ("a whole turn", completed(), said(), vec![end()]),
        2 => {
            let tools = lines("1.18.33/tool-then-text", 0, 4);
            let answer = format!("I make a file.\n\n{PLAIN_TEXT}");
            ("a whole turn with a tool", Expected::Completed(answer), vec![tools, lines(PLAIN, 0, 2)], vec![end()])
        }
        3 => ("a whole turn, then a closed stdout", completed(), said(), vec![end(), Act::CloseStdout {}]),
        4 => {
            let half = Act::Stdout { text: "{\"type\":\"step_finish\",\"part\":{\"reason\":\"sto".to_owned() };
            ("a truncated stream", failed(&["protocol"]), said(), vec![half])
        }
        5 => ("exit 0 in the middle", failed(&["protocol"]), said(), vec![]),
        6 => ("exit 0 without output", failed(&["protocol"]), vec![], vec![]),
        7 => ("a provider error", failed(&["provider"]), vec![], vec![replay("1.18.33/error-401")]),
        8 => ("a web page from the provider", failed(&["provider"]), vec![], vec![replay("1.18.33/error-html")]),
        9 => ("a refused permission", failed(&["permission"]), vec![], vec![replay("1.18.33/refused")]),
        10 | 11 => ("a crash", failed(&["crashed"]), said(), vec![crash(rng)]),
        12 | 13 => {
            ("a stall with a closed stdout", Expected::Nothing, said(), vec![Act::CloseStdout {}, Act::Stall {}])
        }
        _ => ("a stall", Expected::Nothing, said(), vec![Act::Stall {}]),
    };
    let acts = [before, noise(rng), escape, vec![ready], noise(rng), last].concat();
    Course { name, expected, acts }
}

/// Draws a course of `opencode serve`. `ready` signals that there is something to end.
pub(crate) fn of_serve(rng: &mut Rng, ready: Act, escape: Vec<Act>) -> Course {
    let plain = || vec![TurnAct::replay(PLAIN)];
    let said = || vec![TurnAct::replay(PLAIN).until("session.idle"), Act::Pause { ms: 200 }.into()];
    let stall = || TurnAct::from(Act::Stall {});
    let answer = |status, content_type: &str, body: &str| TurnAct::Answer {
        status,
        content_type: content_type.to_owned(),
        body: body.to_owned(),
    };
    let json = "application/json";
    let failed = Expected::Failed;
    let mut serving = Serving::default();
    let (name, expected, before, last) = match rng.u8(..22) {
        0 => ("a whole turn", completed(), vec![], plain()),
        1 => {
            let count = rng.u64(1..3000);
            let at_once = rng.usize(1..50);
            let pause_ms = rng.u64(..5);
            let speak = TurnAct::Speak { delta: "word ".to_owned(), count, at_once, pause_ms };
            let answer = "word ".repeat(usize::try_from(count).unwrap_or_default());
            ("a whole turn in pieces", Expected::Completed(answer), vec![], vec![speak])
        }
        2 => ("a whole turn with late events", completed(), vec![], vec![TurnAct::replay(PLAIN).late(rng.u64(..800))]),
        3 => {
            let unheard = TurnAct::replay(PLAIN).unheard();
            ("a whole turn with closed streams", completed(), vec![], vec![TurnAct::CutStreams {}, unheard])
        }
        4 => {
            serving.close_stream_after_events = Some(rng.u64(1..6));
            ("a whole turn with streams that disconnect", completed(), vec![], plain())
        }
        5 => {
            serving = serving.fault(RouteFault::new("GET /global/event", Fault::internal()).times(rng.usize(1..4)));
            ("a whole turn with a stream that fails first", completed(), vec![], plain())
        }
        6 => {
            ("500 for an answer", failed(&["opencode"]), vec![], vec![answer(500, json, "{\"name\":\"UnknownError\"}")])
        }
        7 => ("a web page for an answer", failed(&["protocol"]), vec![], vec![answer(200, "text/html", "<html>")]),
        8 => ("half an answer", failed(&["protocol"]), vec![], vec![answer(200, json, "{\"info\": [")]),
        9 => ("a cut connection", failed(&["server_lost"]), vec![], vec![TurnAct::HangUp {}]),
        10 => ("a provider error", failed(&["provider"]), vec![], vec![TurnAct::replay("1.18.33/error-401")]),
        11 => {
            // The model gets the reason and continues.
            let answer = Expected::Completed("All done.".to_owned());
            ("a refused permission", answer, vec![], vec![TurnAct::replay("1.18.33/refused")])
        }
        12 => {
            serving = serving.fault(RouteFault::new("POST /session", Fault::page()));
            ("a web page for a session", Expected::NotBegun, vec![], vec![])
        }
        13 => {
            serving = serving.fault(RouteFault::new("POST /session", Fault::internal()));
            ("500 for a session", Expected::NotBegun, vec![], vec![])
        }
        14 | 15 => ("a crash", failed(&["server_lost"]), said(), vec![crash(rng).into()]),
        16 | 17 => ("a stall with closed streams", Expected::Nothing, said(), vec![TurnAct::CutStreams {}, stall()]),
        _ => ("a stall", Expected::Nothing, said(), vec![stall()]),
    };
    let aside = escape.into_iter().chain([ready]).map(TurnAct::from);
    let acts = before.into_iter().chain(aside).chain(last);
    Course { name, expected, acts: vec![serving.turn(TurnRule::every(acts)).act()] }
}
