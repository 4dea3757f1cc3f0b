//! Recordings of real servers of opencode 1, with possible faults of the stream.

mod decisions;

use super::*;
use crate::protocol::signal_line::signal_line;
use crate::protocol::v1::recording::{RECORDINGS, Recording, Step};
use crate::protocol::v1::stream::route;
use crate::schema::AnswerSchema;
use opencode_run_core::{Prompt, Signal};
use proptest::prelude::*;
use reqwest::StatusCode;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

static NOW: LazyLock<Now> =
    LazyLock::new(|| Now { instant: Instant::now(), system: UNIX_EPOCH + Duration::from_hours(498_900) });

fn plan(session: &str, prompt: Prompt) -> TurnPlan {
    let session = SessionId::new(session);
    TurnPlan { session, is_new: true, directory: "/w".into(), prompt, model: None, schema: None, denies: false }
}

/// A turn with its actions.
struct Played {
    turn: Turn,
    decision: PermissionAnswer,
    messages: String,
    /// The inputs of the stream that wait until they are accepted.
    queue: Vec<Input>,
    signals: Vec<Signal>,
    requests: Vec<(Tag, Request)>,
    /// Whether requests are answered at once.
    answers: bool,
    timers: Vec<Timer>,
    has_ended_server: bool,
    ends: Vec<Ending>,
}

impl Played {
    fn new(plan: TurnPlan) -> Self {
        Self {
            turn: Turn::new(plan, UNIX_EPOCH),
            decision: PermissionAnswer::Once,
            messages: "[]".to_owned(),
            queue: Vec::new(),
            signals: Vec::new(),
            requests: Vec::new(),
            answers: true,
            timers: Vec::new(),
            has_ended_server: false,
            ends: Vec::new(),
        }
    }

    fn step(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.turn.step(*NOW, input, &mut actions);
        for action in actions {
            match action {
                Action::Emit(signal) => self.signals.push(signal),
                Action::Request(tag, request) => {
                    self.requests.push((tag.clone(), request));
                    if self.answers && tag != Tag::Prompt {
                        self.answer(tag);
                    }
                }
                Action::CancelRequests => self.requests.clear(),
                Action::TakeQueued => {
                    let queue = std::mem::take(&mut self.queue);
                    self.step(Input::Queued(queue));
                }
                Action::Decide { ask, session, .. } => {
                    let answer = self.decision.clone();
                    self.step(Input::Decided { ask, session, answer });
                }
                Action::Include(_) => {}
                Action::Arm(timer, _) => {
                    self.timers.retain(|armed| *armed != timer);
                    self.timers.push(timer);
                }
                Action::EndServer { .. } => self.has_ended_server = true,
                Action::Fail { error, reported } => {
                    let failure = reported.unwrap_or(TurnFailure::Opencode { message: error.to_string() });
                    self.ends.push(Ending::Failed(failure));
                }
                Action::Finish(ending) => self.ends.push(ending),
            }
        }
        if self.turn.intake() != Intake::Closed && !self.queue.is_empty() {
            let next = self.queue.remove(0);
            self.step(next);
        }
    }

    fn answer(&mut self, tag: Tag) {
        let text = if tag == Tag::Messages { self.messages.clone() } else { "[]".to_owned() };
        self.step(Input::Answer(tag, Ok(text)));
    }

    fn stream(&mut self, input: Input) {
        self.queue.push(input);
        if self.turn.intake() != Intake::Closed {
            let next = self.queue.remove(0);
            self.step(next);
        }
    }

    fn feed(&mut self, event: &str) {
        if let Some(event) = route(event) {
            self.stream(Input::Event(event));
        }
    }

    fn message_answered(&mut self, recording: &Recording) {
        let answer = match recording.status {
            200 => Ok(recording.answer.clone()),
            404 => Err(ClientError::NotFound("not found".to_owned())),
            status => {
                let status = StatusCode::from_u16(status).unwrap();
                Err(ClientError::Refused { status, message: None, reference: None })
            }
        };
        self.step(Input::Answer(Tag::Prompt, answer));
    }

    /// Lets the timers fire that are armed for the end of a turn.
    fn fire_rest(&mut self) {
        for _ in 0..4 {
            for timer in std::mem::take(&mut self.timers) {
                self.step(Input::Timer(timer));
            }
        }
    }

