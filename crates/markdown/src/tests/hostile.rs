//! The transcript keeps its structure with any text, as judged by a real Markdown parser.

use super::{conversation, event, finished, record, step_finish, text};
use crate::fuzzing::{FuzzTurn, holds_every_line, keeps_its_shape};
use crate::{DEFAULT_TOOL_TEXT_LIMIT, MarkdownOptions, conversation_markdown};
use opencode_run_core::{Prompt, StepReason};
use proptest::prelude::*;

/// Texts of pieces that are special in Markdown or for a terminal, and of arbitrary characters.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = [
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        " ",
        "    ",
        "\t",
        "# ",
        "## Turn 9",
        "### End",
        "===",
        "---",
        "> ",
        "- ",
        "1. ",
        "+ x",
        "```",
        "````",
        "~~~",
        "`",
        "``",
        "```rust\n",
        "<",
        ">",
        "</details>",
        "<details>",
        "<summary>",
        "<!--",
        "-->",
        "<div>",
        "</div>",
        "<pre>",
        "<script>",
        "<![CDATA[",
        "<?",
        "<a href=\"",
        "\">",
        "Vec<T>",
        "<b",
        "[1]: /x",
        "[1]",
        "[a]:\n/x",
        "[^1]: n",
        "[^1]",
        "[x](y)",
        "![",
        "![i](https://x.org/a)",
        "| a | b |\n|---|---|\n",
        "*",
        "**",
        "_",
        "\\",
        "\\\\",
        "&lt;",
        "&",
        "$$",
        "\u{1b}[31m",
        "\0",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "word",
        "é",
        "👩‍💻",
        "⟨",
        "␛",
    ];
    let piece = prop_oneof![20 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn fuzz_turn() -> impl Strategy<Value = FuzzTurn> {
    let one = hostile;
    let answers = prop::collection::vec(hostile(), 0..3);
    (one(), prop::option::of(one()), one(), one(), one(), one(), one(), answers).prop_map(
        |(message, context, thought, tool, given, output, failure, answers)| FuzzTurn {
            message,
            context,
            thought,
            tool,
            given,
            output,
            failure,
            answers,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn transcript_has_conversation_structure(turns in prop::collection::vec(fuzz_turn(), 0..3)) {
        keeps_its_shape(&turns, DEFAULT_TOOL_TEXT_LIMIT);
    }

    #[test]
    fn truncated_texts_keep_structure(turn in fuzz_turn(), limit in 0..40_usize) {
        keeps_its_shape(&[turn], limit);
    }

    #[test]
    fn every_line_is_included(turn in fuzz_turn()) {
        holds_every_line(&[turn]);
    }
}

#[test]
fn unquotable_text_is_shown_as_code() {
    let many: String = (0..100).map(|_| "[1]: /x\n\n").collect();
    let turn =
        record(&Prompt::new(&many), [event(text("p", "Fine.")), event(step_finish(StepReason::Stop)), finished()]);
    let markdown = conversation_markdown(&conversation([turn]), &MarkdownOptions::default());
    assert!(markdown.contains(&format!("```markdown\n{many}```")), "{markdown}");
    keeps_its_shape(&[FuzzTurn { answers: vec![many], ..FuzzTurn::default() }], 0);
}
