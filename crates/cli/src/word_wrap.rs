//! Wraps messages at words, for a terminal that would break them anywhere.

use crate::styled::{char_width, width};

/// Punctuation that does not begin a line.
const CLOSING: &str = "，。、；：！？）】」』》〉”’％…·,.;:!?)]}%";
/// Punctuation that does not end a line.
const OPENING: &str = "（【「『《〈“‘([{";

/// Returns whether a line can be broken between two characters that no blank separates: at a wide character, unless
/// punctuation is beside it, or both are parts of one emoji.
pub(crate) fn can_break(before: char, after: char) -> bool {
    let joins = before == '\u{200d}' || char_width(after) == 0 || ('\u{1f3fb}'..='\u{1f3ff}').contains(&after);
    let is_wide = char_width(before) > 1 || char_width(after) > 1;
    is_wide && !joins && !CLOSING.contains(after) && !OPENING.contains(before)
}

/// A part of a line that is not broken, with the blanks before it.
struct Word<'t> {
    blanks: usize,
    text: &'t str,
}

/// Wraps each line of a text at this width, of which `used` columns of the first line are taken. Further lines keep the
/// indentation.
///
/// A longer word, and a command between backticks, stays whole, so that it can be copied.
pub(crate) fn wrap(text: &str, columns: usize, used: usize) -> String {
    let mut wrapped = String::with_capacity(text.len() + 16);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            wrapped.push('\n');
        }
        wrap_line(&mut wrapped, line, columns, if number > 0 { 0 } else { used });
    }
    wrapped
}

fn wrap_line(wrapped: &mut String, line: &str, columns: usize, mut used: usize) {
    let indentation = &line[..line.len() - line.trim_start_matches(' ').len()];
    let mut has_words = false;
    for Word { blanks, text } in words(line) {
        let length = width(text);
        if has_words && !text.is_empty() && used + blanks + length > columns {
            wrapped.push('\n');
            wrapped.push_str(indentation);
            used = indentation.len();
        } else {
            wrapped.extend(std::iter::repeat_n(' ', blanks));
            used += blanks;
        }
        wrapped.push_str(text);
        used += length;
        has_words = true;
    }
}

/// Splits a line between words, and before wide characters, which need no blanks between words.
fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut blanks = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(' ');
        blanks += rest.len() - after.len();
        let length = word_length(after);
        let (text, next) = after.split_at(length);
        if !text.is_empty() || next.is_empty() {
            words.push(Word { blanks: std::mem::take(&mut blanks), text });
        }
        rest = next;
    }
    words
}

/// Returns the length in bytes of the first word.
fn word_length(text: &str) -> usize {
    let mut is_quoted = false;
    let mut before = None;
    for (at, c) in text.char_indices() {
        let is_break = match before {
            None => false,
            Some(_) if c == ' ' => !is_quoted,
            Some(before) => !is_quoted && can_break(before, c),
        };
        if is_break {
            return at;
        }
        // A backtick that is not closed quotes nothing.
        if c == '`' {
            is_quoted = !is_quoted && text[at + 1..].contains('`');
        }
        before = Some(c);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("one two three", 9, 0), "one two\nthree");
        assert_eq!(wrap("one two three", 9, 3), "one\ntwo three");
        assert_eq!(wrap("one two three", 80, 0), "one two three");
        assert_eq!(wrap("  one two\nthree  four ", 6, 0), "  one\n  two\nthree\nfour ");
        assert_eq!(wrap("one two ", 7, 0), "one two ");
        assert_eq!(wrap("", 6, 0), "");
    }

    #[test]
    fn copyable_text_stays_whole() {
        assert_eq!(wrap("see /a/very/long/path now", 8, 0), "see\n/a/very/long/path\nnow");
        assert_eq!(wrap("run `a b c d` now", 8, 0), "run\n`a b c d`\nnow");
        assert_eq!(wrap("a ` b c", 3, 0), "a `\nb c");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(wrap("日本語のテスト", 8, 0), "日本語の\nテスト");
        assert_eq!(wrap("日本。語", 4, 0), "日\n本。\n語");
        assert_eq!(wrap("日本（語）1.2", 6, 0), "日本\n（語）\n1.2");
        assert_eq!(wrap("日本.語", 4, 0), "日\n本.\n語");
        assert_eq!(wrap("ab 日本", 5, 0), "ab 日\n本");
        for columns in 4..30 {
            let wrapped = wrap("warning: 模型 the model 给出了 no answer, 请重试 again", columns, 0);
            assert!(wrapped.lines().all(|line| width(line) <= columns.max(8)), "{columns}: {wrapped}");
        }
    }
}
