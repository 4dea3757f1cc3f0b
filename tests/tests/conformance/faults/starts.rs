//! Stalled starts of opencode: each is retried once, since the turn had not begun.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered, pause};
use crate::stage::{Stage, Transport};
use opencode_run_core::TurnRecord;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::Serving;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

fn replay() -> Vec<Act> {
    vec![Act::Replay { recording: PLAIN.to_owned() }]
}

/// Runs a turn whose first start of opencode stalls, and advances the clock until that start is killed.
async fn turn_that_stalls_at_first(play: &Play, command: &str) -> TurnRecord {
    let runner = play.runner("task");
    let hurry = async {
        while play.fake().log_of(command).is_empty() {
            pause(10).await;
        }
        let stalled = PathBuf::from(format!("/proc/{}/environ", play.fake().log_of(command)[0].pid));
        // With the clock stopped, a sleep ends as soon as all tasks are idle.
        tokio::time::pause();
        while std::fs::read(&stalled).is_ok_and(|environment| !environment.is_empty()) {
            pause(1000).await;
        }
        tokio::time::resume();
    };
    Arc::unwrap_or_clone(tokio::join!(runner.run("hello".into(), SystemTime::now()), hurry).0.unwrap())
}

#[tokio::test]
async fn silent_process_is_restarted() {
    let mut stage = Stage::fake([vec![Act::Stall {}], replay()], Serving::default());
    let executor = stage.executor(Transport::Run).await;
    let play = Play { stage, executor };
    assert_answered(&turn_that_stalls_at_first(&play, "run").await, PLAIN_TEXT);
    let log = play.fake().log_of("run");
    assert_eq!(log.len(), 2);
    assert_eq!((log[1].stdin.as_deref(), &log[0].argv), (Some("hello"), &log[1].argv), "it is told the same");
    play.end().await;
}

#[tokio::test]
async fn silent_server_is_restarted() {
    let mut stage = Stage::fake_serving_in_turn(Act::Stall {}, Serving::replaying(PLAIN).act());
    let executor = stage.executor(Transport::Serve).await;
    let play = Play { stage, executor };
    assert_answered(&turn_that_stalls_at_first(&play, "serve").await, PLAIN_TEXT);
    assert_eq!(play.fake().log_of("serve").len(), 2);
    play.end().await;
}
