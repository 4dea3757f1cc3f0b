//! Streams of a turn that are complete, broken, repeated, or mixed with foreign events.

use super::*;
use opencode_run_core::{Entry, EntryContent, TurnRecord, Usage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

/// A part of an answer.
#[derive(Debug, Clone)]
enum Part {
    StepStart,
    /// The deltas, and whether it is reasoning.
    Text(Vec<String>, bool),
    /// The output of the tool, or its error.
    Tool(Result<String, String>),
    StepFinish(&'static str, u32),
}

/// A generated turn: the server's events, and the final messages.
#[derive(Debug, Clone)]
struct GeneratedTurn {
    events: Vec<String>,
    messages: Vec<String>,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        Just(Part::StepStart),
        (vec("[a-z\"\\\\\n]{0,6}", 0..4), any::<bool>()).prop_map(|(deltas, thought)| Part::Text(deltas, thought)),
        "[a-z]{0,6}".prop_map(|output| Part::Tool(Ok(output))),
        Just(Part::Tool(Err("The user rejected permission".to_owned()))),
        (prop::sample::select(vec!["stop", "tool-calls", "length", "unknown"]), 0..9_u32)
            .prop_map(|(reason, tokens)| Part::StepFinish(reason, tokens)),
    ]
}

fn generated_turn() -> impl Strategy<Value = GeneratedTurn> {
    vec(vec(part(), 0..6), 1..4).prop_map(|messages| {
        let mut generated_turn = GeneratedTurn { events: vec![message("msg_1", "user")], messages: Vec::new() };
        for (number, parts) in (2..).zip(messages) {
            generated_turn.message(&format!("msg_{number}"), &parts);
        }
        generated_turn
    })
}

fn event(kind: &str, properties: &Value) -> String {
    json!({"directory": "/t", "payload": {"type": kind, "properties": properties}}).to_string()
}

fn message(id: &str, role: &str) -> String {
    event("message.updated", &json!({"sessionID": "ses_1", "info": {"id": id, "role": role, "sessionID": "ses_1"}}))
}

impl GeneratedTurn {
    fn message(&mut self, id: &str, parts: &[Part]) {
        self.events.push(message(id, "assistant"));
        let number = |(number, part)| (format!("prt_{id}_{number}"), part);
        let whole: Vec<_> = (0..).zip(parts).map(number).map(|(part_id, part)| self.part(id, &part_id, part)).collect();
        self.events.push(message(id, "assistant"));
        self.messages.push(json!({"info": {"id": id, "role": "assistant"}, "parts": whole}).to_string());
    }

    /// Adds the events of a growing part, and returns its final state.
    fn part(&mut self, message: &str, id: &str, part: &Part) -> Value {
        let place = json!({"id": id, "messageID": message, "sessionID": "ses_1"});
        let mut add_events = |part: Value| self.part_stands(&place, part);
        match part {
            Part::StepStart => add_events(json!({"type": "step-start"})),
            Part::StepFinish(reason, tokens) => {
                add_events(json!({"type": "step-finish", "reason": reason, "tokens": {"input": tokens}, "cost": 0}))
            }
            Part::Tool(answer) => {
                let call = |state: Value| json!({"type": "tool", "tool": "x", "state": state});
                add_events(call(json!({"status": "pending", "input": {}})));
                add_events(call(json!({"status": "running", "input": {"a": 1}})));
                add_events(call(match answer {
                    Ok(output) => json!({"status": "completed", "input": {"a": 1}, "output": output, "title": "t"}),
                    Err(error) => json!({"status": "error", "input": {"a": 1}, "error": error}),
                }))
            }
            Part::Text(deltas, thought) => {
                let kind = if *thought { "reasoning" } else { "text" };
                add_events(json!({"type": kind, "text": "", "time": {"start": 1}}));
                for delta in deltas {
                    let grown = json!({"sessionID": "ses_1", "partID": id, "field": "text", "delta": delta});
                    self.events.push(event("message.part.delta", &grown));
                }
                self.part_stands(&place, json!({"type": kind, "text": deltas.concat(), "time": {"start": 1, "end": 2}}))
            }
        }
    }

    /// Adds the event of a part's state.
    fn part_stands(&mut self, place: &Value, part: Value) -> Value {
        let fields = [place.clone(), part].into_iter().filter_map(|fields| fields.as_object().cloned());
        let part: Value = fields.flatten().collect();
        self.events.push(event("message.part.updated", &json!({"sessionID": "ses_1", "part": part})));
        part
    }
}

/// Generates events that belong to no turn or to another one, or contain nothing new.
fn noise() -> impl Strategy<Value = String> {
    let old = json!({"id": "prt_0", "messageID": "msg_0", "type": "text", "text": "old", "time": {"end": 1}});
    let own = json!({"id": "prt_1", "messageID": "msg_1", "type": "text", "text": "the prompt", "time": {"end": 1}});
    prop::sample::select(vec![
        message("msg_0", "assistant"),
        event("message.part.updated", &json!({"sessionID": "ses_1", "part": old})),
        event("message.part.updated", &json!({"sessionID": "ses_1", "part": own})),
        event("message.part.delta", &json!({"sessionID": "ses_1", "partID": "prt_0", "field": "text", "delta": "old"})),
        event("session.status", &json!({"sessionID": "ses_1", "status": {"type": "idle"}})),
        event("session.idle", &json!({"sessionID": "ses_1"})),
        event("session.error", &json!({"sessionID": "ses_1", "error": {"name": "MessageAbortedError"}})),
        event("of.later", &json!({"sessionID": "ses_1", "text": "?"})),
        event("file.edited", &json!({"file": "/t/a"})),
        event("sync", &json!({"sessionID": "ses_1"})),
        "no JSON".to_owned(),
        "{}".to_owned(),
    ])
}

/// Decodes the events, then reads the messages.
fn decoded<'f>(frames: impl IntoIterator<Item = &'f String>, messages: &'f [String]) -> TurnRecord {
    let mut decoded = DecodedTurn::new();
    let session = SessionId::new("ses_1");
    decoded.decoder = Some((session.clone(), TurnDecoder::new(session, "msg_1".to_owned())));
    for frame in frames.into_iter().chain(messages) {
        decoded.take(frame);
    }
    decoded.turn.into_record()
}

