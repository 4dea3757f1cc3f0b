//! Recordings of a real opencode 2, with possible faults of the stream.

use super::*;
use crate::json_text::parse;
use crate::protocol::signal_line::signal_line;
use crate::protocol::v2::routing;
use crate::schema::AnswerSchema;
use proptest::prelude::*;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

/// A recording.
struct Recording {
    name: String,
    about: Value,
    session: String,
    /// The ids of the prompts.
    prompts: Vec<String>,
    events: Vec<String>,
    /// The session's messages afterwards.
    messages: Vec<String>,
    /// The list of its sub-agents.
    sub_agents: String,
    /// The messages of each sub-agent.
    of_sub_agents: HashMap<SessionId, Vec<String>>,
}

fn recordings() -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/v2");
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| recording(file)).collect()
}

fn recording(file: &Path) -> Recording {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| parse(line).unwrap()).collect();
    let with = |key: &'static str| lines.iter().filter_map(move |line| line.get(key));
    let created = with("response").next().unwrap();
    let session = created["body"]["data"]["id"].as_str().unwrap().to_owned();
    let answer = |path: &str| {
        let request = with("request").find(|request| request["path"] == path)?;
        with("response").find(|response| response["n"] == request["n"]).map(|response| response["body"].clone())
    };
    let messages = |session: &str| answer(&format!("/api/session/{session}/message"));
    let sub_agents = answer(&format!("/api/session?parentID={session}")).unwrap_or_else(|| json!({"data": []}));
    let of_sub_agents = sub_agents["data"].as_array().unwrap().iter().map(|child| child["id"].as_str().unwrap());
    let of_sub_agents = of_sub_agents.map(|id| (SessionId::new(id), vec![messages(id).unwrap().to_string()])).collect();
    Recording {
        name: file.file_stem().unwrap().to_string_lossy().into_owned(),
        about: lines[0]["about"].clone(),
        messages: vec![messages(&session).unwrap().to_string()],
        sub_agents: sub_agents.to_string(),
        of_sub_agents,
        session,
        prompts: with("request").filter_map(|request| request["body"]["id"].as_str().map(str::to_owned)).collect(),
        events: with("event").map(ToString::to_string).collect(),
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), system: UNIX_EPOCH + Duration::from_hours(498_900) }
}

fn plan(session: &str, prompt: Prompt) -> TurnPlan {
    let session = SessionId::new(session);
    let model = Some("stub/gpt-4".to_owned());
    TurnPlan { session, is_new: true, directory: "/w".into(), prompt, model, schema: None, denies: false }
}

/// A turn with its actions.
struct Played {
    turn: Turn,
    answer: PermissionAnswer,
    /// The pages of the session's messages.
    messages: Vec<String>,
    sub_agents: String,
    of_sub_agents: HashMap<SessionId, Vec<String>>,
    signals: Vec<Signal>,
    requests: Vec<(Tag, Request)>,
    ending: Option<Ending>,
}

impl Played {
    fn new(turn: Turn) -> Self {
        Self {
            turn,
            answer: PermissionAnswer::Once,
            messages: vec![String::new()],
            sub_agents: String::new(),
            of_sub_agents: HashMap::new(),
            signals: Vec::new(),
            requests: Vec::new(),
            ending: None,
        }
    }

    fn step(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.turn.step(now(), input, &mut actions);
        for action in actions {
            match action {
                Action::Emit(signal) => self.signals.push(signal),
                Action::Request(tag, request) => {
                    let is_of_session = request.query.first() == Some(&(api::PARENT, self.turn.session.to_string()));
                    let cursor = request.query.iter().find(|(name, _)| *name == api::CURSOR);
                    let page = cursor.map_or(0, |(_, page)| page.parse().unwrap());
                    self.requests.push((tag.clone(), request));
                    let answer = match &tag {
                        Tag::Messages => self.messages[page].clone(),
                        Tag::SubAgents if is_of_session => self.sub_agents.clone(),
                        Tag::SubAgentMessages(session) => self.of_sub_agents[session][page].clone(),
                        Tag::Active => "{\"data\":{}}".to_owned(),
                        _ => String::new(),
                    };
                    self.step(Input::Answer(tag, Ok(answer)));
                }
                Action::Decide { ask, session, .. } => {
                    let answer = self.answer.clone();
                    self.step(Input::Decided { ask, session, answer });
                }
                Action::Fail { error, .. } => panic!("{error}"),
                Action::Finish(ending) => self.ending = Some(ending),
                Action::Include(_)
                | Action::Arm(..)
                | Action::EndServer { .. }
                | Action::CancelRequests
                | Action::TakeQueued => {}
            }
        }
    }

