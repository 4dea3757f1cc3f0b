//! No false success and no false failure: the rows of `docs/outcomes.md` that no other suite tests through the command,
//! and a check that each row has a test.

use crate::support::{Case, HANG, Outcome, PLAIN, PLAIN_TEXT, Transport, plain, ready_and_stall, stdout};
use opencode_run_tests::recording::Recording;
use opencode_run_tests::script::{Act, SignalName};
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The expected end of a turn: exit code, state, kind of failure.
type End = (i32, &'static str, Option<&'static str>);

const COMPLETED: End = (0, "completed", None);

#[track_caller]
fn assert_end(outcome: &Outcome, (code, state, kind): End) -> Value {
    outcome.assert_code(code);
    let object = outcome.object();
    let said = (object["state"].as_str(), object["error"]["kind"].as_str());
    assert_eq!(said, (Some(state), kind), "{object}");
    object
}

/// Plays these acts on `run`.
#[track_caller]
fn run(acts: impl IntoIterator<Item = Act>, end: End) -> Value {
    assert_end(&Case::doing(acts).run(&["--output-format", "json", "hello"]), end)
}

/// Plays a turn on this server.
#[track_caller]
fn serve(serving: Serving, end: End) -> Value {
    let case = Case::new(|script, _| script.on("serve", [serving.act()])).on(Transport::Serve);
    assert_end(&case.run(&["--output-format", "json", "hello"]), end)
}

fn recorded(name: &str) -> String {
    format!("1.18.33/{name}")
}

/// Returns the stdout of a recording, without its exit.
fn lines_of(name: &str) -> Act {
    Act::EmitRecording { recording: recorded(name), from: 0, to: None, line_pause_ms: 0 }
}

fn answer(status: u16, content_type: &str, body: &str) -> TurnAct {
    TurnAct::Answer { status, content_type: content_type.to_owned(), body: body.to_owned() }
}

#[test]
fn exit_0_after_error_is_not_success() {
    let failed = (1, "error", Some("provider"));
    run([lines_of("error-401"), Act::Exit { code: 0 }], failed);
    let object = run([plain(0, 2), lines_of("error-401"), Act::Exit { code: 0 }], failed);
    assert_eq!(object["output"], PLAIN_TEXT, "what was said is kept");
}

#[test]
fn error_after_answer_is_not_success() {
    run([plain(0, 3), lines_of("error-401"), Act::Exit { code: 0 }], (1, "error", Some("provider")));
}

#[test]
fn exit_1_after_answer_is_not_success() {
    run([plain(0, 3), Act::Exit { code: 1 }], (1, "error", Some("crashed")));
}

#[test]
fn silent_exit_of_1_15_13_fails() {
    for recording in ["1.15.13/plain-text", "1.15.13/error-400"] {
        let replay = Act::Replay { recording: recording.to_owned() };
        let object = run([replay], (1, "error", Some("protocol")));
        assert!(object["error"]["message"].as_str().unwrap().contains("without a single finished step"), "{object}");
    }
}

#[test]
fn exit_1_after_recovery_is_not_failure() {
    let recording = Recording::named(&recorded("error-context-recovered")).unwrap();
    assert_eq!(recording.about.end, opencode_run_tests::recording::End::Code(1));
    assert_ne!(run([Act::Replay { recording: recorded("error-context-recovered") }], COMPLETED)["output"], "");
}

#[test]
fn recovered_server_error_is_not_failure() {
    let recovered =
        ["error-429-recovered", "error-context-recovered", "stream-cut-once", "failed-tool", "denied-by-rule"];
    for name in recovered {
        let object = serve(Serving::replaying(&recorded(name)), COMPLETED);
        assert_ne!(object["output"], "", "{name}: {object}");
    }
}

#[test]
fn status_200_with_error_is_not_success() {
    for (name, kind) in [
        ("error-400", "provider"),
        ("error-401", "provider"),
        ("error-404", "provider"),
        ("error-429", "provider"),
        ("error-after-tool", "provider"),
        ("connection-refused", "provider"),
        ("stream-cut", "provider"),
        ("stream-error", "provider"),
        ("unknown-model", "model_not_found"),
        ("refused-without-reason", "permission"),
        ("question-ends", "permission"),
    ] {
        let object = serve(Serving::replaying(&recorded(name)), (1, "error", Some(kind)));
        assert_ne!(object["error"]["message"], "", "{name}");
    }
}

#[test]
fn explained_refusal_is_not_failure() {
    let object = serve(Serving::replaying(&recorded("refused")), COMPLETED);
    assert_eq!(object["output"], "All done.");
}

