//! Markdown of others as a block quote that nothing reaches out of.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use std::ops::Range;

/// How often a text is mended before it is given up and shown as code. Each round mends all that is live in it; a further
/// one is only needed where the mending brought something new to life.
const ROUNDS: usize = 16;

/// Returns the Markdown as a quote with HTML and definitions of links and footnotes turned into text and with links in the
/// place of images from elsewhere; none where that could not be reached.
///
/// None of it would stay within its quote: an open comment hides what follows, a definition holds for the whole document,
/// and an image tells its server who reads the transcript, and all that the agent wrote into its address.
pub(crate) fn quoted(markdown: &str) -> Option<String> {
    let mark = |line: &str| if line.is_empty() { ">".to_owned() } else { format!("> {line}") };
    // Marked first and mended then: within a quote a tab is less wide, and what was indented code may be HTML.
    let mut markdown = markdown.lines().map(mark).collect::<Vec<_>>().join("\n");
    for _ in 0..ROUNDS {
        let live = live(&markdown);
        if live.is_empty() {
            return Some(markdown);
        }
        let mut mended = String::with_capacity(markdown.len() + live.len());
        let mut done = 0;
        for at in live {
            mended.push_str(&markdown[done..at]);
            mended.push('\\');
            done = at;
        }
        mended.push_str(&markdown[done..]);
        markdown = mended;
    }
    None
}

/// What closes, or hides, that which is around a quote.
const BREAKOUTS: [&str; 3] = ["</", "<!", "<?"];

/// Returns where a backslash is needed, in ascending order.
fn live(markdown: &str) -> Vec<usize> {
    let extensions =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut events = Parser::new_ext(markdown, extensions).into_offset_iter();
    let (mut places, mut spans, mut formulas) = (Vec::new(), Vec::new(), false);
    for (event, range) in events.by_ref() {
        match event {
            Event::Text(text) => formulas |= text.contains('$'),
            Event::Code(_) => spans.extend(breakouts(markdown, range)),
            // Readers of Markdown differ in what is indented code after a table.
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => places.extend(breakouts(markdown, range)),
            Event::Html(_) | Event::InlineHtml(_) => {
                places.extend(markdown[range.clone()].match_indices('<').map(|(at, _)| range.start + at));
            }
            Event::Start(Tag::Image { dest_url, .. }) if !is_local(&dest_url) => places.push(range.start),
            Event::Start(Tag::FootnoteDefinition(_)) => places.extend(first_bracket(markdown, range.start)),
            _ => {}
        }
    }
    let definitions = events.reference_definitions().iter();
    places.extend(definitions.filter_map(|(_, definition)| first_bracket(markdown, definition.span.start)));
    // To a reader of Markdown that knows formulas, a `$` may take one of the backticks that make the code.
    if formulas {
        places.append(&mut spans);
    }
    places.retain(|at| !is_escaped(markdown, *at));
    places.sort_unstable();
    places.dedup();
    places
}

fn breakouts(markdown: &str, range: Range<usize>) -> impl Iterator<Item = usize> {
    let within = &markdown[range.clone()];
    BREAKOUTS.iter().flat_map(|tag| within.match_indices(tag)).map(move |(at, _)| range.start + at)
}

/// Returns whether the address is a path within the transcript's own directory tree.
fn is_local(address: &str) -> bool {
    // A browser reads an address without the white space and the control characters around it.
    let address = address.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    !address.starts_with(['/', '\\']) && !address.contains(':')
}

fn first_bracket(markdown: &str, from: usize) -> Option<usize> {
    markdown[from..].find('[').map(|at| from + at)
}

fn is_escaped(markdown: &str, at: usize) -> bool {
    markdown[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quotes the text and takes the marks off again.
    fn mended(markdown: &str) -> Option<String> {
        let quote = quoted(markdown)?;
        Some(quote.lines().map(|line| line.strip_prefix("> ").unwrap_or("")).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn every_line_is_marked() {
        assert_eq!(quoted("a\n\n# b").as_deref(), Some("> a\n>\n> # b"));
    }

    #[test]
    fn markdown_and_code_stay_as_they_are() {
        let text = "# A *b*\n\n`Vec<String>` <https://example.org>\n\n```html\n</details>\n[1]: /x\n```\n\n| a |\n|---|\n| b |";
        assert_eq!(mended(text).as_deref(), Some(text));
    }

    #[test]
    fn html_becomes_text() {
        assert_eq!(mended("\t</b>").as_deref(), Some("\t\\</b>"));
        assert_eq!(mended("a Vec<String> b").as_deref(), Some("a Vec\\<String> b"));
        assert_eq!(mended("</details>\n\n<!-- x").as_deref(), Some("\\</details>\n\n\\<!-- x"));
        // What was HTML hid a code block, which must then be let alone.
        assert_eq!(mended("<div>\n```\n<b>\n```\n</div>").as_deref(), Some("\\<div>\n```\n\\<b>\n```\n\\</div>"));
        assert_eq!(mended("<div>\n\\<b>").as_deref(), Some("\\<div>\n\\<b>"));
    }

    #[test]
    fn a_formula_brings_no_html_to_life() {
        assert_eq!(mended("$a`$ </details>`").as_deref(), Some("$a`$ \\</details>`"));
        for harmless in ["it costs $5, `Vec<T>` costs $6", "`$a` and `</b>`"] {
            assert_eq!(mended(harmless).as_deref(), Some(harmless));
        }
    }

    #[test]
    fn indented_code_closes_nothing_either() {
        assert_eq!(mended("    <b>\n    </details>").as_deref(), Some("    <b>\n    \\</details>"));
    }

    #[test]
    fn images_from_elsewhere_become_links() {
        assert_eq!(mended("a ![b](https://x.org/?q=1)").as_deref(), Some("a \\![b](https://x.org/?q=1)"));
        for far in
            ["//x.org/a", "/a.png", "data:image/png;base64,x", "file:///a", "\\\\x", "< //x.org/a>", "<&#9;//x.org/a>"]
        {
            assert_eq!(mended(&format!("![b]({far})")), Some(format!("\\![b]({far})")));
        }
        assert_eq!(mended("![b](plots/c.png)").as_deref(), Some("![b](plots/c.png)"));
    }

    #[test]
    fn definitions_become_text() {
        assert_eq!(mended("see [a][1]\n\n[1]: /x").as_deref(), Some("see [a][1]\n\n\\[1]: /x"));
        assert_eq!(mended("see[^1]\n\n[^1]: note").as_deref(), Some("see[^1]\n\n\\[^1]: note"));
        assert_eq!(mended("  [1]: /x").as_deref(), Some("  \\[1]: /x"));
        assert_eq!(mended("- a\n\n   [^1]: b").as_deref(), Some("- a\n\n   \\[^1]: b"));
        assert_eq!(mended("[1]: /x\n[1]: /y").as_deref(), Some("\\[1]: /x\n[1]: /y"));
    }

    #[test]
    fn a_text_that_cannot_be_mended_is_given_up() {
        let many: String = (0..=ROUNDS).map(|_| "[1]: /x\n\n").collect();
        assert_eq!(mended(&many), None);
    }
}
