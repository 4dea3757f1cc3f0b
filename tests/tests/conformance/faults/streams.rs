//! Broken, wrong or overlong streams. The answer to the message is authoritative.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered, assert_reopened, assert_same_turn, speak};
use opencode_run_core::{Event, EventItem, Prompt, RunState, SessionId};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct};
use std::time::SystemTime;

#[tokio::test]
async fn repeatedly_closed_stream_is_survived() {
    for closing in [
        Serving { close_stream_after_ms: Some(100), ..Serving::doing([speak(100, 10)]) },
        Serving { close_stream_after_events: Some(3), ..Serving::doing([speak(100, 10)]) },
    ] {
        assert_reopened(Play::new(closing).await, 100, "GET /global/event").await;
    }
}

#[tokio::test]
async fn missing_stream_at_answer_is_survived() {
    for (recording, state) in [
        (PLAIN, RunState::Completed),
        ("1.18.33/tool-then-text", RunState::Completed),
        ("1.18.33/several-tools", RunState::Completed),
        ("1.18.33/error-400", RunState::Error),
        ("1.18.33/error-after-tool", RunState::Error),
    ] {
        let lost = Play::new(Serving::doing([TurnAct::CutStreams {}, TurnAct::replay(recording).unheard()])).await;
        let whole = Play::new(Serving::replaying(recording)).await;
        assert_same_turn(lost, whole, state).await;
    }
}

#[tokio::test]
async fn interrupted_stream_is_survived() {
    for recording in ["1.18.33/tool-then-text", "1.18.33/several-tools", "1.18.33/finish-missing", "1.18.33/question"] {
        let whole = Play::new(Serving::replaying(recording)).await;
        let wanted = whole.turn("hello").await;
        whole.end().await;
        for after in [1, 5, 15, 30] {
            let closing = Serving { close_stream_after_events: Some(after), ..Serving::replaying(recording) };
            let play = Play::new(closing).await;
            let record = play.turn("hello").await;
            assert_eq!((record.state, record.output()), (wanted.state, wanted.output()), "{recording} {after}");
            assert_eq!((record.usage, record.steps, &record.finish), (wanted.usage, wanted.steps, &wanted.finish));
            play.end().await;
        }
    }
}

#[tokio::test]
async fn late_stream_is_survived() {
    let fault = RouteFault::new("GET /global/event", Fault::internal()).times(3);
    let play = Play::new(Serving::replaying(PLAIN).fault(fault)).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    play.end().await;
}

#[tokio::test]
async fn frame_of_50_mb_is_skipped() {
    let play = Play::new(Serving::doing([TurnAct::Frame { bytes: 50 << 20 }, TurnAct::replay(PLAIN)])).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    play.end().await;
}

#[tokio::test]
async fn invalid_and_unrouted_events_are_ignored() {
    let events = [
        "no json",
        "{}",
        "[]",
        "{\"payload\":{\"type\":\"x\"}}",
        "{\"payload\":{\"type\":\"session.idle\",\"properties\":null}}",
    ];
    let acts = events.into_iter().map(|data| TurnAct::Event { data: data.to_owned() }).chain([TurnAct::replay(PLAIN)]);
    let play = Play::new(Serving::doing(acts)).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    play.end().await;
}

#[tokio::test]
async fn foreign_events_are_ignored() {
    let acts = [
        TurnAct::replay("1.18.33/tool-then-text").foreign(),
        TurnAct::replay(PLAIN),
        TurnAct::replay("1.18.33/error-400").foreign(),
    ];
    let play = Play::new(Serving::doing(acts)).await;
    let runner = play.runner("task");
    runner.start("hello".into(), SystemTime::now()).await.unwrap();
    let mut events = runner.lossless_events().with_unknown();
    let record = super::support::ended(&runner).await;
    assert_answered(&record, PLAIN_TEXT);
    assert_eq!((record.entries.len(), record.steps), (1, 1), "{record:?}");
    let session = runner.session_id().unwrap();
    while let Some(EventItem::Event(event)) = events.next().await {
        let raw = event.observed.raw.as_ref().unwrap().get();
        assert!(raw.contains(session.as_str()), "{raw}");
    }
    drop((runner, events));
    play.end().await;
}

#[tokio::test]
async fn misplaced_idle_events_are_ignored() {
    let idle = || TurnAct::Idle {};
    let play = Play::new(Serving::doing([idle(), TurnAct::replay(PLAIN).late(300), idle(), idle()])).await;
    let record = play.turn("hello").await;
    assert_answered(&record, PLAIN_TEXT);
    assert_eq!(record.steps, 1);
    play.end().await;
}

#[tokio::test]
async fn late_end_of_earlier_turn_is_ignored() {
    let first = opencode_run_tests::serve_script::TurnRule::every([TurnAct::replay(PLAIN)]).turn(0);
    let late = [TurnAct::Idle {}, TurnAct::Event { data: late_error() }, TurnAct::replay(PLAIN)];
    let play =
        Play::new(Serving::default().turn(first).turn(opencode_run_tests::serve_script::TurnRule::every(late))).await;
    let runner = play.runner("task");
    for _ in 0..2 {
        let record = runner.run("hello".into(), SystemTime::now()).await.unwrap();
        assert_answered(&record, PLAIN_TEXT);
    }
    assert!(runner.session_id() != Some(SessionId::new("")));
    drop(runner);
    play.end().await;
}

fn late_error() -> String {
    r#"{"payload":{"type":"session.error","properties":{"sessionID":"{{session}}","error":{"name":"MessageAbortedError","data":{"message":"Aborted"}}}}}"#.to_owned()
}

#[tokio::test]
async fn many_deltas_keep_their_order() {
    let count = 50_000;
    let act = TurnAct::Speak { delta: "0123456789".to_owned(), count, at_once: 200, pause_ms: 0 };
    let play = Play::new(Serving::doing([act])).await;
    let runner = play.runner("task");
    runner.start(Prompt::new("hello"), SystemTime::now()).await.unwrap();
    let mut events = runner.lossless_events();
    let mut deltas = 0;
    while let Some(item) = tokio::time::timeout(crate::stage::LIMIT, events.next()).await.unwrap() {
        let EventItem::Event(event) = item else { panic!("{item:?}") };
        deltas += u64::from(matches!(event.observed.event, Event::TextDelta { .. }));
    }
    let record = super::support::ended(&runner).await;
    assert_eq!((record.state, record.output_len()), (RunState::Completed, 500_000));
    assert_eq!(deltas, count);
    drop(runner);
    play.end().await;
}

#[tokio::test]
async fn heartbeat_is_not_progress() {
    let serving = Serving {
        heartbeat_ms: 50,
        ..Serving::doing([TurnAct::replay(PLAIN).until("step-start"), Act::Stall {}.into()])
    };
    let play = Play::new(serving).await;
    let mut prompt = Prompt::new("hello");
    prompt = prompt.idle_timeout(std::time::Duration::from_secs(1));
    let record = play.turn(prompt).await;
    assert_eq!(record.failure.unwrap().kind(), opencode_run_core::FailureKind::IdleTimeout);
    play.end().await;
}
