//! Faults of a server of opencode 2. Its prompts are answered at once, so the end of a turn is known only from the event
//! stream and the session's messages.

use super::support::{
    PLAIN_TEXT, Play, assert_answered, assert_interrupt_keeps_session, assert_interrupt_kills_server, assert_reopened,
    assert_same_turn, assert_unconfirmed_interrupt_spares_others, assert_unconfirmed_kill_ends_server, ended, pause,
    speak, stalling_beside_others,
};
use crate::stage::Stage;
use opencode_run_core::{EventItem, FailureKind, Prompt, RunError, RunState, SessionId, TurnFailure};
use opencode_run_tests::script::{Act, SignalName, SpawnKind, Stream};
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};
use std::time::{Duration, SystemTime};

const PLAIN: &str = "v2/plain-text";
const PROMPT: &str = "POST /api/session/*/prompt";

fn plain() -> Serving {
    Serving::replaying(PLAIN)
}

fn garbage() -> Fault {
    Fault::Reply { status: 200, content_type: "application/json".to_owned(), body: "{\"data\": [".to_owned() }
}

fn unauthorized() -> Fault {
    Fault::Reply { status: 401, content_type: "text/plain".to_owned(), body: "no".to_owned() }
}

/// Returns the kind of failure of a turn whose requests to this route all get this fault; `None` for a success.
async fn kind_of(route: &str, fault: Fault) -> Option<FailureKind> {
    let play = Play::second(plain().fault(RouteFault::new(route, fault))).await;
    let kind = match play.try_turn("hello").await {
        Ok(record) => record.failure.as_ref().map(TurnFailure::kind),
        Err(error) => Some(error.kind),
    };
    play.end().await;
    kind
}

#[tokio::test]
async fn each_fault_has_its_kind() {
    use FailureKind::{Config, Opencode, Protocol, ServerLost};
    for (route, fault, kind) in [
        ("GET /api/info", Fault::page(), None),
        ("GET /api/info", Fault::HangUp {}, Some(Opencode)),
        ("GET /api/model/default", Fault::page(), Some(Opencode)),
        ("GET /api/model/default", Fault::internal(), Some(Opencode)),
        ("POST /api/session", Fault::page(), Some(Opencode)),
        ("POST /api/session", Fault::internal(), Some(Opencode)),
        ("POST /api/session", garbage(), Some(Opencode)),
        ("POST /api/session", unauthorized(), Some(Config)),
        ("POST /api/session", Fault::HangUp {}, Some(Opencode)),
        (PROMPT, Fault::page(), Some(Protocol)),
        (PROMPT, Fault::internal(), Some(Opencode)),
        (PROMPT, unauthorized(), Some(Protocol)),
        (PROMPT, Fault::HangUp {}, Some(ServerLost)),
    ] {
        assert_eq!(kind_of(route, fault.clone()).await, kind, "{route} {fault:?}");
    }
}

/// Returns the kind of failure of the last of these turns of one session; `None` for a success.
async fn last_kind(serving: Serving, prompts: Vec<Prompt>) -> Option<FailureKind> {
    let play = Play::second(serving).await;
    let runner = play.runner("task");
    let mut kind = None;
    for prompt in prompts {
        let ended = tokio::time::timeout(crate::stage::LIMIT, runner.run(prompt, SystemTime::now())).await;
        kind = match ended.expect("the turn hangs") {
            Ok(record) => record.failure.as_ref().map(TurnFailure::kind),
            Err(RunError::Start(error)) => Some(error.kind),
            Err(other) => panic!("{other}"),
        };
    }
    drop(runner);
    play.end().await;
    kind
}

