//! Faulty answers of a server.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered, on_a_source};
use crate::stage::{LIMIT, Stage};
use opencode_run_core::{
    FailureKind, Limits, ModelChoice, ModelConfig, ModelSourceType, Prompt, RunState, Task, TurnFailure,
};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const MESSAGE: &str = "POST /session/*/message";

/// Returns the kind of failure of a turn whose requests to this route all get this fault.
async fn kind_of(route: &str, fault: Fault) -> FailureKind {
    let play = Play::new(Serving::replaying(PLAIN).fault(RouteFault::new(route, fault))).await;
    let kind = match play.try_turn("hello").await {
        Ok(record) => {
            assert_eq!(record.state, RunState::Error);
            record.failure.unwrap().kind()
        }
        Err(error) => error.kind,
    };
    play.end().await;
    kind
}

fn garbage() -> Fault {
    Fault::Reply { status: 200, content_type: "application/json".to_owned(), body: "{\"info\": [".to_owned() }
}

fn unauthorized() -> Fault {
    Fault::Reply { status: 401, content_type: "text/plain".to_owned(), body: "no".to_owned() }
}

#[tokio::test]
async fn each_fault_has_its_kind() {
    for (route, fault, kind) in [
        ("POST /session", Fault::page(), FailureKind::Opencode),
        ("POST /session", Fault::internal(), FailureKind::Opencode),
        ("POST /session", garbage(), FailureKind::Opencode),
        ("POST /session", unauthorized(), FailureKind::Config),
        ("POST /session", Fault::HangUp {}, FailureKind::Opencode),
        (MESSAGE, Fault::page(), FailureKind::Protocol),
        (MESSAGE, Fault::internal(), FailureKind::Opencode),
        (MESSAGE, garbage(), FailureKind::Protocol),
        (MESSAGE, unauthorized(), FailureKind::Protocol),
        (MESSAGE, Fault::HangUp {}, FailureKind::ServerLost),
    ] {
        assert_eq!(kind_of(route, fault.clone()).await, kind, "{route} {fault:?}");
    }
}

/// The answer of 1.18.33 to a message with a `.png` that is not an image.
#[tokio::test]
async fn unexplained_refusal_names_attached_files() {
    let body = r#"{"_tag":"BadRequest"}"#.to_owned();
    let refusal = Fault::Reply { status: 400, content_type: "application/json".to_owned(), body };
    let play = Play::new(Serving::replaying(PLAIN).fault(RouteFault::new(MESSAGE, refusal))).await;
    let image = play.stage.sandbox.path("no image.png");
    std::fs::write(&image, "text").unwrap();
    let failure = play.turn(Prompt::new("hello").file(&image)).await.failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::Protocol);
    let said = failure.to_string();
    assert!(said.contains("opencode refuses the message") && said.contains("may be the cause"), "{said}");
    assert!(said.ends_with(image.to_str().unwrap()), "{said}");
    play.end().await;
}

/// The answer and the log of a server of 1.18.33 after it has waited for its database for five seconds.
fn locked_session(times: usize) -> Stage {
    let log = "timestamp=2026-01-01T00:00:00.000Z level=ERROR message=failed ref=err_01 error=\"effect/sql/SqlError: Failed to \
               execute statement (cause: effect/sql/SqlError/LockTimeoutError: Failed to execute statement (cause: \
               SQLiteError: database is locked))\"\n";
    let body = r#"{"name":"UnknownError","data":{"message":"Unexpected server error.","ref":"err_01"}}"#.to_owned();
    let refusal = Fault::Reply { status: 500, content_type: "application/json".to_owned(), body };
    let serving = Serving::replaying(PLAIN).fault(RouteFault::new("POST /session", refusal).times(times));
    Stage::fake_doing([], vec![Act::Stderr { text: log.to_owned() }, serving.act()])
}

#[tokio::test]
async fn session_is_retried_on_locked_database() {
    let play = Play::on(locked_session(2)).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    assert_eq!(play.server(0).requests_of("POST /session").len(), 3);
    play.end().await;

    let play = Play::on(locked_session(100)).await;
    let error = play.try_turn("hello").await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Opencode);
    assert_eq!(error.to_string(), "another opencode keeps the database locked");
    assert_eq!(play.server(0).requests_of("POST /session").len(), 5, "but not for ever");
    play.end().await;
}

