//! Replays of real servers' recordings, with all possible faults of the stream.
//!
//! The answer to the message is authoritative: however many events are lost, repeated or late, the turn has the same
//! result.

use super::properties::Message;
use super::*;
use crate::json_text::parse_repaired;
use crate::lines::{Line, Lines};
use crate::protocol::v1::ending::failure_of;
use crate::protocol::v1::recording::{self, Recording};
use opencode_run_core::{Ending, EntryContent, Input, Observed, Prompt, SessionId, TurnMachine, TurnRecord};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};
use tokio_util::io::StreamReader;

/// The recordings whose message was answered with a message.
static RECORDINGS: LazyLock<Vec<&Recording>> = LazyLock::new(|| {
    let is_answered = |recording: &&Recording| {
        recording.status == 200 && recording.answer.starts_with('{') && recording.messages.starts_with('[')
    };
    let recordings: Vec<_> = recording::RECORDINGS.iter().filter(is_answered).collect();
    assert!(recordings.len() > 40, "only {} recordings", recordings.len());
    recordings
});

/// Decodes events like a turn, and then reads the answer. After a disconnect the turn is resynced if `mends` is set.
fn play(recording: &Recording, events: &[String], lost: Range<usize>) -> TurnRecord {
    play_with(recording, events, lost, false)
}

fn play_with(recording: &Recording, events: &[String], lost: Range<usize>, mends: bool) -> TurnRecord {
    let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
    let mut decoder = TurnDecoder::new(SessionId::new(&recording.session), recording.prompt.clone());
    let mut apply = |observed: Observed| {
        turn.apply(Duration::ZERO, &Input::Event(observed));
    };
    let answer: MessageWithParts = parse_repaired(&recording.answer).unwrap();
    for (place, event) in events.iter().enumerate() {
        if mends && place == lost.end {
            let all: Vec<MessageWithParts> = parse_repaired(&recording.messages).unwrap();
            let end: Message = parse_repaired(answer.info.get()).unwrap();
            // The messages whose start was emitted or lost by now.
            let begun = events[..place].concat();
            let exists = |message: &MessageWithParts| {
                let info: Message = parse_repaired(message.info.get()).unwrap();
                info.id <= end.id && begun.contains(&info.id)
            };
            let turns: Vec<_> = all.into_iter().filter(exists).collect();
            decoder.resync(turns).into_iter().for_each(&mut apply);
        }
        if lost.contains(&place) {
            if place == lost.start {
                decoder.mark_disconnected();
            }
            continue;
        }
        // Events of sub-agents differ by design and are not compared.
        let Some(event) = route(event).filter(|event| event.session.as_str() == recording.session) else { continue };
        decoder.decode(event, 0.0).into_iter().for_each(&mut apply);
    }
    if decoder.is_disconnected() || !decoder.has_emitted(&answer.expected()) {
        let all: Vec<MessageWithParts> = parse_repaired(&recording.messages).unwrap();
        // Later turns of the recording are ignored.
        let end: Message = parse_repaired(answer.info.get()).unwrap();
        for message in all {
            let info: Message = parse_repaired(message.info.get()).unwrap();
            if info.id <= end.id {
                decoder.reconcile(message).into_iter().for_each(&mut apply);
            }
        }
    }
    let AnswerEnd { aborted, error, structured, .. } = answer.end().unwrap();
    decoder.reconcile(answer).into_iter().for_each(&mut apply);
    if let Some(value) = structured {
        turn.apply(Duration::ZERO, &Input::Structured(value));
    }
    let ending = match error {
        _ if aborted => Ending::Stopped,
        Some(error) => Ending::Failed(failure_of(error)),
        None => Ending::Finished,
    };
    turn.apply(Duration::ZERO, &Input::Ended(ending));
    turn.into_record()
}

/// Describes the result of a turn, without the texts of errors and refusals.
fn description(record: &TurnRecord) -> String {
    let entries: Vec<String> = record
        .entries
        .iter()
        .filter_map(|entry| match &entry.content {
            // How much of a discarded or unfinished text was emitted depends on timing.
            EntryContent::Text { text, .. } | EntryContent::Reasoning { text, .. } if text.is_empty() => None,
            EntryContent::Text { text, .. } => Some(format!("text {text:?}")),
            EntryContent::Reasoning { text, .. } => Some(format!("reasoning {text:?}")),
            EntryContent::Tool(call) => Some(format!("tool {} {:?} {:?}", call.tool, call.input, call.state)),
            _ => None,
        })
        .collect();
    let kind = record.failure.as_ref().map(opencode_run_core::TurnFailure::kind);
    let state = record.state;
    let steps = record.steps;
    let finish = &record.finish;
    let usage = record.usage;
    format!("{state} {kind:?} {steps} {finish:?} {usage:?}\n{}", entries.join("\n"))
}

fn whole(recording: &Recording) -> String {
    description(&play(recording, &recording.events, 0..0))
}

#[test]
fn messages_alone_give_the_same_turn() {
    for recording in RECORDINGS.iter().copied().filter(|recording| !keeps_more_than_opencode(recording)) {
        let lost = description(&play(recording, &recording.events, 0..recording.events.len()));
        assert_eq!(lost, whole(recording), "{}", recording.name);
    }
}