/// Each route answers with 500 for ever.
#[tokio::test]
async fn each_route_may_fail_for_ever() {
    use FailureKind::{IdleTimeout, Opencode, Timeout, Usage};
    let hello = || vec![Prompt::new("hello")];
    let limited = || vec![Prompt::new("hello").idle_timeout(Duration::from_secs(1))];
    let twice = || vec![Prompt::new("hello"), Prompt::new("again")];
    let cut = || Serving::doing([TurnAct::CutStreams {}, TurnAct::replay(PLAIN).unheard()]);
    let closed = || cut().fault(RouteFault::new("GET /api/event", Fault::internal()).after(1));
    let entries = "/api/experimental/session/*/instructions/entries/*";
    let mut plays = tokio::task::JoinSet::new();
    for (route, serving, prompts, kind) in [
        ("GET /api/info", plain(), hello(), None),
        ("GET /api/event", plain(), vec![Prompt::new("hello").timeout(Duration::from_secs(2))], Some(Timeout)),
        ("GET /api/config", plain(), hello(), Some(Opencode)),
        ("GET /api/model", plain(), hello(), None),
        ("GET /api/mcp", plain(), hello(), None),
        ("GET /api/plugin", plain(), hello(), None),
        ("POST /api/session/*/model", plain(), twice(), Some(Opencode)),
        (&*format!("PUT {entries}"), plain(), vec![Prompt::new("hello").context("brief")], Some(Opencode)),
        (&*format!("DELETE {entries}"), plain(), twice(), Some(Opencode)),
        ("GET /api/session", cut(), hello(), None),
        ("GET /api/session/*/message", cut(), hello(), Some(Opencode)),
        ("GET /api/session/active", cut(), hello(), None),
        ("GET /api/session/active", closed(), limited(), Some(IdleTimeout)),
        ("GET /api/permission/request", cut(), hello(), None),
        ("GET /api/form", cut(), hello(), None),
        ("DELETE /api/session/*/inbox/*", Serving::replaying("v2/unknown-agent"), hello(), Some(Usage)),
        ("DELETE /api/debug/location", plain(), hello(), None),
    ] {
        let route = route.to_owned();
        let serving = serving.fault(RouteFault::new(&route, Fault::internal()));
        plays.spawn(async move { (last_kind(serving, prompts).await, kind, route) });
    }
    while let Some(played) = plays.join_next().await {
        let (kind, expected, route) = played.unwrap();
        assert_eq!(kind, expected, "{route}");
    }
}

#[tokio::test]
async fn trickling_answers_end_with_the_limit() {
    let mut plays = tokio::task::JoinSet::new();
    for (route, content_type) in [
        ("GET /api/info", "application/json"),
        ("GET /api/event", "text/event-stream"),
        ("GET /api/config", "application/json"),
        ("POST /api/session", "application/json"),
        (PROMPT, "application/json"),
    ] {
        let serving = plain().fault(RouteFault::new(route, Fault::Trickle { content_type: content_type.to_owned() }));
        let prompt = Prompt::new("hello").timeout(Duration::from_secs(2));
        plays.spawn(async move { (last_kind(serving, vec![prompt]).await, route) });
    }
    while let Some(played) = plays.join_next().await {
        let (kind, route) = played.unwrap();
        assert_eq!(kind, Some(FailureKind::Timeout), "{route}");
    }
}

#[tokio::test]
async fn server_crash_during_turn() {
    let before = |text: &str| TurnAct::replay(PLAIN).until(text);
    for (said, text) in
        [("session.inbox.enqueued", ""), ("session.text.started", ""), ("session.step.ended", PLAIN_TEXT)]
    {
        let spawn = [SpawnKind::Setsid, SpawnKind::DoubleFork].map(|kind| {
            TurnAct::from(Act::Spawn { kind, duration_s: 60, ignore_signals: true, hold_output: false, count: None })
        });
        let end = [Act::Pause { ms: 200 }, Act::KillSelf { signal: SignalName::Segv }].map(TurnAct::from);
        let dying = TurnRule::every(spawn.into_iter().chain([before(said)]).chain(end)).said("die");
        let play = Play::second(Serving::default().turn(dying).turn(TurnRule::every([TurnAct::replay(PLAIN)]))).await;
        let record = play.turn("die").await;
        assert_eq!(record.failure.as_ref().map(TurnFailure::kind), Some(FailureKind::ServerLost), "{said}");
        assert_eq!(record.output(), text, "{said}");
        // The next task has another server.
        assert_answered(&play.turn("go on").await, PLAIN_TEXT);
        assert_eq!(play.fake().log_of("serve").len(), 2);
        play.end().await;
    }
}

#[tokio::test]
async fn repeatedly_closed_stream_is_survived() {
    for closing in [
        Serving { close_stream_after_ms: Some(1000), ..Serving::doing([speak(150, 20)]) },
        Serving { close_stream_after_ms: Some(100), ..Serving::doing([speak(100, 10)]) },
        Serving { close_stream_after_events: Some(3), ..Serving::doing([speak(100, 10)]) },
    ] {
        let count = if closing.close_stream_after_ms == Some(1000) { 150 } else { 100 };
        assert_reopened(Play::second(closing).await, count, "GET /api/event").await;
    }
}