/// Before 1.15 a message is refused in this way.
#[tokio::test]
async fn empty_answer_means_unknown_session() {
    let reply = |status, body: &str| {
        let content_type = "application/json".to_owned();
        Fault::Reply { status, content_type, body: body.to_owned() }
    };
    let nothing = Serving::replaying(PLAIN).fault(RouteFault::new(MESSAGE, reply(200, "")));
    let gone = reply(404, r#"{"name":"NotFoundError","data":{"message":"Session not found: ses_1"}}"#);
    let no_session = nothing.clone().fault(RouteFault::new("GET /session/*", gone));
    for (serving, kind) in [(nothing, FailureKind::Protocol), (no_session, FailureKind::SessionNotFound)] {
        let play = Play::new(serving).await;
        assert_eq!(play.turn("hello").await.failure.unwrap().kind(), kind);
        play.end().await;
    }
}

#[tokio::test]
async fn late_answer_is_waited_for() {
    let play = Play::new(Serving::doing([TurnAct::replay(PLAIN).late(1500)])).await;
    let began = Instant::now();
    let record = play.turn("hello").await;
    assert_answered(&record, PLAIN_TEXT);
    assert!(began.elapsed() > Duration::from_millis(1500));
    play.end().await;
}

#[tokio::test]
async fn missing_answer_ends_by_limit() {
    for (total, idle, kind) in [(2, 0, FailureKind::Timeout), (0, 2, FailureKind::IdleTimeout)] {
        let play = Play::new(Serving::replaying("1.18.33/abort-text")).await;
        let seconds = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        let mut prompt = Prompt::new("hello");
        prompt.options.set_limits(Limits { total: seconds(total), idle: seconds(idle) });
        let record = play.turn(prompt).await;
        assert_eq!(record.failure.as_ref().map(TurnFailure::kind), Some(kind));
        assert!(record.output().starts_with("word "), "what was said is kept");
        play.end().await;
    }
}

#[tokio::test]
async fn unknown_agent_is_refused_before_sending() {
    let play = Play::new(Serving::replaying(PLAIN)).await;
    let record = play.turn(Prompt::new("hello").agent("nope")).await;
    assert_eq!(record.failure.unwrap().to_string(), "agent `nope` was not found by opencode");
    assert!(play.server(0).requests_of(MESSAGE).is_empty());
    assert_answered(&play.turn(Prompt::new("hello").agent("plan")).await, PLAIN_TEXT);
    play.end().await;
}

#[tokio::test]
async fn server_that_never_listens_is_killed() {
    let stage = crate::stage::Stage::fake_doing([], vec![Act::Stall {}]).start_timeout(Duration::from_secs(1));
    let play = Play::on(stage).await;
    let error = play.try_turn("hello").await.unwrap_err();
    assert!(error.message.contains("did not listen within 1s, in 2 attempts"), "{error}");
    assert_eq!(play.count_servers_all_gone(), 2);
    play.end().await;
}

#[tokio::test]
async fn early_server_exit_is_explained() {
    let acts = vec![Act::Stderr { text: "Error: port 4096 is taken\n".to_owned() }, Act::Exit { code: 1 }];
    let play = Play::on(crate::stage::Stage::fake_doing([], acts)).await;
    let error = play.try_turn("hello").await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Opencode);
    assert!(error.message.contains("port 4096 is taken"), "{error}");
    assert_eq!(play.count_servers_all_gone(), 1);
    play.end().await;
}

#[tokio::test]
async fn unreachable_announced_server_fails() {
    let text = "opencode server listening on http://127.0.0.1:1\n".to_owned();
    let play = Play::on(crate::stage::Stage::fake_doing([], vec![Act::Stdout { text }, Act::Stall {}])).await;
    let error = play.try_turn("hello").await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Opencode);
    assert_eq!(play.count_servers_all_gone(), 1);
    play.end().await;
}

