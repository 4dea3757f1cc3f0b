//! Fuzzes the Markdown rendering. In the input, byte 29 separates turns and byte 30 separates the texts of a turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opencode_run_markdown::fuzzing::{FuzzTurn, holds_every_line, keeps_its_shape};

fuzz_target!(|conversation: &str| {
    let turns: Vec<FuzzTurn> = conversation.split('\u{1d}').map(fuzz_turn).collect();
    // Only one of the two properties per input, because rendering is slow.
    if conversation.len().is_multiple_of(2) {
        keeps_its_shape(&turns, conversation.len() / 8);
    } else {
        holds_every_line(&turns);
    }
});

fn fuzz_turn(turn: &str) -> FuzzTurn {
    let mut texts = turn.split('\u{1e}').map(str::to_owned);
    let mut text = || texts.next().unwrap_or_default();
    FuzzTurn {
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
