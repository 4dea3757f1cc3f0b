//! Complete recordings, from the lines to the outcome of the turn.

use super::*;
use std::fmt::Write;

#[test]
fn recordings_have_the_expected_outcomes() {
    let mut table = String::new();
    for recording in recordings() {
        let record = replay(&recording);
        let kind = record.failure.as_ref().map_or(String::new(), |failure| format!(" {}", failure.kind()));
        let finish = record.finish.as_ref().map_or("-".to_owned(), ToString::to_string);
        writeln!(table, "{}: {}{kind}, {} steps, last {finish}", recording.name, record.state, record.steps).unwrap();
        if !record.output().is_empty() {
            let output: String = record.output().replace('\n', "\\n").chars().take(140).collect();
            writeln!(table, "    > {}", output.trim_end()).unwrap();
        }
        if let Some(failure) = &record.failure {
            let message: String = failure.to_string().lines().next().unwrap_or_default().chars().take(140).collect();
            writeln!(table, "    ! {message}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn truncated_recording_is_never_completed() {
    for mut recording in recordings() {
        recording.exit = ProcessExit::Code(0);
        recording.stderr.clear();
        while recording.stdout.pop().is_some() {
            let record = replay(&recording);
            // opencode may emit its own events after a step; the last step and later errors decide.
            let last = recording.stdout.iter().rev().map(|line| decode(line.as_bytes()).observed.event);
            let last = last
                .into_iter()
                .find(|event| matches!(event, Event::StepStart | Event::StepFinish { .. } | Event::Error(_)));
            let ended = matches!(&last, Some(Event::StepFinish { reason, .. }) if reason.is_terminal());
            assert_eq!(record.state.to_string() == "completed", ended, "{}: {last:?}", recording.name);
        }
    }
}
