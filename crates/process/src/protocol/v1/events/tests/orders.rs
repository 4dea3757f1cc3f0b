//! Real output in other pieces, truncated, and in another order.

use super::*;
use crate::lines::Line;
use crate::lines::fuzzing::cut;
use opencode_run_core::{Entry, FailureKind, RunState, StepReason, Usage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::LazyLock;

static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(recordings);

/// The result of a turn without the text of its failure.
#[derive(Debug, PartialEq)]
struct Outcome {
    state: RunState,
    failure: Option<FailureKind>,
    entries: Vec<Entry>,
    steps: u32,
    finish: Option<StepReason>,
    usage: Usage,
}

impl From<TurnRecord> for Outcome {
    fn from(record: TurnRecord) -> Self {
        let TurnRecord { state, failure, entries, steps, finish, usage, .. } = record;
        Self { state, failure: failure.map(|failure| failure.kind()), entries, steps, finish, usage }
    }
}

/// Replays a recording with this stdout, in pieces that end at these indices.
fn in_pieces(recording: &Recording, stdout: &[u8], ends: &[Index]) -> TurnRecord {
    let mut ends: Vec<_> = ends.iter().map(|end| end.index(stdout.len() + 1)).chain([0, stdout.len()]).collect();
    ends.sort_unstable();
    let pieces: Vec<_> = ends.windows(2).map(|pair| stdout[pair[0]..pair[1]].to_vec()).collect();
    let lines = cut(&pieces, usize::MAX).into_iter().map(|line| match line {
        Line::Whole(line) => line,
        Line::TooLong(_) => panic!("there is no limit"),
    });
    replay_with(recording, &lines.collect::<Vec<_>>())
}

fn bytes(recording: &Recording) -> Vec<u8> {
    recording.stdout.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

/// Sorts the events within each step by the keys.
fn shuffled(stdout: &[String], keys: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> = stdout.to_vec();
    let is_of_step = |line: &String| !["\"step_start\"", "\"step_finish\""].iter().any(|kind| line.contains(kind));
    let mut keys = keys.iter().cycle();
    for step in lines.chunk_by_mut(|a, b| is_of_step(a) && is_of_step(b)) {
        step.sort_by_cached_key(|_| keys.next());
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_pieces_give_the_same_turn(recording in any::<Index>(), ends in vec(any::<Index>(), 0..40)) {
        let recording = recording.get(&RECORDINGS);
        prop_assert_eq!(in_pieces(recording, &bytes(recording), &ends), replay(recording));
    }

    #[test]
    fn prefix_gives_beginning_of_turn(recording in any::<Index>(), at in any::<Index>(), ends in vec(any::<Index>(), 0..4)) {
        let recording = recording.get(&RECORDINGS);
        // Its summary is recognised by the line after it, and replaced by an empty text.
        prop_assume!(!recording.name.ends_with("/compacted"));
        let all = bytes(recording);
        let whole = replay(recording);
        let record = in_pieces(recording, &all[..at.index(all.len() + 1)], &ends);
        prop_assert!(whole.entries.starts_with(&record.entries));
        prop_assert!(whole.output().starts_with(&record.output()));
        prop_assert!(record.steps <= whole.steps && record.usage.total() <= whole.usage.total());
        // A prefix never counts as completed if the whole does not.
        prop_assert!(record.state != RunState::Completed || whole.state == RunState::Completed);
    }

    #[test]
    fn stdout_and_stderr_may_interleave(recording in any::<Index>(), choices in vec(any::<bool>(), 0..40)) {
        let recording = recording.get(&RECORDINGS);
        let mut replay = Replay::new(recording);
        let mut stdout = recording.stdout.iter();
        let mut stderr = recording.stderr.iter();
        for from_stderr in choices {
            if from_stderr {
                replay.stderr(stderr.by_ref().take(1));
            } else {
                replay.stdout(stdout.by_ref().take(1));
            }
        }
        replay.stdout(stdout);
        replay.stderr(stderr);
        prop_assert_eq!(Outcome::from(replay.end(recording)), Outcome::from(super::replay(recording)));
    }

    #[test]
    fn unknown_lines_change_nothing(recording in any::<Index>(), places in vec((any::<Index>(), "[ -~]{0,20}"), 0..4)) {
        let recording = recording.get(&RECORDINGS);
        let mut lines: Vec<_> = recording.stdout.iter().map(|line| line.clone().into_bytes()).collect();
        for (at, text) in places {
            let at = at.index(lines.len() + 1);
            lines.insert(at, json!({"type": "of.later", "sessionID": "ses_later", "text": text}).to_string().into_bytes());
            lines.insert(at, text.into_bytes());
        }
        prop_assert_eq!(replay_with(recording, &lines), replay(recording));
    }

    #[test]
    fn parallel_events_may_be_reordered(recording in any::<Index>(), keys in vec(any::<u8>(), 1..40)) {
        let recording = recording.get(&RECORDINGS);
        let sorted = |record: TurnRecord| {
            let mut outcome = Outcome::from(record);
            outcome.entries.sort_by_cached_key(|entry| format!("{entry:?}"));
            outcome
        };
        let told = replay_with(recording, &shuffled(&recording.stdout, &keys));
        prop_assert_eq!(sorted(told), sorted(replay(recording)));
    }
}
