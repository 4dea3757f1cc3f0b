//! opencode's permission requests and questions, and their answers.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered, on_a_source};
use crate::stage::LIMIT;
use async_trait::async_trait;
use opencode_run_core::{
    Event, PermissionAnswer, PermissionHandler, PermissionPolicy, PermissionRequest, Prompt, RunState, Signal, Task,
    TurnRequest,
};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const REPLY: &str = "POST /permission/*/reply";

/// A handler that takes a moment.
#[derive(Debug, Default)]
struct Person {
    asked: Mutex<Vec<PermissionRequest>>,
}

#[async_trait]
impl PermissionHandler for Person {
    async fn answer(&self, ask: PermissionRequest) -> PermissionAnswer {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.asked.lock().unwrap().push(ask);
        PermissionAnswer::Once
    }
}

#[tokio::test]
async fn permission_is_granted_by_policy_or_handler() {
    let person = Arc::new(Person::default());
    for policy in [PermissionPolicy::Allow, PermissionPolicy::Ask(Arc::clone(&person) as Arc<dyn PermissionHandler>)] {
        let play = Play::new(Serving::replaying("1.18.33/allowed")).await;
        let record = play.turn(Prompt::new("hello").permissions(policy)).await;
        assert_answered(&record, "All done.");
        let server = play.server(0);
        let replies = server.requests_of(REPLY);
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].body, json!({"reply": "once"}));
        play.end().await;
    }
    let asked = person.asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].permission.as_str()), (1, "external_directory"));
}

#[tokio::test]
async fn permission_handler_does_not_see_key() {
    let asked = json!({"directory": "{{cwd}}", "payload": {"id": "evt_1", "type": "permission.asked", "properties": {
        "id": "per_1", "sessionID": "{{session}}", "permission": "bash", "metadata": {}, "always": [],
        "patterns": ["curl -H 'Authorization: sk-of-the-source' http://x"],
        "tool": {"messageID": "{{answer}}", "callID": "c"},
    }}});
    let acts = [TurnAct::Event { data: asked.to_string() }, Act::Pause { ms: 1000 }.into(), TurnAct::replay(PLAIN)];
    let play = Play::new(Serving::doing(acts)).await;
    let person = Arc::new(Person::default());
    let policy = PermissionPolicy::Ask(Arc::clone(&person) as Arc<dyn PermissionHandler>);
    play.turn(on_a_source("sk-of-the-source").permissions(policy)).await;
    play.end().await;
    let asked = person.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].patterns, ["curl -H 'Authorization: [redacted]' http://x"]);
}

/// A handler that panics.
struct Helpless;

#[async_trait]
impl PermissionHandler for Helpless {
    async fn answer(&self, ask: PermissionRequest) -> PermissionAnswer {
        panic!("{}?", ask.permission);
    }
}

#[tokio::test]
async fn panicking_handler_grants_nothing() {
    let play = Play::new(Serving::replaying("1.18.33/refused")).await;
    let policy = PermissionPolicy::Ask(Arc::new(Helpless));
    assert_answered(&play.turn(Prompt::new("hello").permissions(policy)).await, "All done.");
    let server = play.server(0);
    assert_eq!(server.requests_of(REPLY)[0].body["reply"], "reject");
    play.end().await;
}

#[tokio::test]
async fn reply_to_permission_is_reported() {
    for (recording, ask) in [("1.18.33/allowed", "permission"), ("1.18.33/question", "question")] {
        let play = Play::new(Serving::replaying(recording)).await;
        let directory = play.stage.sandbox.workspace();
        let prompt = Prompt::new("hello").permissions(PermissionPolicy::Allow);
        let mut turn = play.executor.start(TurnRequest::new(prompt, Task::new("task", directory))).await.unwrap();
        let mut open = Vec::new();
        let mut answered = 0;
        while let Some(signal) = tokio::time::timeout(LIMIT, turn.signals.recv()).await.unwrap() {
            match signal {
                Signal::Event(observed) => match observed.event {
                    Event::Permission(ask) => open.extend(ask.id),
                    Event::Question(ask) => open.push(ask.id),
                    _ => {}
                },
                Signal::Answered { id } => {
                    answered += 1;
                    open.retain(|asked| *asked != id);
                }
                _ => {}
            }
        }
        assert_eq!((answered, open.len()), (1, 0), "{ask}");
        play.end().await;
    }
}