    fn feed(&mut self, events: &[String]) {
        let events: Vec<_> = events.iter().filter_map(|event| routing::route(event)).collect();
        for event in events {
            self.step(Input::Event(event));
        }
    }

    /// Returns the persistent events: finished texts, finished calls, ends of steps.
    fn lasting(&self) -> Vec<String> {
        let lasting = |signal: &Signal| match signal {
            Signal::Event(observed) => match &observed.event {
                event @ (Event::Text { .. } | Event::Reasoning { .. } | Event::StepFinish { .. }) => {
                    Some(format!("{:?} {event:?}", observed.sub_agent))
                }
                // Only the turn that sent a refusal recognizes it.
                Event::Tool(call) if call.state.is_final() => {
                    Some(format!("{:?} {call:?}", observed.sub_agent).replace("refused: true", "refused: false"))
                }
                _ => None,
            },
            _ => None,
        };
        let mut lasting: Vec<_> = self.signals.iter().filter_map(lasting).collect();
        lasting.sort();
        lasting
    }

    /// Returns the known events, one per line.
    fn description(&self) -> String {
        self.signals.iter().filter_map(signal_line).map(|line| line + "\n").collect()
    }
}

/// Starts the turn of a recording.
fn begin(recording: &Recording) -> Played {
    let mut turn = Turn::new(plan(&recording.session, Prompt::new("Please do it.")), UNIX_EPOCH).unwrap();
    recording.prompts[0].clone_into(&mut turn.prompt_id);
    let mut played = Played::new(turn);
    let reply = &recording.about["reply"];
    if reply["decision"] == "reject" {
        played.answer = PermissionAnswer::Reject { reason: reply["message"].as_str().unwrap_or_default().to_owned() };
    }
    played.messages.clone_from(&recording.messages);
    played.sub_agents.clone_from(&recording.sub_agents);
    played.of_sub_agents.clone_from(&recording.of_sub_agents);
    played.step(Input::Start);
    played
}

