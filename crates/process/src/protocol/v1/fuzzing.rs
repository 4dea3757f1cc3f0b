//! Properties that hold for any output of opencode 1.

use super::events::{self, Decoded};
use super::stream::{TurnDecoder, read_message, read_messages, route};
use crate::json_text::{parse_repaired, repair_surrogates};
use crate::protocol::SessionEvent;
use opencode_run_core::{
    Conversation, Ending, Event, Input, Observed, Prompt, RunState, SessionId, StepReason, Task, TurnMachine,
};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Asserts for output of `opencode run` that each line becomes an event that keeps it, that an event does not depend on
/// the spelling of its JSON, and that the turn's record is sound.
///
/// # Panics
///
/// If a property is violated.
pub fn run_output(output: &[u8]) {
    let mut turn = new_turn();
    for line in output.split(|byte| *byte == b'\n') {
        let decoded = events::decode(line);
        let text = String::from_utf8_lossy(line);
        let text = repair_surrogates(&text);
        is_kept(&text, &decoded);
        does_not_depend_on_the_spelling(&text, &decoded.observed.event);
        turn.apply(Duration::ZERO, &Input::Event(decoded.observed));
    }
    assert_sound(turn);
}

/// Asserts that the event contains the line, as JSON.
fn is_kept(text: &str, Decoded { session, observed }: &Decoded) {
    let raw = observed.raw.as_ref().map_or("", |raw| raw.get());
    let unreadable =
        matches!(&observed.event, Event::Unknown { kind, .. } if kind == "unreadable") && !raw.starts_with('{');
    if unreadable {
        assert_eq!(parse_repaired::<String>(raw).ok().as_deref(), Some(text));
        assert_eq!(*session, None);
    } else {
        assert!(raw.starts_with('{'), "an event from a text that is not an object: {text}");
        assert_eq!(raw, text.trim_matches([' ', '\t', '\n', '\r']));
    }
    if let Event::Unknown { raw: of_event, .. } = &observed.event {
        assert_eq!(of_event.get(), raw);
    }
}

fn does_not_depend_on_the_spelling(text: &str, event: &Event) {
    let Ok(value) = parse_repaired::<Value>(text) else { return };
    let respelt = events::decode(value.to_string().as_bytes()).observed.event;
    match (event, &respelt) {
        // A duplicate name makes a difference when the second is removed.
        (Event::Unknown { .. } | Event::Error(_), _) => {}
        // A number may differ in its last digit.
        (Event::StepFinish { reason, .. }, Event::StepFinish { reason: respelt, .. }) => assert_eq!(reason, respelt),
        (Event::Tool(call), Event::Tool(respelt)) => {
            assert_eq!((&call.id, &call.tool, &call.state), (&respelt.id, &respelt.tool, &respelt.state));
        }
        _ => assert_eq!(event, &respelt),
    }
}

/// Asserts for a server's stream, one event per line, that each event of a session is emitted with all of its content
/// or contains nothing new, that a repeated state changes nothing, and that the turn's record is sound.
///
/// An empty line is a disconnect, a list of messages is a resync, and a single message is the answer at the end.
///
/// # Panics
///
/// If a property is violated.
pub fn serve_stream(frames: &str) {
    let frames = &*repair_surrogates(frames);
    let mut once = DecodedTurn::new();
    let mut twice = DecodedTurn::new();
    for frame in frames.split('\n') {
        once.take(frame);
        twice.take(frame);
        if is_a_state(frame) {
            twice.take(frame);
        }
    }
    assert_eq!(once.turn.record(), twice.turn.record());
    assert_sound(once.turn);
}

/// Returns whether a line reports a state, so that repeating it changes nothing.
fn is_a_state(frame: &str) -> bool {
    let Some(event) = route(frame) else { return true };
    let grows = frame.contains("delta") || frame.contains('\\');
    is_an_ask(&event) || (["message.updated", "message.part.updated"].contains(&event.kind.as_str()) && !grows)
}

fn is_an_ask(event: &SessionEvent) -> bool {
    ["permission.asked", "question.asked"].contains(&event.kind.as_str())
}

/// A turn whose stream is decoded.
struct DecodedTurn {
    decoder: Option<(SessionId, TurnDecoder)>,
    turn: TurnMachine,
}

impl DecodedTurn {
    fn new() -> Self {
        Self { decoder: None, turn: new_turn() }
    }

    fn take(&mut self, frame: &str) {
        let decoder = self.decoder.as_mut().map(|(_, decoder)| decoder);
        // The kind of a line does not depend on earlier lines: a repeated line has the same kind.
        let emitted = if frame.is_empty() {
            decoder.into_iter().for_each(TurnDecoder::mark_disconnected);
            Vec::new()
        } else if let Some(messages) = read_messages(frame) {
            decoder.map(|decoder| decoder.resync(messages)).unwrap_or_default()
        } else if let Some(message) = read_message(frame) {
            decoder.map(|decoder| decoder.reconcile(message)).unwrap_or_default()
        } else {
            route(frame).and_then(|event| self.event(frame, &event)).into_iter().collect()
        };
        for observed in emitted {
            self.turn.apply(Duration::ZERO, &Input::Event(observed));
        }
    }

    /// Decodes an event; the turn's session is that of the first event.
    fn event(&mut self, frame: &str, event: &SessionEvent) -> Option<Observed> {
        assert!(frame.contains(event.raw.get()));
        let (session, decoder) = self.decoder.get_or_insert_with(|| {
            let session = event.session.clone();
            (session.clone(), TurnDecoder::new(session, "msg_".to_owned()))
        });
        let observed = decoder.decode(event.clone(), 0.0);
        let Some(observed) = observed else {
            assert!(event.kind.starts_with("message.part.") || is_an_ask(event), "{} is lost", event.kind);
            return None;
        };
        assert_eq!(observed.raw.as_ref(), Some(&event.raw));
        assert_eq!(observed.sub_agent.as_ref(), Some(&event.session).filter(|of| *of != session));
        if let Event::Unknown { kind, raw } = &observed.event {
            assert_eq!((kind, raw), (&event.kind, &event.raw));
        }
        Some(observed)
    }
}

pub(in crate::protocol) fn new_turn() -> TurnMachine {
    TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH)
}

/// Asserts that the turn ends, and that its record is consistent and can be stored.
pub(in crate::protocol) fn assert_sound(mut turn: TurnMachine) {
    let changes = turn.apply(Duration::ZERO, &Input::Ended(Ending::Finished));
    assert_eq!(changes.ended, Some(turn.state()));
    let record = turn.into_record();
    assert_eq!(record.failure.is_some(), record.state == RunState::Error);
    if record.state == RunState::Completed {
        assert!(record.finish.as_ref().is_some_and(StepReason::is_terminal));
    }
    let output = record.output();
    assert_eq!(record.output_len(), output.len());
    let mut conversation = Conversation::new(Task::new("t", "/t"));
    conversation.turns.push(Arc::new(record.clone()));
    let json = serde_json::to_string(&conversation).unwrap_or_default();
    match parse_repaired::<Conversation>(&json) {
        Ok(Conversation { turns, .. }) => {
            let read = &turns[0];
            assert_eq!((read.output(), read.entries.len()), (output, record.entries.len()));
            assert_eq!((read.state, read.usage, &read.finish), (record.state, record.usage, &record.finish));
        }
        Err(error) => panic!("a record cannot be read again: {error}: {json}"),
    }
}

#[cfg(test)]
mod tests;
