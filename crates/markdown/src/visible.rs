//! Characters that a reader could not see, or that a terminal or a browser would obey, made visible.

use std::fmt::Write;

/// Returns the text with `\n` as its only line ending and without any other control character but the tab.
///
/// A control character becomes its symbol (`␛` for ESC) or its code point (`⟨U+009B⟩`), as do characters that change the
/// direction of text or look like nothing. So what a model or a tool wrote can be shown on a terminal, which obeys none of it.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            // CommonMark ends a line here, and so must the prefix of a quote.
            '\r' => shown.push_str("␍\n"),
            '\0'..='\x1f' => shown.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\x7f' => shown.push('␡'),
            c if is_unsafe_on_terminal(c) => {
                // Writing to a string cannot fail.
                write!(shown, "⟨U+{:04X}⟩", u32::from(c)).ok();
            }
            c => shown.push(c),
        }
    }
    shown
}

/// Returns the text as [`visible`] does, on one line.
pub(crate) fn visible_line(text: &str) -> String {
    visible(text).replace('\n', "␊").replace('\t', "␉")
}

/// Returns whether a terminal obeys the character, or it makes text look like another: control characters (`\n` and `\t` are
/// among them), direction overrides, line separators, a byte order mark.
#[must_use]
pub fn is_unsafe_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{206f}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{61c}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_endings_become_one_and_a_lone_return_is_seen() {
        assert_eq!(visible("a\r\nb\rc\n\r"), "a\nb␍\nc\n␍\n");
    }

    #[test]
    fn what_a_terminal_would_obey_is_seen() {
        assert_eq!(visible("\x1b[31mred\x1b[0m\0\x07\x7f\u{9b}1m"), "␛[31mred␛[0m␀␇␡⟨U+009B⟩1m");
        assert_eq!(visible("access\u{202e}drowssap"), "access⟨U+202E⟩drowssap");
        assert_eq!(visible("\ttab, emoji 👩\u{200d}💻 and é stay\n"), "\ttab, emoji 👩\u{200d}💻 and é stay\n");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(visible_line("/tmp/a\n# b\tc"), "/tmp/a␊# b␉c");
    }
}
