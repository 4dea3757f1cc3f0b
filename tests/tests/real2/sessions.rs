//! Many turns of one session.

use crate::stage;
use crate::stage::Running;
use opencode_run_scripted_model::{Script, When};
use opencode_run_tests::real_opencode;
use serde_json::json;

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn session_continues_in_its_directory() {
    let stage = stage(Script::new().rule(When::agent().reply("Answer {turn} to: {last_user}")));
    let first = stage.turn(["first question"]).with_code(0).json();
    let session = first["session_id"].as_str().unwrap();
    stage.write("other/file", "");
    let mut command = stage.command(["-m", "stub/gpt-5", "--output-format", "json", "-s", session, "second question"]);
    command.current_dir(stage.sandbox.path("other")).env("PWD", "/");
    let second = Running::start(command).end().with_code(0).json();
    assert_eq!((&second["session_id"], &second["task_dir"]), (&first["session_id"], &first["task_dir"]));
    assert_eq!(second["output"], "Answer 2 to: second question");
    assert_eq!(stage.requests()[1].model(), "gpt-5", "the model of this turn");
    // Without a model, the turn uses that of the previous turn.
    let third = stage.run(["--output-format", "json", "-s", session, "third question"]).with_code(0).json();
    assert_eq!(third["output"], "Answer 3 to: third question");
    assert_eq!(stage.requests()[2].model(), "gpt-5");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn context_holds_for_one_turn() {
    let stage = stage(Script::new().rule(When::agent().reply("Answer {turn}.")));
    let first = stage.turn(["--context", "BE-BRIEF-AND-KIND", "first"]).with_code(0).json();
    let session = first["session_id"].as_str().unwrap();
    stage.turn(["-s", session, "second"]).with_code(0);
    let requests = stage.requests();
    assert!(requests[0].system_text().contains("BE-BRIEF-AND-KIND"));
    // opencode keeps the system prompt of the first turn, and informs the agent of changes.
    let withdrawn = |request: usize| requests[request].messages_text().contains("no longer applies");
    assert!(!withdrawn(0) && withdrawn(1), "{}", requests[1].messages_text());
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn unknown_session_is_not_found() {
    let stage = stage(Script::always("x"));
    let error = stage.turn(["-s", "ses_000000000000000000000000", "hello"]).with_code(1).json()["error"].take();
    assert_eq!(error["kind"], "session_not_found", "{error}");
    assert_eq!(stage.requests().len(), 0);
    stage.end();
}

#[test]
#[cfg_attr(not(all(real_opencode, real_opencode2)), ignore = "no real opencode of both generations")]
fn generations_work_on_a_shared_database() {
    let mut stage = stage(Script::new().rule(When::agent().reply("Answer {turn}.")));
    let database = stage.sandbox.path("shared.db");
    stage.sandbox.set("OPENCODE_DB", database);
    let opencodes = [real_opencode(), stage.opencode.clone()].map(|path| path.to_str().unwrap().to_owned());
    let on = |generation: usize, more: &[&str]| {
        let named = ["--opencode", &opencodes[generation - 1]];
        let done = stage.turn(named.into_iter().chain(more.iter().copied()).chain(["hello"]));
        (done.code, done.json())
    };
    let begin = |generation: usize| {
        let (code, result) = on(generation, &[]);
        assert_eq!((code, &result["output"]), (0, &json!("Answer 1.")), "opencode {generation}: {result}");
        result["session_id"].as_str().unwrap().to_owned()
    };
    let early = begin(1);
    let second = begin(2);
    // opencode 2 imports the sessions of opencode 1 once.
    for (generation, session, is_known) in [(1, &second, false), (2, &early, true)] {
        let (code, result) = on(generation, &["-s", session]);
        let context = format!("opencode {generation}, {session}: {result}");
        if is_known {
            assert_eq!((code, &result["output"]), (0, &json!("Answer 2.")), "{context}");
        } else {
            assert_eq!((code, &result["error"]["kind"]), (1, &json!("session_not_found")), "{context}");
        }
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn ephemeral_session_is_deleted() {
    let stage = stage(Script::always("x"));
    let first = stage.turn(["--ephemeral", "hello"]).with_code(0).json();
    let session = first["session_id"].as_str().unwrap();
    let again = stage.turn(["-s", session, "hello"]).with_code(1).json();
    assert_eq!(again["error"]["kind"], "session_not_found", "{again}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn agent_and_variant_reach_the_session() {
    let mut stage = stage(Script::new().rule(When::agent().reply("Answer {turn}.")));
    stage.configure(&json!({
        "agent": {"brief": {"prompt": "AGENT-OF-THE-TEST", "mode": "primary"}},
        "provider": {"other": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": stage.model.base_url(), "apiKey": "sk"},
            "models": {"m": {"variants": {"deep": {"reasoningEffort": "high"}}}},
        }},
    }));
    let on = ["-m", "other/m", "--output-format", "json"];
    let run = |more: &[&str], code: i32| stage.run(on.into_iter().chain(more.iter().copied())).with_code(code).json();
    let first = run(&["--agent", "brief", "--variant", "deep", "first"], 0);
    let session = first["session_id"].as_str().unwrap();
    // The agent of a session stays until a turn names another.
    run(&["-s", session, "second"], 0);
    run(&["-s", session, "--agent", "build", "third"], 0);
    let requests = stage.requests();
    let has_agent = |turn: usize| requests[turn].body.to_string().contains("AGENT-OF-THE-TEST");
    assert_eq!([has_agent(0), has_agent(1), has_agent(2)], [true, true, false]);
    assert_eq!(requests[0].body["reasoning_effort"], "high", "{}", requests[0].body);
    let unknown = run(&["--variant", "nope", "x"], 2);
    assert!(unknown["error"]["message"].as_str().unwrap().contains("no variant `nope`"), "{unknown}");
    assert_eq!(stage.requests().len(), 3);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn models_are_listed_and_run_is_refused() {
    let stage = stage(Script::always("x"));
    let models = stage.run(["models"]).with_code(0);
    assert!(models.stdout.contains("stub/gpt-4") && models.stdout.contains("stub/gpt-5"), "{}", models.stdout);
    let done = stage.run(["-m", "stub/gpt-4", "--transport", "run", "hello"]).with_code(4);
    assert!(done.stderr.contains("sub-agent"), "{}", done.stderr);
    assert_eq!(stage.requests().len(), 0);
    stage.end();
}
