//! Faults of a server of opencode 2, through the command: the exit code and the kind of failure.

use crate::support::{Case, Outcome, PLAIN_TEXT, PLAIN2, Transport};
use opencode_run_tests::script::{Act, SignalName};
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct};
use serde_json::Value;

/// Asserts the exit code, the state and the kind of failure of a turn. Returns its result.
#[track_caller]
fn assert_end(outcome: &Outcome, (code, state, kind): (i32, &str, Option<&str>)) -> Value {
    outcome.assert_code(code);
    let object = outcome.object();
    assert_eq!((object["state"].as_str(), object["error"]["kind"].as_str()), (Some(state), kind), "{object}");
    object
}

#[track_caller]
fn serve(serving: Serving, end: (i32, &str, Option<&str>)) -> Value {
    assert_end(&Case::serving2(serving).run(&["--output-format", "json", "hello"]), end)
}

#[test]
fn recorded_turns_have_their_outcome() {
    let provider = (1, "error", Some("provider"));
    let completed = (0, "completed", None);
    for (recording, end) in [
        ("plain-text", completed),
        ("error-429-recovered", completed),
        ("stream-cut-once", completed),
        ("failed-tool", completed),
        ("refused", completed),
        ("subagent-refused", completed),
        ("question-answered", completed),
        ("background", completed),
        ("error-400", provider),
        ("error-401", provider),
        ("error-after-tool", provider),
        ("unknown-model", (1, "error", Some("model_not_found"))),
        ("unknown-agent", (2, "error", Some("usage"))),
    ] {
        serve(Serving::replaying(&format!("v2/{recording}")), end);
    }
}

#[test]
fn crashed_server_is_reported_with_its_text() {
    let end = [Act::Pause { ms: 200 }, Act::KillSelf { signal: SignalName::Segv }].map(TurnAct::from);
    let acts = [TurnAct::replay(PLAIN2).until("session.step.ended")].into_iter().chain(end);
    let object = serve(Serving::doing(acts), (1, "error", Some("server_lost")));
    assert_eq!(object["output"], PLAIN_TEXT);
}

#[test]
fn silent_server_ends_by_time_limit() {
    let case = Case::new(|script, _| script.opencode2().on("serve", [Act::Stall {}])).on(Transport::Serve2);
    let outcome = case.run(&["--output-format", "json", "--timeout", "2s", "hello"]);
    assert_end(&outcome, (124, "error", Some("timeout")));
}

#[test]
fn web_page_is_no_server() {
    let fault = |route: &str| Serving::replaying(PLAIN2).fault(RouteFault::new(route, Fault::page()));
    serve(fault("POST /api/session"), (4, "error", Some("opencode")));
    serve(fault("POST /api/session/*/prompt"), (1, "error", Some("protocol")));
}

#[test]
fn run_of_opencode_2_is_refused() {
    let case = Case::serving2(Serving::replaying(PLAIN2)).on(Transport::Run);
    let outcome = case.run(&["--output-format", "json", "hello"]);
    let object = assert_end(&outcome, (4, "error", Some("opencode")));
    assert!(object["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{object}");
    assert!(case.fake.log_of("run").is_empty());
}
