//! The behaviour of the fake opencode 2, and the expected result.

use crate::course::{Course, Expected, PLAIN_TEXT, crash};
use fastrand::Rng;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};

/// The recording used by most courses.
const PLAIN: &str = "v2/plain-text";
const PROMPT: &str = "POST /api/session/*/prompt";

/// Draws a course of a server. `ready` signals that there is something to end.
pub(crate) fn of_serve(rng: &mut Rng, ready: Act, escape: Vec<Act>) -> Course {
    let replay = |name: &str| vec![TurnAct::replay(&format!("v2/{name}"))];
    let plain = || replay("plain-text");
    let said = || vec![TurnAct::replay(PLAIN).until("session.step.ended"), Act::Pause { ms: 200 }.into()];
    let stall = || TurnAct::from(Act::Stall {});
    let completed = |answer: &str| Expected::Completed(answer.to_owned());
    let failed = Expected::Failed;
    let mut serving = Serving::default();
    let mut fault = |route: &str, fault: Fault| serving.faults.push(RouteFault::new(route, fault));
    let mut closed_after = None;
    let (name, expected, before, last) = match rng.u8(..26) {
        0 => ("a whole turn", completed(PLAIN_TEXT), vec![], plain()),
        1 => {
            let count = rng.u64(1..1000);
            let pause_ms = rng.u64(..5);
            let speak = TurnAct::Speak { delta: "word ".to_owned(), count, at_once: 1, pause_ms };
            let answer = "word ".repeat(usize::try_from(count).unwrap_or_default());
            ("a whole turn in pieces", Expected::Completed(answer), vec![], vec![speak])
        }
        2 => {
            let late = vec![TurnAct::replay(PLAIN).late(rng.u64(..800))];
            ("a whole turn with a late end", completed(PLAIN_TEXT), vec![], late)
        }
        3 => {
            let unheard = vec![TurnAct::CutStreams {}, TurnAct::replay(PLAIN).unheard()];
            ("a whole turn with closed streams", completed(PLAIN_TEXT), vec![], unheard)
        }
        4 | 5 => {
            closed_after = Some(rng.u64(1..30));
            ("a whole turn with streams that disconnect", completed(PLAIN_TEXT), vec![], plain())
        }
        6 => {
            closed_after = Some(rng.u64(1..60));
            ("a sub-agent with streams that disconnect", completed("All done."), vec![], replay("subagent-refused"))
        }
        7 => {
            let foreign = ["error-400", "tool-then-text"].map(|name| TurnAct::replay(&format!("v2/{name}")).foreign());
            ("events of other sessions", completed(PLAIN_TEXT), foreign.into(), plain())
        }
        8 => ("a retried step", completed("Recovered."), vec![], replay("error-429-recovered")),
        9 => ("a refused permission", completed("All done."), vec![], replay("refused")),
        10 => ("a question", completed("All done."), vec![], replay("question-answered")),
        11 => ("a background command", completed("Started it."), vec![], replay("background")),
        12 => ("a provider error", failed(&["provider"]), vec![], replay("error-401")),
        13 => ("an error after a tool", failed(&["provider"]), vec![], replay("error-after-tool")),
        14 => {
            fault(PROMPT, Fault::internal());
            ("500 for a prompt", failed(&["opencode"]), vec![], vec![])
        }
        15 => {
            fault(PROMPT, Fault::page());
            ("a web page for a prompt", failed(&["protocol"]), vec![], vec![])
        }
        16 => {
            fault(PROMPT, Fault::HangUp {});
            ("a cut connection", failed(&["server_lost"]), vec![], vec![])
        }
        17 => {
            fault("POST /api/session", Fault::page());
            ("a web page for a session", Expected::NotBegun, vec![], vec![])
        }
        18 => {
            fault("POST /api/session", Fault::internal());
            ("500 for a session", Expected::NotBegun, vec![], vec![])
        }
        19 | 20 => ("a crash", failed(&["server_lost"]), said(), vec![crash(rng).into()]),
        21 => ("a stall with closed streams", Expected::Nothing, said(), vec![TurnAct::CutStreams {}, stall()]),
        22 => ("a prompt that is never taken up", Expected::Nothing, vec![], vec![stall()]),
        23 => {
            fault("POST /api/session/*/interrupt", Fault::Nothing {});
            ("a stall that cannot be interrupted", Expected::Nothing, said(), vec![stall()])
        }
        _ => ("a stall", Expected::Nothing, said(), vec![stall()]),
    };
    serving.close_stream_after_events = closed_after;
    let aside = escape.into_iter().chain([ready]).map(TurnAct::from);
    let acts = before.into_iter().chain(aside).chain(last);
    Course { name, expected, acts: vec![serving.turn(TurnRule::every(acts)).act()] }
}
