//! Servers and turns that end early.

use super::support::{
    PLAIN, PLAIN_TEXT, Play, assert_answered, assert_interrupt_keeps_session, assert_interrupt_kills_server,
    assert_unconfirmed_interrupt_spares_others, assert_unconfirmed_kill_ends_server, ended, is_text_delta, speak,
    stalling_beside_others, start_stalled_and_speaking, start_until,
};
use opencode_run_core::{FailureKind, RunState, TurnFailure};
use opencode_run_tests::script::{Act, SignalName, SpawnKind};
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};
use std::time::{Duration, Instant};

fn stalling() -> Serving {
    Serving::doing([TurnAct::replay(PLAIN).until("session.idle"), Act::Stall {}.into()])
}

fn spawn(kind: SpawnKind) -> TurnAct {
    Act::Spawn { kind, duration_s: 60, ignore_signals: true, hold_output: false, count: Some(40) }.into()
}

fn survivors() -> Vec<TurnAct> {
    [SpawnKind::Setsid, SpawnKind::DoubleFork, SpawnKind::ForkStorm].map(spawn).into()
}

#[tokio::test]
async fn server_crash_during_turn_fails_as_server_lost() {
    for end in [Act::KillSelf { signal: SignalName::Segv }, Act::Exit { code: 3 }] {
        let dying = TurnRule::every(survivors().into_iter().chain([
            TurnAct::replay(PLAIN).until("session.idle"),
            Act::Pause { ms: 200 }.into(),
            end.clone().into(),
        ]));
        let play =
            Play::new(Serving::default().turn(dying.said("die")).turn(TurnRule::every([TurnAct::replay(PLAIN)]))).await;
        let record = play.turn("die").await;
        assert_eq!(record.failure.as_ref().map(TurnFailure::kind), Some(FailureKind::ServerLost), "{end:?}");
        assert_eq!(record.output(), PLAIN_TEXT, "what was said is kept");
        // The next task has another server.
        assert_answered(&play.turn("go on").await, PLAIN_TEXT);
        assert_eq!(play.fake().log_of("serve").len(), 2);
        play.end().await;
    }
}

#[tokio::test]
async fn unanswered_interrupt_kills_the_server() {
    let play = Play::new(stalling().fault(RouteFault::new("POST /session/*/abort", Fault::Nothing {}))).await;
    assert_interrupt_kills_server(play).await;
}

fn unanswered_abort() -> Serving {
    stalling_beside_others(PLAIN, "session.idle").fault(RouteFault::new("POST /session/*/abort", Fault::Nothing {}))
}

#[tokio::test]
async fn unconfirmed_interrupt_spares_other_turns() {
    assert_unconfirmed_interrupt_spares_others(Play::new(unanswered_abort()).await).await;
}

#[tokio::test]
async fn unconfirmed_kill_ends_shared_server() {
    assert_unconfirmed_kill_ends_server(Play::new(unanswered_abort()).await).await;
}

#[tokio::test]
async fn interrupt_keeps_the_session() {
    let first = TurnRule::every([TurnAct::replay("1.18.33/abort-text")]).turn(0);
    let play = Play::new(Serving::default().turn(first).turn(TurnRule::every([TurnAct::replay(PLAIN)]))).await;
    assert_interrupt_keeps_session(play).await;
}

/// If the stream broke, the turn's output is read again; for a stopped turn only briefly.
#[tokio::test]
async fn leftovers_are_killed_despite_slow_server() {
    let acts = survivors().into_iter().chain([TurnAct::replay("1.18.33/abort-text")]);
    let serving = Serving { close_stream_after_events: Some(60), ..Serving::doing(acts) };
    let play = Play::new(serving.fault(RouteFault::new("GET /session/*/message", Fault::Nothing {}))).await;
    let runner = play.runner("task");
    start_until(&runner, "hello", is_text_delta).await;
    super::support::pause(500).await;
    let began = Instant::now();
    assert!(runner.interrupt());
    assert_eq!(ended(&runner).await.state, RunState::Interrupted);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(play.server(0).requests_of("GET /session/*/message").len() > 1, "it was tried");
    assert!(play.fake().spawned().iter().all(|process| !process.is_alive()));
    drop(runner);
    play.end().await;
}

/// A tool has its own session. Processes in the server's session are its helpers, language servers and MCP servers,
/// which the next turn needs.
#[tokio::test]
async fn leftovers_are_killed_and_helpers_spared() {
    let first = TurnRule::every([spawn(SpawnKind::Child), TurnAct::replay(PLAIN)]).said("help");
    let tools = TurnRule::every(survivors().into_iter().chain([TurnAct::replay(PLAIN)]));
    let play = Play::new(Serving::default().turn(first).turn(tools)).await;
    assert_answered(&play.turn("help").await, PLAIN_TEXT);
    let helper = play.fake().spawned().swap_remove(0);
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    let began = Instant::now();
    while !play.fake().spawned()[1..].iter().all(|process| !process.is_alive()) {
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", play.fake().spawned());
        super::support::pause(20).await;
    }
    assert_answered(&play.turn("again").await, PLAIN_TEXT);
    assert_eq!(play.fake().log_of("serve").len(), 1, "the server was not the price for it");
    assert!(helper.is_alive());
    play.end().await;
}

#[tokio::test]
async fn server_ends_with_its_executor() {
    let play = Play::new(Serving::replaying(PLAIN)).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    let Play { stage, executor } = play;
    drop(executor);
    let suspects = stage.sandbox.suspects();
    drop(stage.forget_server());
    tokio::task::spawn_blocking(move || suspects.assert_nothing_alive(Duration::from_secs(3))).await.unwrap();
}

#[tokio::test]
async fn kill_ends_only_its_turn() {
    let stall = TurnRule::every([TurnAct::replay("1.18.33/abort-text")]);
    let slow = speak(100, 20);
    let play = Play::new(Serving::default().turn(stall.said("stall")).turn(TurnRule::every([slow]))).await;
    let (one, other) = start_stalled_and_speaking(&play).await;
    assert!(one.kill());
    assert_eq!(ended(&one).await.state, RunState::Interrupted);
    assert!(other.is_running());
    assert_answered(&ended(&other).await, &"word ".repeat(100));
    drop((one, other));
    play.end().await;
}
