//! Styled text with a known width on a terminal.

use anstyle::Style;
use opencode_run_markdown::{is_unsafe_on_terminal, visible};
use std::fmt::Write;
use unicode_width::UnicodeWidthChar;

/// A piece of a line in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// A line without its line break.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StyledLine(pub(crate) Vec<Span>);

impl StyledLine {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::styled(text, Style::new())
    }

    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        let mut line = Self::default();
        line.push(&text.into(), style);
        line
    }

    /// Appends text in a style. Control characters are made visible, so that the line is safe for terminals.
    pub(crate) fn push(&mut self, text: &str, style: Style) {
        let is_safe = |c: char| c == '\t' || !is_unsafe_on_terminal(c);
        let shown = if text.chars().all(is_safe) { text.to_owned() } else { visible(text).replace('\n', "␊") };
        match self.0.last_mut() {
            Some(last) if last.style == style => last.text.push_str(&shown),
            _ if shown.is_empty() => {}
            _ => self.0.push(Span { text: shown, style }),
        }
    }

    pub(crate) fn append(&mut self, other: &Self) {
        for Span { text, style } in &other.0 {
            self.push(text, *style);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the width of the line in columns.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|span| width(&span.text)).sum()
    }

    /// Returns the beginning of the line, at most this wide, with an ellipsis if something is omitted.
    pub(crate) fn cut(&self, columns: usize) -> Self {
        if self.width() <= columns {
            return self.clone();
        }
        let mut room = columns.saturating_sub(1);
        let mut cut = Self::default();
        for Span { text, style } in &self.0 {
            let begin: String = text
                .chars()
                .take_while(|c| {
                    let fits = char_width(*c) <= room;
                    room = if fits { room - char_width(*c) } else { 0 };
                    fits
                })
                .collect();
            let is_cut = begin.len() < text.len();
            cut.push(&begin, *style);
            if is_cut {
                break;
            }
        }
        if columns > 0 {
            cut.push("…", Style::new());
        }
        cut
    }

    /// Returns it with an end that is never cut, unless the end alone is wider than `columns`.
    pub(crate) fn with_end(&self, end: &Self, columns: usize) -> Self {
        let mut whole = self.cut(columns.saturating_sub(end.width()).max(4));
        whole.append(end);
        whole.cut(columns)
    }

    /// Formats the line for a terminal, with or without colours.
    pub(crate) fn to_text(&self, colours: bool) -> String {
        let mut shown = String::new();
        for Span { text, style } in &self.0 {
            // Writing to a string cannot fail.
            if colours && *style != Style::new() {
                write!(shown, "{style}{text}{style:#}").ok();
            } else {
                shown.push_str(text);
            }
        }
        shown
    }
}

/// Returns the width of a text in columns. A tab counts as four.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Returns the width of a character in columns. A sequence that a terminal joins into one emoji is narrower than
/// the sum, so a line may become too short but never too long.
pub(crate) fn char_width(c: char) -> usize {
    if c == '\t' { 4 } else { c.width().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_cut_at_columns() {
        let line = StyledLine::plain("日本語 text");
        assert_eq!(line.width(), 11);
        assert_eq!(line.cut(11), line);
        assert_eq!(line.cut(6).to_text(false), "日本…");
        assert_eq!(line.cut(1).to_text(false), "…");
        assert_eq!(line.cut(0).to_text(false), "");
    }

    #[test]
    fn text_cannot_control_the_terminal() {
        let line = StyledLine::plain("a\u{1b}[2Jb\n\u{9b}c");
        assert_eq!(line.to_text(true), "a␛[2Jb␊⟨U+009B⟩c");
    }

    #[test]
    fn no_styles_without_colours() {
        let line = StyledLine::styled("x", Style::new().bold());
        assert_eq!((line.to_text(true).as_str(), line.to_text(false).as_str()), ("\u{1b}[1mx\u{1b}[0m", "x"));
    }
}
