//! The text of an answer on its way to the terminal, in whole lines, so that a view can be drawn below them.

use super::terminal::{TerminalText, TextKind};
use crate::rich::RichText;
use crate::screen;
use crate::styled::StyledLine;

/// The maximum length of a buffered line in bytes. A longer one is broken on the terminal.
const MAX_LINE_BYTES: usize = 64 << 10;
/// The maximum length in bytes of the shown end of an open line.
const MAX_SHOWN_BYTES: usize = 8 << 10;

/// Converts the pieces of an answer into output.
#[derive(Debug)]
pub(crate) enum AnswerWriter {
    /// Each piece unchanged: for a pipe or a file, or if nothing is drawn on the terminal.
    Raw,
    /// The text as the model wrote it, line by line.
    Lines { open: String, input: TerminalText },
    /// Rendered Markdown.
    Rich { rich: Box<RichText>, input: TerminalText, colours: bool },
}

impl AnswerWriter {
    /// Creates the form for stdout: rendered on a terminal unless `plain`. `has_view` is whether a view is drawn
    /// below it.
    pub(crate) fn for_stdout(plain: bool, has_view: bool) -> Self {
        let input = TerminalText::new(TextKind::Plain);
        if !screen::can_render() {
            Self::Raw
        } else if !plain {
            let colours = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
            Self::Rich { rich: Box::new(RichText::new(screen::size().columns)), input, colours }
        } else if has_view {
            Self::Lines { open: String::new(), input }
        } else {
            Self::Raw
        }
    }

    /// Returns whether the pieces are printed unchanged.
    pub(crate) const fn is_raw(&self) -> bool {
        matches!(self, Self::Raw)
    }

    /// Adds a piece and returns the output for it: whole lines that are safe for terminals, or the piece itself if
    /// the form is raw.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        match self {
            Self::Raw => piece.to_owned(),
            Self::Lines { open, input } => {
                open.push_str(&input.show(piece));
                match open.rfind('\n') {
                    Some(at) => {
                        let rest = open.split_off(at + 1);
                        std::mem::replace(open, rest)
                    }
                    None if open.len() > MAX_LINE_BYTES => std::mem::take(open) + "\n",
                    None => String::new(),
                }
            }
            Self::Rich { rich, input, colours } => {
                let shown = input.show(piece);
                if shown.contains('\n') {
                    rich.resize(screen::size().columns);
                }
                text_of(&rich.push(&shown), *colours)
            }
        }
    }

    /// Returns the text that is not printed yet, in its current form.
    pub(crate) fn tail(&self, columns: usize) -> Vec<StyledLine> {
        match self {
            Self::Raw => Vec::new(),
            Self::Lines { open, .. } => {
                let mut from = open.len().saturating_sub(MAX_SHOWN_BYTES);
                while !open.is_char_boundary(from) {
                    from += 1;
                }
                broken(&open[from..], columns.saturating_sub(1))
            }
            Self::Rich { rich, .. } => rich.tail(),
        }
    }

    /// Returns the text that is not printed yet, as whole lines.
    pub(crate) fn flush(&mut self) -> String {
        match self {
            Self::Raw => String::new(),
            Self::Lines { open, .. } if open.is_empty() => String::new(),
            Self::Lines { open, .. } => std::mem::take(open) + "\n",
            Self::Rich { rich, colours, .. } => text_of(&rich.finish(), *colours),
        }
    }
}

fn text_of(lines: &[StyledLine], colours: bool) -> String {
    lines.iter().map(|line| line.to_text(colours) + "\n").collect()
}

/// Breaks a line like the terminal would.
fn broken(text: &str, columns: usize) -> Vec<StyledLine> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = crate::styled::char_width(c);
        if used + width > columns && !line.is_empty() {
            lines.push(StyledLine::plain(std::mem::take(&mut line)));
            used = 0;
        }
        line.push(c);
        used += width;
    }
    if !line.is_empty() {
        lines.push(StyledLine::plain(line));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_printed_whole() {
        let mut answer = AnswerWriter::Lines { open: String::new(), input: TerminalText::new(TextKind::Plain) };
        assert_eq!(answer.push("a\r"), "");
        assert_eq!(answer.push("\nb\u{1b}"), "a\n");
        assert_eq!(answer.tail(80), [StyledLine::plain("b␛")]);
        assert_eq!((answer.flush().as_str(), answer.flush().as_str()), ("b␛\n", ""));
        let printed = answer.push(&"x".repeat(MAX_LINE_BYTES + 1));
        assert_eq!(printed.len(), MAX_LINE_BYTES + 2);
    }
}