#[test]
fn recordings_become_turns() {
    let mut all = String::new();
    for recording in recordings() {
        let mut played = begin(&recording);
        if recording.about.get("interrupt").is_some() {
            let half = recording.events.len() / 2;
            played.feed(&recording.events[..half]);
            played.step(Input::Control(Some(Control::Interrupt)));
            played.feed(&recording.events[half..]);
        } else {
            played.feed(&recording.events);
        }
        let ending = played.ending.as_ref().unwrap();
        writeln!(all, "{}\n{}  => {ending:?}", recording.name, played.description()).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn disconnects_do_not_change_the_turn() {
    for recording in recordings() {
        // The final messages contain more than this turn.
        let has_more = recording.prompts.len() > 1 || recording.name == "background";
        if has_more || recording.about.get("interrupt").is_some() {
            continue;
        }
        let mut whole = begin(&recording);
        whole.feed(&recording.events);
        let moments = (0..recording.events.len()).flat_map(|decoded| [(decoded, true), (decoded, false)]);
        for (decoded, reconnects) in moments {
            let mut played = begin(&recording);
            played.feed(&recording.events[..decoded]);
            if played.ending.is_some() {
                break;
            }
            played.step(Input::Disconnected);
            if reconnects {
                played.step(Input::Reconnected);
            }
            // Without the stream, the first one reads the messages.
            for _ in 0..=MAX_MISSING {
                played.step(Input::Timer(Timer::Probe));
            }
            let context = format!("{} after {decoded} events, reconnects: {reconnects}", recording.name);
            // If an execution fails before its first step, or ends on a rejection, the reason is only in an event.
            match (&played.ending, &whole.ending) {
                (Some(Ending::Failed(_)), Some(Ending::Failed(_))) => {}
                (ending, whole) => assert_eq!(ending, whole, "{context}"),
            }
            assert_eq!(played.lasting(), whole.lasting(), "{context}");
        }
    }
}

#[test]
fn only_steps_of_the_turn_are_counted() {
    let mut played = Played::new(Turn::new(plan("ses_1", Prompt::new("x")), UNIX_EPOCH).unwrap());
    played.step(Input::Start);
    let step = |id: &str, time: u32| {
        let time_of = json!({"created": time, "completed": time});
        json!({"id": id, "type": "assistant", "time": time_of, "finish": "stop", "tokens": {"input": time}})
    };
    let prompt = json!({"id": played.turn.prompt_id, "type": "user", "time": {"created": 100}});
    played.messages = vec![json!({"data": [prompt, step("msg_1", 50)]}).to_string()];
    // The first sub-agent has worked in an earlier turn too, and the second only there.
    let sub_agents = [("ses_2", 150), ("ses_3", 60)].map(|(id, at)| json!({"id": id, "time": {"updated": at}}));
    played.sub_agents = json!({"data": sub_agents}).to_string();
    let of_first = json!({"data": [step("msg_3", 150), step("msg_2", 60)]}).to_string();
    played.of_sub_agents.insert(SessionId::new("ses_2"), vec![of_first]);
    played.step(Input::Disconnected);
    played.step(Input::Reconnected);
    let steps: Vec<_> = played.lasting().into_iter().filter(|event| event.contains("StepFinish")).collect();
    assert!(steps.len() == 1 && steps[0].contains("ses_2") && steps[0].contains("input: 150"), "{steps:?}");
    // The same messages are not counted twice.
    played.step(Input::Disconnected);
    played.step(Input::Reconnected);
    assert_eq!(played.lasting().len(), 1);
}

#[test]
fn long_turn_is_read_in_pages() {
    let mut played = Played::new(Turn::new(plan("ses_1", Prompt::new("x")), UNIX_EPOCH).unwrap());
    played.step(Input::Start);
    let step = |prefix: &str, number: usize| {
        let id = format!("msg_{prefix}{number:05}");
        json!({"id": id, "type": "assistant", "time": {"created": number}, "finish": "stop", "tokens": {"input": 1}})
    };
    let idle = json!({"id": "msg_f99999", "type": "idle", "outcome": "succeeded"});
    let prompt = json!({"id": played.turn.prompt_id, "type": "user", "time": {"created": 1}});
    let pages = |mut all: Vec<Value>, last: Value| -> Vec<String> {
        all.push(last);
        let pages = all.chunks(api::MAX_MESSAGES).enumerate();
        pages
            .map(|(number, data)| json!({"data": data, "cursor": {"next": (number + 1).to_string()}}).to_string())
            .collect()
    };
    let steps = |prefix: &'static str, count: usize| (1..=count).rev().map(move |number| step(prefix, number));
    played.messages = pages(std::iter::once(idle).chain(steps("e", 450)).collect(), prompt);
    played.sub_agents = json!({"data": [{"id": "ses_2"}]}).to_string();
    played.of_sub_agents.insert(SessionId::new("ses_2"), pages(steps("d", 250).collect(), step("d", 0)));
    // Further pages would be read in vain.
    played.messages.push("the page is not needed".to_owned());
    played.step(Input::Disconnected);
    played.step(Input::Reconnected);
    assert_eq!(played.ending, Some(Ending::Finished));
    assert_eq!(played.lasting().len(), 450 + 250);
    let pages = played.requests.iter().filter(|(tag, _)| matches!(tag, Tag::Messages | Tag::SubAgentMessages(_)));
    assert_eq!(pages.count(), 3 + 2);
}

#[test]
fn server_exit_fails_a_running_turn() {
    let begun = || {
        let mut played = Played::new(Turn::new(plan("ses_1", Prompt::new("x")), UNIX_EPOCH).unwrap());
        played.step(Input::Start);
        played
    };
    let mut lost = begun();
    lost.step(Input::ServerExited("signal: 9".to_owned()));
    assert!(matches!(lost.ending, Some(Ending::Failed(TurnFailure::ServerLost { .. }))), "{:?}", lost.ending);
    let mut stopped = begun();
    stopped.step(Input::Control(Some(Control::Kill)));
    stopped.step(Input::ServerExited("signal: 9".to_owned()));
    assert_eq!(stopped.ending, Some(Ending::Stopped));
}

#[test]
fn continued_session_gets_model_without_old_entries() {
    let continued = TurnPlan { is_new: false, ..plan("ses_1", Prompt::new("x").agent("plan")) };
    let mut played = Played::new(Turn::new(continued, UNIX_EPOCH).unwrap());
    played.step(Input::Start);
    let sent: Vec<_> =
        played.requests.iter().map(|(_, request)| format!("{} {}", request.method, request.route)).collect();
    let entries = "/api/experimental/session/ses_1/instructions/entries";
    let expected = [
        "POST /api/session/ses_1/model".to_owned(),
        format!("DELETE {entries}/opencode-run"),
        "POST /api/session/ses_1/agent".to_owned(),
        "POST /api/session/ses_1/prompt".to_owned(),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn prompt_waits_for_model_and_instructions() {
    let schema = json!({"type": "object", "required": ["city"]});
    let prompt = Prompt::new("x").schema(schema.clone()).context("Be brief.");
    let plan = TurnPlan { is_new: false, schema: AnswerSchema::read(&schema).ok(), ..plan("ses_1", prompt) };
    let mut turn = Turn::new(plan, UNIX_EPOCH).unwrap();
    let mut sent = |input| {
        let mut actions = Vec::new();
        turn.step(now(), input, &mut actions);
        let request = |action| match action {
            Action::Request(_, request) => Some(request),
            _ => None,
        };
        actions.into_iter().filter_map(request).collect::<Vec<_>>()
    };
    let first = sent(Input::Start);
    let routes: Vec<_> = first.iter().map(|request| request.route.rsplit('/').next().unwrap()).collect();
    assert_eq!(routes, ["model", api::ENTRY]);
    let instructions = first[1].body.as_ref().unwrap()["value"].as_str().unwrap();
    assert!(instructions.starts_with("Be brief.\n\n") && instructions.contains("city"), "{instructions}");
    assert!(sent(Input::Answer(Tag::Prepare, Ok(String::new()))).is_empty(), "one is not answered");
    let [prompt] = sent(Input::Answer(Tag::Prepare, Ok(String::new()))).try_into().unwrap();
    assert!(prompt.route.ends_with("/prompt"), "{}", prompt.route);
}

#[test]
fn undelivered_prompt_is_removed() {
    let recording = recordings().into_iter().find(|recording| recording.name == "unknown-agent").unwrap();
    let mut played = begin(&recording);
    played.feed(&recording.events);
    assert_eq!(played.ending, Some(Ending::Failed(TurnFailure::AgentNotFound { agent: "nope".to_owned() })));
    let (tag, request) = played.requests.last().unwrap();
    assert_eq!((tag, &request.method), (&Tag::CleanUp, &Method::DELETE));
    assert!(request.route.ends_with(&format!("/inbox/{}", recording.prompts[0])), "{}", request.route);
}

#[test]
fn invalid_answer_is_repaired_once() {
    let schema = json!({"type": "object", "required": ["city"]});
    let play = |answers: &[&str]| {
        let prompt = Prompt::new("Where?").schema(schema.clone());
        let plan = TurnPlan { schema: AnswerSchema::read(&schema).ok(), ..plan("ses_1", prompt) };
        let mut played = Played::new(Turn::new(plan, UNIX_EPOCH).unwrap());
        played.step(Input::Start);
        for (turn, answer) in answers.iter().enumerate() {
            let id = played.turn.prompt_id.clone();
            let event = |kind: &str, mut data: Value| {
                data["sessionID"] = json!("ses_1");
                json!({"type": format!("session.{kind}"), "data": data}).to_string()
            };
            let message = format!("msg_{turn}");
            played.feed(&[
                event("inbox.enqueued", json!({"inboxID": id})),
                event("inbox.delivered", json!({"inboxID": id})),
                event("step.started", json!({"assistantMessageID": message})),
                event("text.ended", json!({"assistantMessageID": message, "ordinal": 0, "text": answer})),
                event("execution.succeeded", json!({})),
            ]);
        }
        let value = played.signals.iter().find_map(|signal| match signal {
            Signal::Structured(value) => Some(value.clone()),
            _ => None,
        });
        (played.ending, value)
    };
    let bern = Some(json!({"city": "Bern"}));
    assert_eq!(play(&["{\"city\":\"Bern\"}"]), (Some(Ending::Finished), bern.clone()));
    assert_eq!(play(&["Bern.", "{\"city\":\"Bern\"}"]), (Some(Ending::Finished), bern));
    let message = "the answer is not JSON".to_owned();
    assert_eq!(play(&["Bern.", "Bern!"]), (Some(Ending::Failed(TurnFailure::Schema { message })), None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lost, repeated, truncated or reordered events end a turn at most once, and break nothing.
    #[test]
    fn any_event_order_is_survived(
        recording in 0..RECORDINGS.len(),
        picks in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0..8_u8), 0..80),
    ) {
        let recording = &RECORDINGS[recording];
        let mut played = begin(recording);
        for (event, cut, deed) in picks {
            let event = event.get(&recording.events);
            match deed {
                0 => played.step(Input::Disconnected),
                1 => played.step(Input::Reconnected),
                2 => played.feed(&[event.chars().take(cut.index(event.len())).collect()]),
                _ => played.feed(std::slice::from_ref(event)),
            }
        }
        let early = played.ending.clone();
        played.feed(&recording.events);
        prop_assert!(early.is_none() || played.ending == early);
    }
}

static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(recordings);