#[tokio::test]
async fn missing_stream_at_end_is_survived() {
    for (recording, state) in [
        (PLAIN, RunState::Completed),
        ("v2/tool-then-text", RunState::Completed),
        ("v2/several-tools", RunState::Completed),
        ("v2/error-400", RunState::Error),
        ("v2/error-after-tool", RunState::Error),
    ] {
        let lost = Play::second(Serving::doing([TurnAct::CutStreams {}, TurnAct::replay(recording).unheard()])).await;
        let whole = Play::second(Serving::replaying(recording)).await;
        assert_same_turn(lost, whole, state).await;
    }
}

#[tokio::test]
async fn permanently_closed_stream_is_survived() {
    // The permission request of the sub-agent is found in a list.
    for recording in ["v2/tool-then-text", "v2/subagent-allowed"] {
        let closed = RouteFault::new("GET /api/event", Fault::internal()).after(1);
        let acts = [TurnAct::CutStreams {}, TurnAct::replay(recording).unheard()];
        let lost = Play::second(Serving::doing(acts).fault(closed)).await;
        let whole = Play::second(Serving::replaying(recording)).await;
        assert_same_turn(lost, whole, RunState::Completed).await;
    }
}

#[tokio::test]
async fn broken_bytes_in_the_stream_are_survived() {
    let half = r#"data: {"type":"session.execution.failed","data":{"sessionID":"{{session}}","err"#;
    let invalid = "data: {\"type\":\"session.x\",\"data\":{\"sessionID\":\"{{session}}\",\"x\":\"{{ff}}\"}}\n\n";
    let raw = |text: &str| TurnAct::Raw { text: text.to_owned() };
    for (acts, count) in [
        (vec![raw(half), TurnAct::CutStreams {}, TurnAct::replay(PLAIN)], 2),
        (
            vec![
                TurnAct::replay(PLAIN).until("session.text.delta"),
                raw(half),
                TurnAct::CutStreams {},
                TurnAct::replay(PLAIN),
            ],
            2,
        ),
        (vec![raw(invalid), raw("{{ff}}{{ff}}\n\n"), TurnAct::replay(PLAIN)], 1),
        (vec![raw(": c\r\n\r\nid: 1\r\nretry: 1\r\nevent: x\r\ndata\r\n\r\ndata:\n\n"), TurnAct::replay(PLAIN)], 1),
    ] {
        let context = format!("{acts:?}");
        let play = Play::second(Serving::doing(acts)).await;
        let record = play.turn("hello").await;
        assert_eq!((record.state, record.output().as_str()), (RunState::Completed, PLAIN_TEXT), "{context}");
        assert_eq!(play.server(0).requests_of("GET /api/event").len(), count, "{context}");
        play.end().await;
    }
}

#[tokio::test]
async fn interrupted_stream_is_survived() {
    for recording in ["v2/tool-then-text", "v2/stream-cut-once", "v2/subagent-allowed", "v2/question-answered"] {
        let whole = Play::second(Serving::replaying(recording)).await;
        let wanted = whole.turn("hello").await;
        whole.end().await;
        for after in [1, 11, 17, 25] {
            let closing = Serving { close_stream_after_events: Some(after), ..Serving::replaying(recording) };
            let play = Play::second(closing).await;
            let record = play.turn("hello").await;
            let told = (record.state, record.output(), record.steps, record.finish.clone());
            let expected = (wanted.state, wanted.output(), wanted.steps, wanted.finish.clone());
            assert_eq!(told, expected, "{recording} {after}: {:?}", record.failure);
            assert_eq!(record.usage, wanted.usage, "{recording} {after}");
            play.end().await;
        }
    }
}

#[tokio::test]
async fn foreign_events_are_ignored() {
    let acts = [
        TurnAct::replay("v2/tool-then-text").foreign(),
        TurnAct::replay("v2/error-400").foreign(),
        TurnAct::replay(PLAIN),
        TurnAct::replay("v2/error-400").foreign(),
    ];
    let play = Play::second(Serving::doing(acts)).await;
    let runner = play.runner("task");
    runner.start("hello".into(), SystemTime::now()).await.unwrap();
    let mut events = runner.lossless_events().with_unknown();
    let record = ended(&runner).await;
    assert_answered(&record, PLAIN_TEXT);
    assert_eq!((record.entries.len(), record.steps), (1, 1), "{record:?}");
    let session = runner.session_id().unwrap();
    let mut count = 0;
    while let Some(EventItem::Event(event)) = events.next().await {
        count += 1;
        let raw = event.observed.raw.as_ref().unwrap().get();
        assert!(raw.contains(session.as_str()), "{raw}");
    }
    assert!(count > 0);
    drop((runner, events));
    play.end().await;
}

