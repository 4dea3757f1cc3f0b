//! Untrusted Markdown as a block quote that it cannot escape from.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use std::ops::Range;

/// The number of rounds of escaping after which a text is shown as code instead. Each round escapes all active
/// constructs; another one is needed only if the escaping activated something else.
const MAX_ROUNDS: usize = 16;

/// Returns the Markdown as a quote in which HTML and definitions of links and footnotes are escaped and remote
/// images are turned into links; `None` if that did not succeed.
///
/// Each of these would have an effect outside of its quote: an open comment hides the text after it, a definition
/// applies to the whole document, and an image reveals the reader, and whatever the agent wrote into its address,
/// to a server.
pub(crate) fn quoted(markdown: &str) -> Option<String> {
    let mark = |line: &str| if line.is_empty() { ">".to_owned() } else { format!("> {line}") };
    // Marked before escaping: tabs are narrower within a quote, so that indented code may become HTML.
    let mut markdown = markdown.lines().map(mark).collect::<Vec<_>>().join("\n");
    for _ in 0..MAX_ROUNDS {
        let offsets = active_offsets(&markdown);
        if offsets.is_empty() {
            return Some(markdown);
        }
        let mut escaped = String::with_capacity(markdown.len() + offsets.len());
        let mut done = 0;
        for at in offsets {
            escaped.push_str(&markdown[done..at]);
            escaped.push('\\');
            done = at;
        }
        escaped.push_str(&markdown[done..]);
        markdown = escaped;
    }
    None
}

/// The beginnings of HTML that closes or hides the text around a quote.
const BREAKOUTS: [&str; 3] = ["</", "<!", "<?"];

/// Returns the offsets that need a backslash, in ascending order.
fn active_offsets(markdown: &str) -> Vec<usize> {
    let extensions =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut events = Parser::new_ext(markdown, extensions).into_offset_iter();
    let mut places = Vec::new();
    let mut spans = Vec::new();
    let mut formulas = false;
    for (event, range) in events.by_ref() {
        match event {
            Event::Text(text) => formulas |= text.contains('$'),
            Event::Code(_) => spans.extend(breakouts(markdown, range)),
            // Markdown parsers disagree about indented code after a table.
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
    // In a parser with formulas, a `$` may consume one of the backticks of a code span.
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

/// Returns whether the address is a path within the transcript's directory tree.
fn is_local(address: &str) -> bool {
    // Browsers ignore white space and control characters around an address.
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

    /// Quotes the text and removes the quote marks again.
    fn escaped(markdown: &str) -> Option<String> {
        let quote = quoted(markdown)?;
        Some(quote.lines().map(|line| line.strip_prefix("> ").unwrap_or("")).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn every_line_is_marked() {
        assert_eq!(quoted("a\n\n# b").as_deref(), Some("> a\n>\n> # b"));
    }

    #[test]
    fn markdown_and_code_are_unchanged() {
        let text = "# A *b*\n\n`Vec<String>` <https://example.org>\n\n```html\n</details>\n[1]: /x\n```\n\n| a |\n|---|\n| b |";
        assert_eq!(escaped(text).as_deref(), Some(text));
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escaped("\t</b>").as_deref(), Some("\t\\</b>"));
        assert_eq!(escaped("a Vec<String> b").as_deref(), Some("a Vec\\<String> b"));
        assert_eq!(escaped("</details>\n\n<!-- x").as_deref(), Some("\\</details>\n\n\\<!-- x"));
        // The former HTML hid a code block, which must then stay unchanged.
        assert_eq!(escaped("<div>\n```\n<b>\n```\n</div>").as_deref(), Some("\\<div>\n```\n\\<b>\n```\n\\</div>"));
        assert_eq!(escaped("<div>\n\\<b>").as_deref(), Some("\\<div>\n\\<b>"));
    }

    #[test]
    fn formula_cannot_activate_html() {
        assert_eq!(escaped("$a`$ </details>`").as_deref(), Some("$a`$ \\</details>`"));
        for harmless in ["it costs $5, `Vec<T>` costs $6", "`$a` and `</b>`"] {
            assert_eq!(escaped(harmless).as_deref(), Some(harmless));
        }
    }

    #[test]
    fn indented_code_cannot_close_html() {
        assert_eq!(escaped("    <b>\n    </details>").as_deref(), Some("    <b>\n    \\</details>"));
    }

    #[test]
    fn remote_images_become_links() {
        assert_eq!(escaped("a ![b](https://x.org/?q=1)").as_deref(), Some("a \\![b](https://x.org/?q=1)"));
        for far in
            ["//x.org/a", "/a.png", "data:image/png;base64,x", "file:///a", "\\\\x", "< //x.org/a>", "<&#9;//x.org/a>"]
        {
            assert_eq!(escaped(&format!("![b]({far})")), Some(format!("\\![b]({far})")));
        }
        assert_eq!(escaped("![b](plots/c.png)").as_deref(), Some("![b](plots/c.png)"));
    }

    #[test]
    fn definitions_are_escaped() {
        assert_eq!(escaped("see [a][1]\n\n[1]: /x").as_deref(), Some("see [a][1]\n\n\\[1]: /x"));
        assert_eq!(escaped("see[^1]\n\n[^1]: note").as_deref(), Some("see[^1]\n\n\\[^1]: note"));
        assert_eq!(escaped("  [1]: /x").as_deref(), Some("  \\[1]: /x"));
        assert_eq!(escaped("- a\n\n   [^1]: b").as_deref(), Some("- a\n\n   \\[^1]: b"));
        assert_eq!(escaped("[1]: /x\n[1]: /y").as_deref(), Some("\\[1]: /x\n[1]: /y"));
    }

    #[test]
    fn unescapable_text_is_given_up() {
        let many: String = (0..=MAX_ROUNDS).map(|_| "[1]: /x\n\n").collect();
        assert_eq!(escaped(&many), None);
    }
}
