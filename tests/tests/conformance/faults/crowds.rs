//! Many turns on one server.

use super::support::{PLAIN, PLAIN_TEXT, Play, assert_answered, ended, start_until};
use crate::stage::LIMIT;
use opencode_run_core::{Conversation, Ending, Event, FailureKind, RunError, Signal, Task, TurnRequest, TurnRunner};
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use std::sync::Arc;
use std::time::SystemTime;

#[tokio::test]
async fn each_turn_gets_its_own_events() {
    const TURNS: usize = 40;
    let rule = |n: usize| {
        let speak = TurnAct::Speak { delta: format!("<{n}>"), count: 200, at_once: 1, pause_ms: 0 };
        TurnRule::every([speak]).said(format!("say {n}."))
    };
    let play = Play::new((0..TURNS).fold(Serving::default(), |serving, n| serving.turn(rule(n)))).await;
    let runners: Vec<TurnRunner> = (0..TURNS).map(|n| play.runner(&format!("task{n}"))).collect();
    for (n, runner) in runners.iter().enumerate() {
        runner.start(format!("say {n}.").into(), SystemTime::now()).await.unwrap();
    }
    for (n, runner) in runners.iter().enumerate() {
        assert_answered(&ended(runner).await, &format!("<{n}>").repeat(200));
    }
    let sessions: std::collections::HashSet<_> = runners.iter().map(|runner| runner.session_id().unwrap()).collect();
    assert_eq!((sessions.len(), play.fake().log_of("serve").len()), (TURNS, 1));
    drop(runners);
    play.end().await;
}

/// 18 MB of deltas for a consumer that reads none of them, and a few for the turns of another task on the same server.
#[tokio::test]
async fn stuck_consumer_does_not_delay_other_turns() {
    let flood = TurnAct::Speak { delta: "0123456789".repeat(1000), count: 1800, at_once: 18, pause_ms: 20 };
    let speak = TurnAct::Speak { delta: "word ".to_owned(), count: 200, at_once: 1, pause_ms: 5 };
    let flooded = TurnRule::every([flood]).said("flood");
    let play = Play::new(Serving::default().turn(flooded).turn(TurnRule::every([speak]))).await;
    let directory = play.stage.sandbox.workspace().join("stuck");
    std::fs::create_dir(&directory).unwrap();
    let mut stuck = play.executor.start(TurnRequest::new("flood".into(), Task::new("stuck", directory))).await.unwrap();
    let quick = play.runner("quick");
    for _ in 0..3 {
        start_until(&quick, "hello", |event| matches!(event.observed.event, Event::TextDelta { .. })).await;
        assert_answered(&ended(&quick).await, &"word ".repeat(200));
    }
    assert_eq!(play.fake().log_of("serve").len(), 1);
    // A consumer that finally reads gets the whole text and the end.
    let mut text = 0;
    let mut ending = None;
    while let Some(signal) = tokio::time::timeout(LIMIT, stuck.signals.recv()).await.unwrap() {
        match signal {
            Signal::Event(observed) => {
                if let Event::Text { text: whole, .. } = observed.event {
                    text = whole.len();
                }
            }
            Signal::Ended(how) => ending = Some(how),
            _ => {}
        }
    }
    assert_eq!((text, ending), (18_000_000, Some(Ending::Finished)));
    drop((stuck, quick));
    play.end().await;
}

#[tokio::test]
async fn busy_session_refuses_second_turn() {
    let play = Play::new(Serving::replaying("1.18.33/abort-text")).await;
    let one = play.runner("task");
    start_until(&one, "hello", |event| matches!(event.observed.event, Event::TextDelta { .. })).await;
    let mut conversation = Conversation::new(Task::new("task", play.stage.sandbox.workspace().join("task")));
    conversation.session = one.session_id();
    let other = TurnRunner::with_conversation(Arc::clone(&play.executor), conversation);
    let refused = tokio::time::timeout(LIMIT, other.run("me too".into(), SystemTime::now())).await.unwrap();
    let Err(RunError::Start(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind, FailureKind::Busy);
    assert!(one.kill());
    ended(&one).await;
    drop((one, other));
    play.end().await;
}

#[tokio::test]
async fn sub_agents_do_not_mix() {
    let play = Play::new(Serving::replaying("1.18.33/subagent-with-tool")).await;
    let runners: Vec<TurnRunner> = (0..10).map(|n| play.runner(&format!("task{n}"))).collect();
    for runner in &runners {
        runner.start("hello".into(), SystemTime::now()).await.unwrap();
    }
    let mut sub_agents = std::collections::HashSet::new();
    for runner in &runners {
        let record = ended(runner).await;
        assert_answered(&record, "All done.");
        let of_record: Vec<_> = record.entries.iter().filter_map(|entry| entry.sub_agent.clone()).collect();
        assert!(!of_record.is_empty() && of_record.windows(2).all(|two| two[0] == two[1]));
        assert!(sub_agents.insert(of_record[0].clone()));
    }
    drop(runners);
    assert_eq!(play.fake().log_of("serve").len(), 1);
    play.end().await;
}

#[tokio::test]
async fn parallel_turns_share_one_start() {
    let play = Play::new(Serving::replaying(PLAIN)).await;
    let runners: Vec<TurnRunner> = (0..8).map(|n| play.runner(&format!("task{n}"))).collect();
    let turns = runners.iter().map(|runner| runner.run("hello".into(), SystemTime::now()));
    for record in futures_util::future::join_all(turns).await {
        assert_answered(&record.unwrap(), PLAIN_TEXT);
    }
    drop(runners);
    assert_eq!(play.fake().log_of("serve").len(), 1);
    play.end().await;
}