#[tokio::test]
async fn invalid_events_are_ignored() {
    let events = [
        "no json",
        "{}",
        "[]",
        r#"{"type":"session.execution.succeeded"}"#,
        r#"{"type":"session.execution.succeeded","data":null}"#,
        r#"{"type":"session.execution.succeeded","data":{"sessionID":"{{session}}"}}"#,
        r#"{"type":"session.execution.failed","data":{"sessionID":"{{session}}"}}"#,
        r#"{"type":"session.text.delta","data":{"sessionID":"{{session}}","ordinal":-1}}"#,
    ];
    let acts = events.into_iter().map(|data| TurnAct::Event { data: data.to_owned() });
    let acts = [TurnAct::Frame { bytes: 50 << 20 }].into_iter().chain(acts).chain([TurnAct::replay(PLAIN)]);
    let play = Play::second(Serving::doing(acts)).await;
    assert_answered(&play.turn("hello").await, PLAIN_TEXT);
    play.end().await;
}

#[tokio::test]
async fn ready_line_is_awaited_and_read_once() {
    let line = |text: &str| Act::Stdout { text: format!("{text}\n") };
    let started = async |acts: Vec<Act>| {
        let play = Play::on(Stage::fake2(acts)).await;
        let output = play.try_turn("hello").await.map(|record| record.output());
        (play, output)
    };
    // The line of opencode 1 and other output are no ready lines.
    let noise =
        [r#"{"url":7}"#, "{}", "opencode server listening on http://127.0.0.1:1", "warning: {\"url\""].map(line);
    let overlong = Act::Flood { stream: Stream::Stdout, bytes: 1 << 20, line_length: None, one_line: true };
    let invalid = Act::StdoutBytes { hex: "7b 22 ff 22 0a".to_owned() };
    let (play, answered) = started(noise.into_iter().chain([overlong, invalid, plain().act()]).collect()).await;
    assert_eq!(answered.unwrap(), PLAIN_TEXT);
    play.end().await;

    // The first of two lines counts.
    let elsewhere = line(r#"{"url":"http://127.0.0.1:1"}"#);
    let (play, lost) = started(vec![elsewhere, plain().act()]).await;
    let error = lost.unwrap_err();
    assert_eq!((error.kind, play.count_servers_all_gone()), (FailureKind::Opencode, 1), "{error}");
    play.end().await;
    let twice = TurnAct::from(line(r#"{"url":"http://127.0.0.1:1"}"#));
    let (play, answered) = started(vec![Serving::doing([twice, TurnAct::replay(PLAIN)]).act()]).await;
    assert_eq!(answered.unwrap(), PLAIN_TEXT);
    play.end().await;
}

#[tokio::test]
async fn missing_ready_line_is_reported() {
    let play = Play::on(Stage::fake2(vec![Act::Stall {}]).start_timeout(Duration::from_secs(1))).await;
    let error = play.try_turn("hello").await.unwrap_err();
    assert!(error.kind == FailureKind::Opencode && error.message.contains("did not listen within 1s"), "{error}");
    assert_eq!(play.count_servers_all_gone(), 2);
    play.end().await;
}

#[tokio::test]
async fn server_exit_before_the_turn_is_explained() {
    // The server answers, and is killed while the session is created.
    let late = RouteFault::new("POST /api/session", Fault::Late { ms: 60_000 });
    let play = Play::second(plain().fault(late)).await;
    let kill = async {
        while play
            .fake()
            .log_of("serve")
            .first()
            .is_none_or(|server| server.requests_of("POST /api/session").is_empty())
        {
            pause(20).await;
        }
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(play.server(0).pid.try_into().unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    };
    let (ended, ()) = tokio::join!(play.try_turn("hello"), kill);
    let error = ended.unwrap_err();
    let expected = "the opencode server ended before the turn began: signal: 9 (SIGKILL)";
    assert_eq!((error.kind, error.message.as_str()), (FailureKind::Opencode, expected));
    play.end().await;
}

#[tokio::test]
async fn early_server_exit_is_explained() {
    let acts = vec![Act::Stderr { text: "Error: port 4096 is taken\n".to_owned() }, Act::Exit { code: 1 }];
    let play = Play::on(Stage::fake2(acts)).await;
    let error = play.try_turn("hello").await.unwrap_err();
    assert!(error.kind == FailureKind::Opencode && error.message.contains("port 4096 is taken"), "{error}");
    play.end().await;
}

#[tokio::test]
async fn unanswered_interrupt_kills_the_server() {
    let stalling = Serving::doing([TurnAct::replay(PLAIN).until("session.step.ended"), Act::Stall {}.into()]);
    for fault in [Fault::Nothing {}, Fault::internal(), Fault::page(), Fault::HangUp {}] {
        let play = Play::second(stalling.clone().fault(RouteFault::new("POST /api/session/*/interrupt", fault))).await;
        assert_interrupt_kills_server(play).await;
    }
}

fn unanswered_interrupt() -> Serving {
    let fault = RouteFault::new("POST /api/session/*/interrupt", Fault::Nothing {});
    stalling_beside_others(PLAIN, "session.step.ended").fault(fault)
}

#[tokio::test]
async fn unconfirmed_interrupt_spares_other_turns() {
    assert_unconfirmed_interrupt_spares_others(Play::second(unanswered_interrupt()).await).await;
}

#[tokio::test]
async fn unconfirmed_kill_ends_shared_server() {
    assert_unconfirmed_kill_ends_server(Play::second(unanswered_interrupt()).await).await;
}

#[tokio::test]
async fn interrupt_keeps_the_session() {
    let first = TurnRule::every([TurnAct::replay("v2/interrupt-text")]).turn(0);
    let play = Play::second(Serving::default().turn(first).turn(TurnRule::every([TurnAct::replay(PLAIN)]))).await;
    assert_interrupt_keeps_session(play).await;
}

#[tokio::test]
async fn prompt_that_is_never_taken_up_ends() {
    // The server answers the prompt, and nothing happens; or its execution ends before it takes up the prompt.
    let play = Play::second(Serving::doing([])).await;
    let record = play.turn(Prompt::new("hello").idle_timeout(Duration::from_secs(1))).await;
    assert_eq!(record.failure.unwrap().kind(), FailureKind::IdleTimeout);
    play.end().await;
    let play = Play::second(Serving::replaying("v2/unknown-agent")).await;
    let record = play.turn(Prompt::new("hello").agent("nope")).await;
    assert_eq!(record.failure.unwrap().to_string(), "agent `nope` was not found by opencode");
    let deleted = play.server(0).requests_of("DELETE /api/session/*/inbox/*").len();
    assert_eq!(deleted, 1, "the prompt would be taken up by the next turn");
    play.end().await;
}

#[tokio::test]
async fn heartbeat_is_no_progress() {
    let serving = Serving {
        heartbeat_ms: 50,
        ..Serving::doing([TurnAct::replay(PLAIN).until("session.text.started"), Act::Stall {}.into()])
    };
    let play = Play::second(serving).await;
    let record = play.turn(Prompt::new("hello").idle_timeout(Duration::from_secs(1))).await;
    assert_eq!(record.failure.unwrap().kind(), FailureKind::IdleTimeout);
    play.end().await;
}

#[tokio::test]
async fn session_of_other_generation_is_unknown() {
    // Both generations have ids of the same form, so only the server can know.
    let play = Play::second(plain()).await;
    let mut conversation =
        opencode_run_core::Conversation::new(opencode_run_core::Task::new("task", play.stage.sandbox.workspace()));
    conversation.session = Some(SessionId::new("ses_20f7ef5d0000155544d08abc94"));
    let runner = opencode_run_core::TurnRunner::with_conversation(std::sync::Arc::clone(&play.executor), conversation);
    let ended = runner.run("hello".into(), SystemTime::now()).await;
    let kind = match &ended {
        Ok(record) => record.failure.as_ref().map(TurnFailure::kind),
        Err(RunError::Start(error)) => Some(error.kind),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(kind, Some(FailureKind::SessionNotFound), "{ended:?}");
    assert!(play.server(0).requests_of(PROMPT).is_empty());
    drop(runner);
    play.end().await;
}
