//! Stalled starts of opencode: each is retried once, since the turn had not begun.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered};
use crate::stage::{Stage, Transport};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::Serving;
use std::time::Duration;

fn replay() -> Vec<Act> {
    vec![Act::Replay { recording: PLAIN.to_owned() }]
}

/// The maximum time for which a start may be silent: a fake on a busy machine begins well within it.
const START_TIMEOUT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn silent_process_is_restarted() {
    let stage = Stage::fake([vec![Act::Stall {}], replay()], Serving::default());
    let mut stage = stage.start_timeout(START_TIMEOUT);
    let executor = stage.executor(Transport::Run).await;
    let play = Play { stage, executor };
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    let log = play.fake().log_of("run");
    assert_eq!(log.len(), 2);
    assert_eq!((log[1].stdin.as_deref(), &log[0].argv), (Some("hello"), &log[1].argv), "it is told the same");
    play.end().await;
}

#[tokio::test]
async fn silent_server_is_restarted() {
    let serving = |recording| Serving::replaying(recording).act();
    for stage in [
        Stage::fake_serving_in_turn(Act::Stall {}, serving(PLAIN)),
        Stage::fake2_serving_in_turn(Act::Stall {}, serving("v2/plain-text")),
    ] {
        let play = Play::on(stage.start_timeout(START_TIMEOUT)).await;
        assert_answered(&play.turn("hello").await, PLAIN_TEXT);
        assert_eq!(play.fake().log_of("serve").len(), 2);
        play.end().await;
    }
}