/// Returns the output of a turn, sorted.
fn produced(record: &TurnRecord) -> (Vec<Entry>, u32, Usage) {
    let mut entries = record.entries.clone();
    entries.retain(|entry| {
        // An empty text is emitted only if its start was seen.
        !matches!(&entry.content, EntryContent::Text { text, .. } | EntryContent::Reasoning { text, .. } if text.is_empty())
    });
    entries.sort_by_cached_key(|entry| format!("{:?}", entry.content));
    (entries, record.steps, record.usage)
}

#[test]
fn message_line_before_session_is_recognized() {
    let both = json!({
        "info": {"id": "msg_1", "role": "assistant"},
        "payload": {"type": "message.updated", "properties": {"sessionID": "ses_1", "info": {"id": "msg_2"}}},
    });
    let part = json!({"id": "p", "messageID": "msg_1", "sessionID": "ses_2", "type": "text", "text": ""});
    let begun = event("message.part.updated", &json!({"sessionID": "ses_2", "part": part}));
    let grown = json!({"sessionID": "ses_2", "partID": "p", "field": "text", "delta": "a"});
    serve_stream(&[both.to_string(), begun, event("message.part.delta", &grown)].join("\n"));
}

/// The seeds `surrogates` of the fuzz targets are longer forms of these.
#[test]
fn half_surrogate_pairs_are_read_anywhere() {
    let part = r#"{"id":"prt_1","messageID":"msg_1","type":"tool","callID":"\ud83d","tool":"read","state":{"status":"completed",
        "input":{"\ude00":"\ud83d"},"output":"cut \ud83d","title":"\ud83d"}}"#.replace('\n', "");
    let begun = message("msg_1", "assistant");
    let tool = format!(
        r#"{{"payload":{{"type":"message.part.updated","properties":{{"sessionID":"ses_1","part":{part}}}}}}}"#
    );
    let frames = [begun, tool.clone()].join("\n");
    serve_stream(&frames);
    let mut turn = DecodedTurn::new();
    repair_surrogates(&frames).split('\n').for_each(|frame| turn.take(frame));
    let is_whole = |entry: &Entry| matches!(&entry.content, EntryContent::Tool(call) if call.state.is_final());
    assert!(turn.turn.record().entries.iter().any(is_whole), "{:?}", turn.turn.record());
    run_output(format!(r#"{{"type":"tool_use","sessionID":"ses_1","part":{part}}}"#).as_bytes());
}

/// Returns the part that an event belongs to; `None` for a message, and for the start and end of a step, which delimit
/// the others.
fn part_of(event: &str) -> Option<String> {
    let event: Value = crate::json_text::parse_repaired(event).unwrap();
    let properties = &event["payload"]["properties"];
    let is_step = properties["part"]["type"].as_str().is_some_and(|kind| kind.starts_with("step-"));
    let id = properties["partID"].as_str().or_else(|| properties["part"]["id"].as_str());
    id.filter(|_| !is_step).map(str::to_owned)
}

/// Interleaves the events of the parts of each step according to the choices. The events of one part keep their order.
fn at_once(events: &[String], choices: &[Index]) -> Vec<String> {
    let mut choices = choices.iter().cycle();
    let mut generated_turn = Vec::new();
    for step in events.chunk_by(|a, b| part_of(a).is_some() == part_of(b).is_some()) {
        let mut parts: Vec<_> = step.chunk_by(|a, b| part_of(a) == part_of(b)).collect();
        if part_of(&step[0]).is_none() {
            generated_turn.extend_from_slice(step);
            continue;
        }
        while let (false, Some(choice)) = (parts.is_empty(), choices.next()) {
            let at = choice.index(parts.len());
            let (event, rest) = parts[at].split_first().unwrap();
            generated_turn.push(event.clone());
            parts[at] = rest;
            parts.retain(|part| !part.is_empty());
        }
    }
    generated_turn
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn messages_add_nothing_to_complete_stream(generated_turn in generated_turn()) {
        prop_assert_eq!(decoded(&generated_turn.events, &generated_turn.messages), decoded(&generated_turn.events, &[]));
    }

    #[test]
    fn foreign_events_change_nothing(generated_turn in generated_turn(), noise in vec((any::<Index>(), noise()), 0..8)) {
        let mut events = generated_turn.events.clone();
        for (at, frame) in noise {
            events.insert(at.index(events.len() + 1), frame);
        }
        prop_assert_eq!(decoded(&events, &generated_turn.messages), decoded(&generated_turn.events, &[]));
    }

    #[test]
    fn repeated_events_change_nothing(generated_turn in generated_turn(), again in vec((any::<Index>(), any::<Index>()), 0..8)) {
        let states: Vec<_> = generated_turn.events.iter().filter(|event| is_a_state(event)).collect();
        let mut events: Vec<_> = generated_turn.events.iter().map(|event| vec![event]).collect();
        for (of, at) in again {
            // A state may be repeated after a later one, but not before it first occurred.
            let state = *of.get(&states);
            let first = generated_turn.events.iter().position(|event| event == state).unwrap_or_default();
            let at = first + at.index(generated_turn.events.len() - first);
            events[at].push(state);
        }
        prop_assert_eq!(decoded(events.into_iter().flatten(), &generated_turn.messages), decoded(&generated_turn.events, &[]));
    }

    #[test]
    fn lost_events_are_read_from_messages(generated_turn in generated_turn(), gaps in vec((any::<Index>(), 0..12_usize), 1..4)) {
        let mut events: Vec<_> = generated_turn.events.iter().map(Some).collect();
        let gap = String::new();
        for (at, length) in gaps {
            let at = at.index(events.len());
            let end = events.len().min(at + length);
            events[at..end].fill(None);
            if let Some(first) = events.get_mut(at) {
                *first = Some(&gap);
            }
        }
        let torn = decoded(events.into_iter().flatten(), &generated_turn.messages);
        prop_assert_eq!(produced(&torn), produced(&decoded(&generated_turn.events, &[])));
    }

    #[test]
    fn parallel_parts_may_interleave(generated_turn in generated_turn(), choices in vec(any::<Index>(), 1..40)) {
        let in_order = decoded(&generated_turn.events, &[]);
        let mixed = decoded(&at_once(&generated_turn.events, &choices), &[]);
        prop_assert_eq!(produced(&mixed), produced(&in_order));
        prop_assert_eq!(mixed.finish, in_order.finish);
    }
}
