//! Properties that hold for any stream of opencode 2.

use super::decoder::Decoder;
use super::routing::route;
use crate::json_text::repair_surrogates;
use crate::protocol::v1::fuzzing::{assert_sound, new_turn};
use opencode_run_core::{Event, Input, Observed, PartId, SessionId};
use std::collections::HashSet;
use std::time::Duration;

/// Asserts for a server's stream, one event per line, that each event of a session keeps its JSON, that a finished text is
/// emitted once and has no later delta, that the same events again add no text, and that the turn's record is sound.
///
/// The turn's session is that of the first event.
///
/// # Panics
///
/// If a property is violated.
pub fn serve2_stream(frames: &str) {
    let frames = &*repair_surrogates(frames);
    let mut turn = new_turn();
    let mut decoder: Option<(SessionId, Decoder)> = None;
    let mut finished: HashSet<(Option<SessionId>, PartId)> = HashSet::new();
    // opencode may send every event again after a reconnect.
    for is_repeated in [false, true] {
        for frame in frames.split('\n') {
            let Some(event) = route(frame) else { continue };
            assert!(frame.contains(event.raw.get()));
            let (own, decoder) =
                decoder.get_or_insert_with(|| (event.session.clone(), Decoder::new(event.session.clone())));
            let Some(observed) = decoder.decode(event.clone(), 0.0) else { continue };
            assert_eq!(observed.raw.as_ref(), Some(&event.raw));
            assert_eq!(observed.sub_agent.as_ref(), Some(&event.session).filter(|session| *session != own));
            check_part(&observed, &mut finished);
            if !is_repeated {
                turn.apply(Duration::ZERO, &Input::Event(observed));
            }
        }
    }
    assert_sound(turn);
}

/// Asserts that a text or reasoning part ends once, and that no delta follows.
fn check_part(observed: &Observed, finished: &mut HashSet<(Option<SessionId>, PartId)>) {
    let key = |part: &PartId| (observed.sub_agent.clone(), part.clone());
    match &observed.event {
        Event::Text { part, .. } | Event::Reasoning { part, .. } => {
            assert!(finished.insert(key(part)), "a finished part is emitted again");
        }
        Event::TextDelta { part, .. } | Event::ReasoningDelta { part, .. } => {
            assert!(!finished.contains(&key(part)), "a delta follows its finished part");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Returns the events of the recordings, in order.
    fn recorded() -> Vec<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/v2");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
        let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let events = lines.filter_map(|line| crate::json_text::parse::<Value>(&line).unwrap().get("event").cloned());
        events.map(|event| event.to_string()).collect()
    }

    #[test]
    fn recordings_keep_all_properties() {
        let events = recorded();
        assert!(events.len() > 300, "{}", events.len());
        serve2_stream(&events.join("\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn shuffled_recordings_keep_all_properties(
            picks in proptest::collection::vec(any::<proptest::sample::Index>(), 0..60)
        ) {
            let events = recorded();
            let chosen: Vec<&str> = picks.iter().map(|pick| events[pick.index(events.len())].as_str()).collect();
            serve2_stream(&chosen.join("\n"));
        }
    }
}