#[tokio::test]
async fn answered_question_is_reported_before_end() {
    let turn = TurnAct::Replay {
        recording: "1.18.33/question".to_owned(),
        until: None,
        unheard: false,
        foreign: false,
        // Well after the reply to the rejection.
        late_ms: 900,
    };
    let late = RouteFault::new("POST /question/*/reject", Fault::Late { ms: 300 });
    let play = Play::new(Serving::doing([turn]).fault(late)).await;
    let task = Task::new("task", play.stage.sandbox.workspace());
    let mut turn = play.executor.start(TurnRequest::new(Prompt::new("hello"), task)).await.unwrap();
    let mut told = Vec::new();
    while let Some(signal) = tokio::time::timeout(LIMIT, turn.signals.recv()).await.unwrap() {
        match signal {
            Signal::Event(observed) if matches!(observed.event, Event::Question(_)) => {
                // A consumer that is busy until the turn is over.
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
            Signal::Answered { .. } => told.push("answered"),
            Signal::Ended(_) => told.push("ended"),
            _ => {}
        }
    }
    assert_eq!(told, ["answered", "ended"]);
    play.end().await;
}

#[tokio::test]
async fn permission_is_refused_by_default() {
    let play = Play::new(Serving::replaying("1.18.33/refused")).await;
    assert_answered(&play.turn("hello").await, "All done.");
    let server = play.server(0);
    let replies = server.requests_of(REPLY);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].body["reply"], "reject");
    assert!(replies[0].body["message"].as_str().is_some_and(|reason| !reason.is_empty()));
    play.end().await;
}

#[tokio::test]
async fn turn_ended_by_refusal_fails() {
    let play = Play::new(Serving::replaying("1.18.33/refused-without-reason")).await;
    let record = play.turn("hello").await;
    assert_eq!(record.failure.unwrap().kind(), opencode_run_core::FailureKind::Permission);
    play.end().await;
}

#[tokio::test]
async fn question_is_rejected() {
    let play = Play::new(Serving::replaying("1.18.33/question")).await;
    assert_answered(&play.turn("hello").await, "All done.");
    assert_eq!(play.server(0).requests_of("POST /question/*/reject").len(), 1);
    play.end().await;

    let play = Play::new(Serving::replaying("1.18.33/question-ends")).await;
    let failure = play.turn("hello").await.failure.unwrap();
    assert_eq!(failure.kind(), opencode_run_core::FailureKind::Permission);
    assert!(failure.to_string().contains("Which?"), "{failure}");
    play.end().await;
}

#[tokio::test]
async fn schema_is_matched_or_missed() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let play = Play::new(Serving::replaying("1.18.33/structured")).await;
    let record = play.turn(Prompt::new("hello").schema(schema.clone())).await;
    assert_eq!(
        (record.state, record.structured),
        (RunState::Completed, Some(json!({"city": "Bern"}))),
        "{:?}",
        record.failure
    );
    let server = play.server(0);
    assert_eq!(
        server.requests_of("POST /session/*/message")[0].body["format"],
        json!({"type": "json_schema", "schema": schema})
    );
    play.end().await;

    let play = Play::new(Serving::replaying("1.18.33/structured-missed")).await;
    let record = play.turn(Prompt::new("hello").schema(json!({"type": "object"}))).await;
    assert_eq!(record.failure.unwrap().kind(), opencode_run_core::FailureKind::Schema);
    play.end().await;
}

/// opencode accepts the model's value without validation.
#[tokio::test]
async fn mismatching_value_is_not_success() {
    let play = Play::new(Serving::replaying("1.18.33/structured")).await;
    let of = |kind: &str| json!({"type": "object", "properties": {"city": {"type": kind}}});
    let record = play.turn(Prompt::new("hello").schema(of("integer"))).await;
    assert_eq!((record.state, &record.structured), (RunState::Error, &None));
    assert_eq!(
        record.failure.unwrap().to_string(),
        "the answer does not meet the schema: /city: want integer, but got string"
    );
    let refused = play.try_turn(Prompt::new("hello").schema(of("nonsense"))).await.unwrap_err();
    assert_eq!(refused.kind, opencode_run_core::FailureKind::Usage, "{refused}");
    assert_eq!(play.server(0).requests_of("POST /session/*/message").len(), 1);
    play.end().await;
}

#[tokio::test]
async fn context_is_the_system_prompt() {
    let play = Play::new(Serving::replaying("1.18.33/context")).await;
    assert_answered(&play.turn(Prompt::new("hello").context("BE-BRIEF")).await, PLAIN_TEXT);
    assert_eq!(play.server(0).requests_of("POST /session/*/message")[0].body["system"], "BE-BRIEF");
    play.end().await;
}