#[tokio::test]
async fn session_of_abandoned_turn_is_deleted() {
    // Without the event stream no turn begins.
    let fault = RouteFault::new("GET /global/event", Fault::internal());
    let play = Play::new(Serving::replaying(PLAIN).fault(fault)).await;
    let asked = |route: &str| play.fake().log_of("serve").first().map_or(0, |server| server.requests_of(route).len());
    let made = async {
        while asked("POST /session") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The answer arrives a moment later.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tokio::select! {
        ended = play.try_turn("hello") => panic!("{ended:?}"),
        () = made => {}
    }
    let deleted = async {
        while asked("DELETE /session/*") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, deleted).await.unwrap();
    assert_eq!(asked(MESSAGE), 0);
    // The directory was used anyway, and the server releases it with the task.
    let task = Task::new("task", play.stage.sandbox.workspace().join("task"));
    play.executor.release(&task, None, false).await.unwrap();
    assert_eq!(asked("POST /instance/dispose"), 1);
    play.end().await;
}

#[tokio::test]
async fn agents_are_checked_once_per_directory() {
    let play = Play::new(Serving::replaying(PLAIN)).await;
    for (task, looks) in [("a", 1), ("b", 2), ("a", 2), ("b", 2)] {
        let runner = play.runner(task);
        let turn = runner.run(on_a_source("sk-of-the-source"), SystemTime::now());
        let record = tokio::time::timeout(LIMIT, turn).await.unwrap().unwrap();
        assert_answered(&record, PLAIN_TEXT);
        assert_eq!(play.server(0).requests_of("GET /agent").len(), looks, "{task}");
    }
    play.end().await;
}

fn on(model: &str) -> Prompt {
    Prompt::new("hello").model(ModelChoice::Named(model.parse().unwrap()))
}

#[tokio::test]
async fn known_model_is_checked_once() {
    let play = Play::new(Serving::replaying(PLAIN)).await;
    let asked = || play.server(0).requests_of("GET /config/providers").len();
    for count in [1, 2] {
        let error = play.try_turn(on("stub/gtp-4")).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::ModelNotFound);
        assert_eq!(error.to_string(), "Model not found: stub/gtp-4. Did you mean: stub/gpt-4?");
        assert_eq!((asked(), play.server(0).requests_of("POST /session").len()), (count, 0));
    }
    for _ in 0..2 {
        assert_answered(&play.turn(on("stub/gpt-4")).await, PLAIN_TEXT);
        assert_eq!(asked(), 3);
    }
    // Models that are left to opencode are not checked.
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    assert_eq!(asked(), 3);
    play.end().await;
}

#[tokio::test]
async fn unknown_variant_is_refused_without_session() {
    let models = json!({"many": {"variants": {"low": {}, "high": {}}}, "none": {"variants": {}}, "unsaid": {}});
    let of_source = json!({"id": "opencode-run-default", "models": {"m": {"variants": {}}}});
    let body = json!({"providers": [{"id": "stub", "models": models}, of_source], "default": {}}).to_string();
    let said = Fault::Reply { status: 200, content_type: "application/json".to_owned(), body };
    let play = Play::new(Serving::replaying(PLAIN).fault(RouteFault::new("GET /config/providers", said))).await;
    let config = ModelConfig { base_url: Some("http://127.0.0.1:9/v1".to_owned()), ..ModelConfig::new("m") };
    let source = ModelChoice::Source { source: ModelSourceType::Default, config: Arc::new(config) };
    for (prompt, named) in [
        (on("stub/many"), "stub/many has no variant `nope`: it has high, low"),
        (on("stub/none"), "stub/none has no variant `nope`: it has no variants"),
        (Prompt::new("hello").model(source), "m has no variant `nope`: it has no variants"),
    ] {
        let error = play.try_turn(prompt.variant("nope")).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Usage);
        assert_eq!(error.to_string(), format!("the model {named}"));
    }
    assert!(play.server(0).requests_of("POST /session").is_empty());

    let asked = || play.server(0).requests_of("GET /config/providers").len();
    let before = asked();
    for (model, variant, looks) in
        [("many", "low", 0), ("many", "high", 0), ("unsaid", "any", 1), ("unsaid", "other", 1)]
    {
        assert_answered(&play.turn(on(&format!("stub/{model}")).variant(variant)).await, PLAIN_TEXT);
        assert_eq!(asked() - before, looks, "{model} {variant}");
    }
    play.end().await;
}

#[tokio::test]
async fn unlisted_models_are_left_to_opencode() {
    for fault in [Fault::page(), Fault::internal(), garbage(), Fault::HangUp {}] {
        let serving = Serving::replaying(PLAIN).fault(RouteFault::new("GET /config/providers", fault));
        let play = Play::new(serving).await;
        assert_answered(&play.turn(on("any/model")).await, PLAIN_TEXT);
        play.end().await;
    }
}
