//! Renders the inline text of a block (emphasis, code, links) and wraps it.

use crate::styled::{Span, StyledLine, char_width};
use crate::word_wrap::can_break;
use anstyle::{AnsiColor, Style};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

const CODE: Style = AnsiColor::Cyan.on_default();
const LINK: Style = AnsiColor::Blue.on_default().underline();
pub(super) const DIM: Style = Style::new().dimmed();

/// Returns inline Markdown as styled text; a hard line break starts a new line.
pub(super) fn parse(text: &str, base: Style) -> Vec<StyledLine> {
    let source = text.split('\n').map(escape_line).collect::<Vec<_>>().join("\n");
    let mut lines = vec![StyledLine::default()];
    let mut emphasis: Vec<fn(Style) -> Style> = Vec::new();
    let mut targets = Vec::new();
    for event in Parser::new_ext(&source, Options::ENABLE_STRIKETHROUGH) {
        let style = emphasis.iter().fold(base, |style, add| add(style));
        let style = if targets.is_empty() { style } else { LINK.effects(LINK.get_effects() | style.get_effects()) };
        let line = lines.len() - 1;
        match event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                lines[line].push(text.trim_end_matches('\n'), style);
            }
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                lines[line].push(&text, CODE.effects(CODE.get_effects() | style.get_effects()));
            }
            Event::SoftBreak => lines[line].push(" ", style),
            Event::HardBreak => lines.push(StyledLine::default()),
            Event::Start(tag) => match tag {
                Tag::Emphasis => emphasis.push(Style::italic),
                Tag::Strong => emphasis.push(Style::bold),
                Tag::Strikethrough => emphasis.push(Style::strikethrough),
                Tag::Link { dest_url, .. } => targets.push((dest_url.into_string(), false)),
                Tag::Image { dest_url, .. } => {
                    lines[line].push("[image: ", style);
                    targets.push((dest_url.into_string(), true));
                }
                _ => {}
            },
            Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough) => drop(emphasis.pop()),
            Event::End(TagEnd::Link | TagEnd::Image) => {
                if let Some((url, is_image)) = targets.pop() {
                    end_link(&mut lines[line], &url, is_image, base);
                }
            }
            _ => {}
        }
    }
    if lines.iter().all(StyledLine::is_empty) {
        return vec![StyledLine::styled(text, base)];
    }
    lines
}

/// Appends the address of a link, unless its text ends with it.
fn end_link(line: &mut StyledLine, url: &str, is_image: bool, base: Style) {
    if is_image {
        line.push("]", base);
    }
    let text = line.to_text(false);
    let is_shown = text.ends_with(url) || url.strip_prefix("mailto:").is_some_and(|mail| text.ends_with(mail));
    if !is_shown && !url.is_empty() {
        line.push(&format!(" ({url})"), DIM);
    }
}

/// Escapes text that would begin another block, or be an invisible definition, at the start of a line.
fn escape_line(line: &str) -> String {
    let line = line.trim_start();
    let number = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let rest = &line[number..];
    let begins_block = match rest.chars().next() {
        Some('.' | ')') => number > 0,
        _ if number > 0 => false,
        Some('#' | '>' | '+' | '=' | '-') => true,
        Some('*' | '_') => rest[1..].starts_with(' ') || rest.chars().all(|c| matches!(c, '*' | '_' | ' ')),
        Some('[') => rest.contains("]:"),
        Some('<') => !rest.contains("://") && !rest.contains('@'),
        Some('~' | '`') => rest.starts_with("~~~") || rest.starts_with("```"),
        _ => false,
    };
    if begins_block { format!("{}\\{rest}", &line[..number]) } else { line.to_owned() }
}

/// A word, or one wide character with its punctuation, which is broken only if it is longer than a line.
#[derive(Default)]
struct Word {
    spans: StyledLine,
    /// The blanks before it.
    blanks: StyledLine,
}

/// Wraps a line at this width. The first line begins with `first`, the others with `rest`, which has the same
/// width.
pub(super) fn wrap(line: &StyledLine, first: &StyledLine, rest: &StyledLine, columns: usize) -> Vec<StyledLine> {
    let room = columns.saturating_sub(first.width()).max(1);
    let mut lines = Vec::new();
    let mut current = StyledLine::default();
    let mut used = 0;
    let mut finish = |current: &mut StyledLine| {
        let mut whole = if lines.is_empty() { first.clone() } else { rest.clone() };
        whole.append(&std::mem::take(current));
        lines.push(whole);
    };
    for word in words(line) {
        let blank = word.blanks.width();
        let length = word.spans.width();
        if used > 0 && used + blank + length > room {
            finish(&mut current);
            used = 0;
        } else {
            current.append(&word.blanks);
            used += blank;
        }
        for Span { text, style } in &word.spans.0 {
            for c in text.chars() {
                if used + char_width(c) > room && used > 0 {
                    finish(&mut current);
                    used = 0;
                }
                current.push(c.encode_utf8(&mut [0; 4]), *style);
                used += char_width(c);
            }
        }
    }
    finish(&mut current);
    lines
}

fn words(line: &StyledLine) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Word::default();
    let mut before = None;
    for Span { text, style } in &line.0 {
        for c in text.chars() {
            let mut buffer = [0; 4];
            let text = &*c.encode_utf8(&mut buffer);
            let is_blank = matches!(c, ' ' | '\t');
            if before.is_some_and(|before| is_blank || can_break(before, c)) {
                words.push(std::mem::take(&mut word));
            }
            before = (!is_blank).then_some(c);
            if is_blank {
                word.blanks.push(" ", *style);
            } else {
                word.spans.push(text, *style);
            }
        }
    }
    words.push(word);
    words
}
