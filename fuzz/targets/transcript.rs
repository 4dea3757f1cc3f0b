//! A conversation as Markdown. The byte 29 ends a turn, and 30 a text in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_markdown::fuzzing::{Said, holds_every_line, keeps_its_shape};

fuzz_target!(|conversation: &str| {
    let said: Vec<Said> = conversation.split('\u{1d}').map(said).collect();
    // One of the two for each, since a transcript takes its time.
    if conversation.len().is_multiple_of(2) {
        keeps_its_shape(&said, conversation.len() / 8);
    } else {
        holds_every_line(&said);
    }
});

fn said(turn: &str) -> Said {
    let mut texts = turn.split('\u{1e}').map(str::to_owned);
    let mut text = || texts.next().unwrap_or_default();
    Said {
        message: text(),
        thought: text(),
        tool: text(),
        given: text(),
        output: text(),
        failure: text(),
        context: texts.next(),
        answers: texts.collect(),
    }
}