#[test]
fn transcript_shows_the_structured_answer() {
    let serving = Serving::replaying(&recorded("structured"));
    let case = Case::new(|script, _| script.on("serve", [serving.act()])).on(Transport::Serve);
    std::fs::write(case.sandbox.workspace().join("city.json"), r#"{"type":"object"}"#).unwrap();
    let outcome = case.run(&["--json-schema", "city.json", "--print-markdown", "hello"]);
    outcome.assert_code(0);
    let markdown = &outcome.stdout;
    assert!(markdown.contains("### Answer\n\n```json\n{\n  \"city\": \"Bern\"\n}\n```\n"), "{markdown}");
    assert!(!markdown.contains("Answer:** none") && !markdown.contains("should have followed"), "{markdown}");
}

#[test]
fn invalid_server_answer_is_not_success() {
    let json = "application/json";
    for (act, kind) in [
        (answer(500, json, r#"{"name":"UnknownError","data":{"message":"oh"}}"#), "opencode"),
        (answer(200, "text/html", "<!doctype html><html></html>"), "protocol"),
        (answer(200, json, "{\"info\": ["), "protocol"),
        (answer(200, json, "{}"), "protocol"),
        (answer(200, json, ""), "protocol"),
        (TurnAct::HangUp {}, "server_lost"),
    ] {
        serve(Serving::doing([act]), (1, "error", Some(kind)));
    }
}

#[test]
fn failed_server_start_is_opencodes_failure() {
    for fault in [Fault::page(), Fault::internal(), Fault::HangUp {}] {
        let serving = Serving::replaying(PLAIN).fault(RouteFault::new("POST /session", fault));
        serve(serving, (4, "error", Some("opencode")));
    }
}

#[test]
fn lost_stream_is_not_failure() {
    let acts = [TurnAct::CutStreams {}, TurnAct::replay(PLAIN).unheard()];
    assert_eq!(serve(Serving::doing(acts), COMPLETED)["output"], PLAIN_TEXT);
}

#[test]
fn stream_without_answer_is_not_success() {
    let acts = [TurnAct::replay(PLAIN).until("session.idle"), TurnAct::Idle {}, TurnAct::HangUp {}];
    let object = serve(Serving::doing(acts), (1, "error", Some("server_lost")));
    assert_eq!(object["output"], PLAIN_TEXT, "what was said is kept");
}

/// Starts a turn, interrupts it when it is ready, and returns its outcome.
#[track_caller]
fn interrupted(case: &Case) -> Outcome {
    let running = case.start(&["--output-format", "json", "hello"]);
    case.wait_until_ready();
    running.signal(Signal::INT);
    let outcome = running.wait_for(HANG);
    case.sandbox.assert_nothing_alive();
    outcome
}

#[test]
fn exit_0_after_interrupt_is_not_success() {
    let case = Case::stalling([plain(0, 2), Act::OnSignal { signal: SignalName::Int, code: 0 }]);
    let object = assert_end(&interrupted(&case), (130, "interrupted", None));
    assert_eq!(object["output"], PLAIN_TEXT, "what was said is kept");
}

#[test]
fn interrupt_after_answer_is_not_failure() {
    let case = Case::new(|script, sandbox| {
        let [ready, _] = ready_and_stall(sandbox);
        let deaf = Act::IgnoreSignals { signals: vec![SignalName::Int] };
        script.on("run", [deaf, plain(0, 3), ready, Act::Pause { ms: 500 }, Act::Exit { code: 0 }])
    });
    assert_end(&interrupted(&case), COMPLETED);
}

#[test]
fn abort_between_retries_is_an_interrupt() {
    let case = Case::new(|script, sandbox| {
        let [ready, _] = ready_and_stall(sandbox);
        script.on("serve", [Serving::doing([ready.into(), TurnAct::replay(&recorded("abort-retry"))]).act()])
    })
    .on(Transport::Serve);
    assert_end(&interrupted(&case), (130, "interrupted", None));
}

#[test]
fn truncated_finished_step_is_not_success() {
    let line = Recording::named(PLAIN).unwrap().stdout[2].clone();
    for cut in [1, line.len() / 2, line.len() - 1] {
        let object = run([plain(0, 2), stdout(&line[..cut])], (1, "error", Some("protocol")));
        assert_eq!(object["output"], PLAIN_TEXT, "what was said is kept");
    }
}

/// A row of the table: its cells.
fn rows() -> Vec<Vec<String>> {
    let table = std::fs::read_to_string(repository().join("docs/outcomes.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let lines = table.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---"));
    let rows: Vec<_> = lines.map(cells).filter(|cells| cells[0] != "what opencode does").collect();
    assert!(rows.len() > 30, "the table was read: {rows:?}");
    rows
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the sources that contain a test of this name: `faults::pipes::name` in the suites, `core::turn::tests::name`
/// in a crate.
fn source_of(modules: &[&str]) -> String {
    let root = repository();
    let suite = root.join("tests/tests").join(modules[0]);
    let base = if suite.is_dir() { suite } else { root.join("crates").join(modules[0]).join("src") };
    let rest = &modules[1..];
    let mut path = base;
    path.extend(rest);
    // A module `tests` may be within the file that it tests.
    let within = path.parent().unwrap().with_extension("rs");
    let file = [path.with_extension("rs"), within].into_iter().find(|file| file.is_file());
    std::fs::read_to_string(file.unwrap_or_else(|| panic!("{modules:?} is no module"))).unwrap()
}

#[test]
fn each_row_has_a_test() {
    for cells in rows() {
        let [_, _, state, kind, code, tests] = cells.as_slice() else { panic!("{cells:?}") };
        assert!(["completed", "interrupted", "error"].contains(&state.as_str()), "{cells:?}");
        let fits = match state.as_str() {
            "completed" => kind == "-" && code == "0",
            "interrupted" => kind == "-" && ["129", "130", "143"].contains(&code.as_str()),
            _ => kind != "-" && ["1", "2", "4", "124"].contains(&code.as_str()),
        };
        assert!(fits, "{cells:?}");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds {cells:?}");
        for name in names {
            let path: Vec<&str> = name.split("::").collect();
            let (test, modules) = path.split_last().unwrap();
            let source = source_of(modules);
            let (before, _) =
                source.split_once(&format!("fn {test}()")).unwrap_or_else(|| panic!("there is no {name}"));
            let attribute = before.trim_end().trim_end_matches("async").trim_end().lines().last().unwrap_or_default();
            let is_test =
                ["#[test]", "#[tokio::test]", "#[tokio::test(start_paused = true)]"].contains(&attribute.trim());
            assert!(is_test, "{name} is no test: {attribute}");
        }
    }
}
