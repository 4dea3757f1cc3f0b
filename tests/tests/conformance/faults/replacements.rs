//! Recycling of servers that have grown too large: they end after their last turn, and no turn is lost.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered, ended, pause};
use crate::stage::{LIMIT, Stage};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use std::time::{Instant, SystemTime};

async fn replacing(serving: impl FnOnce(&Stage) -> Serving) -> Play {
    let stage = Stage::fake([], Serving::default());
    let serving = serving(&stage);
    let mut stage = Stage::fake([], serving);
    let executor = stage.replacing_executor().await;
    Play { stage, executor }
}

/// Waits until this number of servers is alive.
async fn until_alive(play: &Play, servers: usize) -> Vec<u32> {
    let began = Instant::now();
    loop {
        let alive = play.stage.live_servers();
        if alive.len() == servers {
            return alive;
        }
        assert!(began.elapsed() < LIMIT, "{alive:?} are alive");
        pause(20).await;
    }
}

#[tokio::test]
async fn idle_server_waits_for_its_successor() {
    let play = replacing(|_| Serving::replaying(PLAIN)).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    let first = play.server(0).pid;
    let began = Instant::now();
    while play.stage.live_servers().contains(&first) || play.stage.live_servers().is_empty() {
        assert!(began.elapsed() < LIMIT, "the first server is still there");
        pause(20).await;
    }
    let second = until_alive(&play, 1).await;
    // The next turn uses the warm server.
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    let asked = play.fake().log_of("serve").into_iter().find(|server| server.pid == second[0]).unwrap();
    assert_eq!(asked.requests_of("POST /session/*/message").len(), 1);
    play.end().await;
}

#[tokio::test]
async fn draining_server_ends_with_last_turn() {
    let go = tempfile::tempdir().unwrap();
    let file = go.path().join("go");
    let wait = || Act::WaitForFile { path: file.clone() };
    let play = replacing(|_| {
        let long = TurnRule::every([wait().into(), TurnAct::replay(PLAIN)]).said("long");
        Serving::default().turn(long).turn(TurnRule::every([TurnAct::replay(PLAIN)]))
    })
    .await;
    let long = play.runner("long");
    long.start("long".into(), SystemTime::now()).await.unwrap();
    while play.server(0).requests_of("POST /session/*/message").is_empty() {
        pause(20).await;
    }
    // The memory of the server is measured in the background after a turn: a turn that starts meanwhile may still use it.
    let began = Instant::now();
    while play.fake().log_of("serve").len() == 1 {
        assert!(began.elapsed() < LIMIT, "the first server still accepts turns");
        assert_answered(&play.turn("short").await, PLAIN_TEXT);
    }
    let first = play.server(0).pid;
    let messages = play.server(0).requests_of("POST /session/*/message").len();
    assert_answered(&play.turn("short").await, PLAIN_TEXT);
    assert_ne!(play.server(1).pid, first);
    assert!(play.stage.live_servers().contains(&first));
    assert_eq!(play.server(0).requests_of("POST /session/*/message").len(), messages);

    std::fs::write(&file, "").unwrap();
    let record = ended(&long).await;
    assert_answered(&record, PLAIN_TEXT);
    let began = Instant::now();
    while play.stage.live_servers().contains(&first) {
        assert!(began.elapsed() < LIMIT, "the first server is still there");
        pause(20).await;
    }
    drop(long);
    play.end().await;
}

#[tokio::test]
async fn starting_successor_ends_on_shutdown() {
    let mut stage = Stage::fake_serving_in_turn(Serving::replaying(PLAIN).act(), Act::Stall {});
    let executor = stage.replacing_executor().await;
    let play = Play { stage, executor };
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    until_alive(&play, 2).await;
    play.end().await;
}