/// Returns whether the stream contains text that opencode does not store: of failed attempts and interrupted output.
fn keeps_more_than_opencode(recording: &Recording) -> bool {
    let end = read_message(&recording.answer).unwrap().end().unwrap();
    end.aborted || end.error.is_some() && recording.events.iter().any(|event| event.contains("\"retry\""))
}

#[test]
fn half_of_the_stream_gives_the_same_turn() {
    for recording in RECORDINGS.iter().copied().filter(|recording| !keeps_more_than_opencode(recording)) {
        let whole = whole(recording);
        let count = recording.events.len();
        for place in (0..count).step_by(7) {
            let cut = description(&play(recording, &recording.events, place..count));
            assert_eq!(cut, whole, "{} without what is behind {place}", recording.name);
            let late = description(&play(recording, &recording.events, 0..place));
            assert_eq!(late, whole, "{} without what is before {place}", recording.name);
        }
    }
}

/// Decodes a stream without its end and without an answer to the message.
fn decoded(recording: &Recording, events: &[String]) -> TurnRecord {
    let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
    let mut decoder = TurnDecoder::new(SessionId::new(&recording.session), recording.prompt.clone());
    let own =
        events.iter().filter_map(|event| route(event)).filter(|event| event.session.as_str() == recording.session);
    for observed in own.filter_map(|event| decoder.decode(event, 0.0)) {
        turn.apply(Duration::ZERO, &Input::Event(observed));
    }
    turn.into_record()
}

/// Returns whether an early state of an entry is the beginning of its later state.
fn is_begun_by(whole: &EntryContent, begun: &EntryContent) -> bool {
    match (whole, begun) {
        (EntryContent::Text { part, text }, EntryContent::Text { part: same, text: begun })
        | (EntryContent::Reasoning { part, text }, EntryContent::Reasoning { part: same, text: begun }) => {
            // opencode trims trailing blanks when a text is finished.
            part == same && text.starts_with(begun.trim_end())
        }
        (EntryContent::Tool(call), EntryContent::Tool(begun)) => {
            (&call.id, &call.tool) == (&begun.id, &begun.tool) && (!begun.state.is_final() || call == begun)
        }
        (whole, begun) => whole == begun,
    }
}

fn one_of(recordings: usize) -> impl Strategy<Value = &'static Recording> {
    (0..recordings).prop_map(|at| RECORDINGS[at])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn prefix_gives_beginning_of_turn(
        recording in one_of(RECORDINGS.len()),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = decoded(recording, &recording.events);
        let record = decoded(recording, &recording.events[..at.index(recording.events.len() + 1)]);
        prop_assert!(record.entries.len() <= whole.entries.len());
        for (whole, begun) in whole.entries.iter().zip(&record.entries) {
            prop_assert!(is_begun_by(&whole.content, &begun.content), "{:?}: {:?} {:?}", &recording.name, begun, whole);
        }
        prop_assert!(record.steps <= whole.steps && record.usage.total() <= whole.usage.total());
    }

    #[test]
    fn any_lost_part_of_stream_is_recovered(
        recording in one_of(RECORDINGS.len()),
        from in any::<prop::sample::Index>(),
        length in 1_usize..40,
    ) {
        prop_assume!(!keeps_more_than_opencode(recording));
        let from = from.index(recording.events.len());
        let lost = from..(from + length).min(recording.events.len());
        let mended = description(&play_with(recording, &recording.events, lost.clone(), true));
        prop_assert_eq!(mended, whole(recording), "{} with a gap that is made up for", &recording.name);
        prop_assert_eq!(description(&play(recording, &recording.events, lost)), whole(recording), "{}", &recording.name);
    }

    #[test]
    fn repeated_and_foreign_events_change_nothing(
        recording in one_of(RECORDINGS.len()),
        other in one_of(RECORDINGS.len()),
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let mut events = recording.events.clone();
        for place in places {
            let at = place.index(events.len());
            let foreign = &other.events[place.index(other.events.len())];
            if !foreign.contains(&recording.session) {
                events.insert(at, foreign.clone());
            }
            // A repeated delta would append its text twice.
            let again = events[place.index(events.len())].clone();
            if !again.contains("message.part.delta") && !again.contains("\"delta\":") && !again.contains("session.error") {
                let behind = events.iter().position(|event| *event == again).unwrap_or(0);
                events.insert(behind, again);
            }
        }
        prop_assert_eq!(description(&play(recording, &events, 0..0)), whole(recording), "{}", &recording.name);
    }

    #[test]
    fn stream_pieces_do_not_matter(
        recording in one_of(RECORDINGS.len()),
        cuts in prop::collection::vec(1_usize..2000, 1..50),
    ) {
        let mut pieces = Vec::new();
        let stream: Vec<u8> = recording.events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect();
        let mut rest = stream.as_slice();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            pieces.push(Ok::<_, std::io::Error>(std::io::Cursor::new(piece.to_vec())));
            rest = behind;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let decoded: Vec<String> = runtime.block_on(async {
            let mut lines = Lines::new(StreamReader::new(futures_util::stream::iter(pieces)), 1 << 20);
            let mut decoded = Vec::new();
            while let Some(line) = lines.next().await {
                let Line::Whole(line) = line else { panic!("too long") };
                decoded.extend(line.strip_prefix(b"data:").map(|data| String::from_utf8(data.to_vec()).unwrap()));
            }
            decoded
        });
        let decoded: Vec<String> = decoded.iter().map(|data| data.trim().to_owned()).collect();
        prop_assert_eq!(&decoded, &recording.events);
    }
}