    /// Returns the persistent events of the turn's own session: finished texts, finished calls, ends of steps.
    fn lasting(&self) -> Vec<String> {
        let lasting = |signal: &Signal| match signal {
            Signal::Event(observed) if observed.sub_agent.is_none() => match &observed.event {
                Event::Text { text, .. } | Event::Reasoning { text, .. } if text.is_empty() => None,
                Event::Text { .. } | Event::Reasoning { .. } | Event::StepFinish { .. } => {
                    Some(format!("{:?}", observed.event))
                }
                Event::Tool(call) if call.state.is_final() => Some(format!("{call:?}")),
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
        let mut lines: Vec<_> = self.signals.iter().filter_map(signal_line).collect();
        lines.dedup();
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// Starts the turn of a recording.
fn begin(recording: &Recording) -> Played {
    let mut prompt = Prompt::new("Please do it.");
    let schema = &recording.about["body"]["format"]["schema"];
    prompt.schema = schema.is_object().then(|| schema.clone());
    let schema = prompt.schema.as_ref().map(|schema| AnswerSchema::read(schema).unwrap());
    let mut played = Played::new(TurnPlan { schema, ..plan(&recording.session, prompt) });
    played.turn.decoder = TurnDecoder::new(SessionId::new(&recording.session), recording.prompt.clone());
    if recording.about["reply"]["reply"] == "reject" {
        played.decision = PermissionAnswer::Reject { reason: String::new() };
    }
    played.messages.clone_from(&recording.messages);
    played.step(Input::Start);
    played
}

/// Plays a recording as it happened.
fn play(recording: &Recording) -> Played {
    let mut played = begin(recording);
    for step in &recording.steps {
        match step {
            Step::Event(event) => played.feed(event),
            Step::Interrupt => played.step(Input::Control(Some(Control::Interrupt))),
            Step::Answer => played.message_answered(recording),
        }
    }
    played
}

#[test]
fn recordings_become_turns() {
    let mut all = String::new();
    for recording in RECORDINGS.iter().filter(|recording| recording.name.starts_with("1.18.33/")) {
        let mut played = play(recording);
        // Without a timer if the events and the answer are complete.
        let late = if played.ends.is_empty() { " (late)" } else { "" };
        played.fire_rest();
        let [ending] = played.ends.as_slice() else { panic!("{}: {:?}", recording.name, played.ends) };
        writeln!(all, "{}\n{}  => {ending:?}{late}", recording.name, played.description()).unwrap();
    }
    insta::assert_snapshot!(all);
}

/// Returns whether the stream contains text that opencode does not store: of failed attempts and interrupted output.
fn keeps_more_than_opencode(recording: &Recording) -> bool {
    let is_interrupted = recording.steps.iter().any(|step| matches!(step, Step::Interrupt));
    is_interrupted || recording.events.iter().any(|event| event.contains("\"retry\""))
}

#[test]
fn disconnects_do_not_change_the_turn() {
    for (number, recording) in RECORDINGS.iter().enumerate() {
        let mut whole = play(recording);
        whole.fire_rest();
        // The final messages contain more than this turn.
        let has_more = recording.name.ends_with("/second-turn");
        if whole.ends != [Ending::Finished] || has_more || keeps_more_than_opencode(recording) {
            continue;
        }
        for lost_at in (number % 9..recording.events.len()).step_by(9) {
            for is_resynced in [true, false] {
                let mut played = begin(recording);
                recording.events[..lost_at].iter().for_each(|event| played.feed(event));
                played.stream(Input::Disconnected);
                if is_resynced {
                    played.stream(Input::Reconnected);
                    recording.events[lost_at..].iter().for_each(|event| played.feed(event));
                }
                played.message_answered(recording);
                played.fire_rest();
                let context = format!("{} after {lost_at} events, resynced: {is_resynced}", recording.name);
                assert_eq!(played.ends, whole.ends, "{context}");
                assert_eq!(played.lasting(), whole.lasting(), "{context}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order, a turn ends once, and ends after the answer to its message at the latest.
    #[test]
    fn turn_ends_once_in_any_order(
        recording in 0..RECORDINGS.len(),
        answers in any::<bool>(),
        picks in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0..16_u8), 0..80),
    ) {
        let recording = &RECORDINGS[recording];
        let mut played = begin(recording);
        played.answers = answers;
        for (event, cut, deed) in picks {
            let event = if recording.events.is_empty() { "" } else { event.get(&recording.events) };
            match deed {
                0 => played.stream(Input::Disconnected),
                1 => played.stream(Input::Reconnected),
                2 => played.feed(&event.chars().take(cut.index(event.len() + 1)).collect::<String>()),
                3 if cut.index(8) == 0 => played.step(Input::Control(Some(Control::Interrupt))),
                4 if cut.index(8) == 0 => played.message_answered(recording),
                5 if cut.index(8) == 0 => played.step(Input::ServerExited("signal: 9".to_owned())),
                6 if !played.timers.is_empty() => {
                    let timer = played.timers.remove(cut.index(played.timers.len()));
                    played.step(Input::Timer(timer));
                }
                7 if played.requests.len() > 1 => {
                    let (tag, _) = played.requests.remove(1 + cut.index(played.requests.len() - 1));
                    let none = Err(ClientError::NoAnswer(String::new()));
                    if cut.index(2) == 0 { played.answer(tag) } else { played.step(Input::Answer(tag, none)) }
                }
                _ => played.feed(event),
            }
            prop_assert!(played.ends.len() <= 1);
        }
        played.message_answered(recording);
        played.fire_rest();
        prop_assert_eq!(played.ends.len(), 1);
        let signals = played.signals.len();
        recording.events.iter().for_each(|event| played.feed(event));
        played.fire_rest();
        prop_assert_eq!(played.ends.len(), 1);
        prop_assert_eq!(played.signals.len(), signals, "nothing is emitted after the end");
    }
}
