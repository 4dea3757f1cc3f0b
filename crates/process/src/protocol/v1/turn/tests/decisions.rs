//! Decisions of a turn that no recording shows.

use super::*;
use crate::protocol::v1::turn::state::Rest;

fn begun(prompt: Prompt) -> Played {
    let mut played = Played::new(plan("ses_1", prompt));
    played.answers = false;
    played.step(Input::Start);
    played
}

fn sent(played: &Played) -> Vec<String> {
    played.requests.iter().map(|(_, request)| format!("{} {}", request.method, request.route)).collect()
}

fn event(kind: &str, properties: &str) -> String {
    format!(r#"{{"payload":{{"type":"{kind}","properties":{properties}}}}}"#)
}

fn boom() -> String {
    event("session.error", r#"{"sessionID":"ses_1","error":{"name":"APIError","data":{"message":"boom"}}}"#)
}

fn no_answer() -> Result<String, ClientError> {
    Err(ClientError::NoAnswer("the connection broke".to_owned()))
}

#[test]
fn unknown_agent_fails_before_message() {
    let agents = r#"[{"name":"build","mode":"primary"},{"name":"nope","mode":"subagent"}]"#;
    let mut unknown = begun(Prompt::new("x").agent("nope"));
    unknown.step(Input::Answer(Tag::Prepare, Ok(agents.to_owned())));
    assert_eq!(sent(&unknown), ["GET /agent"]);
    assert!(matches!(unknown.ends[..], [Ending::Failed(_)]), "{:?}", unknown.ends);
    let mut known = begun(Prompt::new("x").agent("build"));
    known.step(Input::Answer(Tag::Prepare, Ok(agents.to_owned())));
    assert_eq!(sent(&known), ["GET /agent", "POST /session/ses_1/message"]);
    let mut stopped = begun(Prompt::new("x").agent("build"));
    stopped.step(Input::Control(Some(Control::Kill)));
    stopped.step(Input::Answer(Tag::Prepare, Ok(agents.to_owned())));
    assert_eq!((sent(&stopped), stopped.ends), (vec!["GET /agent".to_owned()], vec![Ending::Stopped]));
}

#[test]
fn session_with_path_is_not_requested() {
    let mut played = Played::new(plan("ses_../../x", Prompt::new("x")));
    played.step(Input::Start);
    assert!(played.requests.is_empty() && matches!(played.ends[..], [Ending::Failed(_)]));
}

#[test]
fn interrupt_is_repeated_until_its_limit() {
    let mut played = begun(Prompt::new("x"));
    let interrupt = ["POST /session/ses_1/abort", "GET /session/ses_1/children"];
    played.step(Input::Control(Some(Control::Interrupt)));
    assert_eq!(sent(&played)[1..], interrupt);
    played.step(Input::Timer(Timer::Interrupt));
    assert_eq!(sent(&played)[3..], interrupt);
    played.step(Input::Timer(Timer::Stop));
    assert!(played.has_ended_server);
    assert_eq!(played.ends, [Ending::Stopped]);
}

#[test]
fn later_kill_shortens_the_limit() {
    let limits = |controls: &[Control]| {
        let mut turn = Turn::new(plan("ses_1", Prompt::new("x")), UNIX_EPOCH);
        let mut actions = Vec::new();
        turn.step(*NOW, Input::Start, &mut actions);
        for control in controls {
            turn.step(*NOW, Input::Control(Some(*control)), &mut actions);
        }
        let limits = actions.iter().filter_map(|action| match action {
            Action::Arm(Timer::Stop, at) => Some(*at - NOW.instant),
            _ => None,
        });
        limits.collect::<Vec<_>>()
    };
    assert_eq!(limits(&[Control::Interrupt, Control::Kill]), [INTERRUPT_TIMEOUT, KILL_TIMEOUT]);
    assert_eq!(limits(&[Control::Kill, Control::Interrupt]), [KILL_TIMEOUT]);
}

#[test]
fn sub_agents_are_interrupted_once() {
    let mut played = begun(Prompt::new("x"));
    played.step(Input::Control(Some(Control::Interrupt)));
    let answers = [
        r#"[{"id":"../x","directory":"/w"}]"#,
        r#"[{"id":"ses_2","directory":"/w"}]"#,
        // It is its own sub-agent, which would be a fault of the server.
        r#"[{"id":"ses_2","directory":"/w"}]"#,
    ];
    for sub_agents in answers {
        played.step(Input::Answer(Tag::Interrupted, Ok(sub_agents.to_owned())));
    }
    assert_eq!(sent(&played)[3..], ["POST /session/ses_2/abort", "GET /session/ses_2/children"]);
}

#[test]
fn failed_request_is_interrupted_before_failing() {
    let idle = event("session.status", r#"{"sessionID":"ses_1","status":{"type":"idle"}}"#);
    let failed = |is_interrupted: bool| {
        let mut played = begun(Prompt::new("x"));
        played.feed(&boom());
        played.step(Input::Answer(Tag::Prompt, no_answer()));
        assert_eq!(sent(&played), ["POST /session/ses_1/abort", "GET /session/ses_1/children"]);
        for tag in [Tag::Interrupt, Tag::Interrupted] {
            played.step(Input::Answer(tag, if is_interrupted { Ok("[]".to_owned()) } else { no_answer() }));
        }
        assert!(played.ends.is_empty());
        played.feed(&idle);
        assert!(matches!(&played.ends[..], [Ending::Failed(TurnFailure::Provider { .. })]), "{:?}", played.ends);
        played.has_ended_server
    };
    assert!(!failed(true) && failed(false));
    let mut lost = begun(Prompt::new("x"));
    lost.step(Input::ServerExited("signal: 9".to_owned()));
    lost.step(Input::Answer(Tag::Prompt, no_answer()));
    assert_eq!(sent(&lost), [""; 0], "the server has exited");
}

#[test]
fn repeated_permission_request_ends_turn() {
    let mut played = Played::new(TurnPlan { denies: true, ..plan("ses_1", Prompt::new("x")) });
    played.step(Input::Start);
    let mut insisting = Vec::new();
    for id in 0..5 {
        let asked = format!(r#"{{"sessionID":"ses_1","id":"per_{id}","permission":"bash","patterns":["rm"]}}"#);
        let asked = Input::Event(route(&event("permission.asked", &asked)).unwrap());
        let mut actions = Vec::new();
        played.turn.step(*NOW, asked, &mut actions);
        assert!(!played.turn.is_stopped);
        for action in actions {
            let Action::Decide { ask, session, insists } = action else { continue };
            insisting.push(insists);
            let reason = if insists { "" } else { "no" }.to_owned();
            played.step(Input::Decided { ask, session, answer: PermissionAnswer::Reject { reason } });
        }
    }
    assert_eq!(insisting, [false, false, false, false, true]);
    assert!(played.turn.is_stopped);
    played.step(Input::Timer(Timer::Stop));
    let what = "bash (rm)".to_owned();
    assert_eq!(played.ends, [Ending::Failed(TurnFailure::Permission { what })]);
}

#[test]
fn empty_answer_is_explained() {
    let ended = |feed: Option<String>, session: Result<String, ClientError>| {
        let mut played = begun(Prompt::new("x"));
        if let Some(event) = feed {
            played.feed(&event);
        }
        played.step(Input::Answer(Tag::Prompt, Ok(String::new())));
        played.step(Input::Timer(Timer::Rest));
        played.step(Input::Answer(Tag::Session, session));
        format!("{:?}", played.ends)
    };
    assert!(ended(Some(boom()), Ok(String::new())).contains("boom"));
    assert!(ended(None, Ok(String::new())).contains("was empty"));
    assert!(ended(None, Err(ClientError::NotFound("no such session".to_owned()))).contains("no such session"));
}

#[test]
fn queued_error_precedes_missed_output() {
    let mut played = begun(Prompt::new("x"));
    played.turn.decoder = TurnDecoder::new(SessionId::new("ses_1"), "msg_1".to_owned());
    played.stream(Input::Disconnected);
    played.stream(Input::Reconnected);
    assert_eq!(played.turn.intake(), Intake::Closed);
    played.feed(&boom());
    let info = r#"{"id":"msg_2","sessionID":"ses_1","role":"assistant","time":{}}"#;
    let part = r#"{"id":"prt_1","sessionID":"ses_1","messageID":"msg_2","type":"step-start"}"#;
    played.messages = format!(r#"[{{"info":{info},"parts":[{part}]}}]"#);
    for tag in [Tag::Messages, Tag::SubAgents, Tag::Permissions, Tag::Questions] {
        assert_eq!(played.requests.last().unwrap().0, tag);
        played.answer(tag);
    }
    let kinds = played.signals.iter().filter_map(|signal| match signal {
        Signal::Event(observed) => Some(observed.event.kind()),
        _ => None,
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["error", "step_start"]);
    assert!(played.turn.error.is_none(), "opencode has recovered");
}

#[test]
fn missed_steps_of_sub_agents_are_read() {
    let mut played = begun(Prompt::new("x"));
    played.turn.decoder = TurnDecoder::new(SessionId::new("ses_1"), "msg_2".to_owned());
    played.stream(Input::Disconnected);
    played.stream(Input::Reconnected);
    let step = |message: &str, tokens: u32| {
        let info = format!(r#"{{"id":"{message}","sessionID":"ses_2","role":"assistant","time":{{}}}}"#);
        let tokens = format!(r#"{{"input":{tokens},"output":0,"reasoning":0,"cache":{{"read":0,"write":0}}}}"#);
        let of_step = format!(r#""reason":"stop","cost":0,"tokens":{tokens}"#);
        let part = format!(r#"{{"id":"prt_{message}","messageID":"{message}","type":"step-finish",{of_step}}}"#);
        format!(r#"{{"info":{info},"parts":[{part}]}}"#)
    };
    let sub_agent = r#"[{"id":"ses_2","directory":"/w"}]"#;
    // The first step belongs to an earlier turn, which started the same sub-agent.
    let steps = format!("[{},{}]", step("msg_1", 7), step("msg_3", 8));
    for (tag, text) in [
        (Tag::Messages, "[]"),
        (Tag::SubAgents, sub_agent),
        (Tag::SubAgents, "[]"),
        (Tag::SubAgentMessages(SessionId::new("ses_2")), &steps),
        (Tag::Permissions, "[]"),
    ] {
        assert_eq!(played.requests.last().unwrap().0, tag);
        played.step(Input::Answer(tag, Ok(text.to_owned())));
    }
    let events: Vec<_> = played.signals.iter().map(|signal| format!("{signal:?}")).collect();
    assert!(events.len() == 1 && events[0].contains("ses_2") && events[0].contains("input: 8"), "{events:?}");
}

#[test]
fn slow_answer_of_messages_is_not_awaited() {
    let mut played = begun(Prompt::new("x"));
    played.stream(Input::Disconnected);
    let info = r#"{"id":"msg_2","sessionID":"ses_1","role":"assistant","time":{"completed":2},"finish":"stop"}"#;
    played.step(Input::Answer(Tag::Prompt, Ok(format!(r#"{{"info":{info},"parts":[]}}"#))));
    assert_eq!(sent(&played), ["GET /session/ses_1/message"]);
    played.timers.clear();
    played.step(Input::Control(Some(Control::Interrupt)));
    assert_eq!(played.timers, [Timer::Rest], "the limit is shorter now");
    played.fire_rest();
    assert_eq!(played.ends, [Ending::Finished]);
}

#[test]
fn stop_shortens_wait_for_late_events() {
    let give_up_at = |played: &Played| match &played.turn.phase {
        Phase::Ending(Rest::Events(_, at)) => at.duration_since(NOW.instant),
        other => panic!("{other:?}"),
    };
    let mut played = begun(Prompt::new("x"));
    let info = r#"{"id":"msg_2","sessionID":"ses_1","role":"assistant","time":{"completed":2},"finish":"stop"}"#;
    let part = r#"{"id":"prt_1","sessionID":"ses_1","messageID":"msg_2","type":"text","text":"late","time":{"start":1,"end":2}}"#;
    played.step(Input::Answer(Tag::Prompt, Ok(format!(r#"{{"info":{info},"parts":[{part}]}}"#))));
    assert!(give_up_at(&played) > Duration::from_secs(10));
    played.step(Input::Control(Some(Control::Interrupt)));
    assert_eq!(give_up_at(&played), Duration::from_secs(1));
}
