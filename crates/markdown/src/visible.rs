//! Makes invisible characters, and those that control a terminal or a browser, visible.

use std::fmt::Write;

/// Returns the text with `\n` as its only line ending and no other control character except the tab.
///
/// A control character becomes its symbol (`␛` for ESC) or its code point (`⟨U+009B⟩`), as do characters that
/// change the direction of text or are invisible. So the output of a model or a tool can be printed on a terminal
/// safely.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            // CommonMark ends a line here, so the prefix of a quote must follow.
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

/// Returns the text like [`visible`], on one line.
pub(crate) fn visible_line(text: &str) -> String {
    visible(text).replace('\n', "␊").replace('\t', "␉")
}

/// Returns whether the character controls a terminal or disguises text: control characters (including `\n` and
/// `\t`), direction overrides, line separators, and the byte order mark.
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
    fn line_endings_are_normalised() {
        assert_eq!(visible("a\r\nb\rc\n\r"), "a\nb␍\nc\n␍\n");
    }

    #[test]
    fn terminal_controls_are_made_visible() {
        assert_eq!(visible("\x1b[31mred\x1b[0m\0\x07\x7f\u{9b}1m"), "␛[31mred␛[0m␀␇␡⟨U+009B⟩1m");
        assert_eq!(visible("access\u{202e}drowssap"), "access⟨U+202E⟩drowssap");
        assert_eq!(visible("\ttab, emoji 👩\u{200d}💻 and é stay\n"), "\ttab, emoji 👩\u{200d}💻 and é stay\n");
    }

    #[test]
    fn line_breaks_are_made_visible() {
        assert_eq!(visible_line("/tmp/a\n# b\tc"), "/tmp/a␊# b␉c");
    }
}
