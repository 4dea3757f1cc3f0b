//! Splits the text of a `.env` file into entries with line numbers.
//!
//! `dotenvy` reads the values. This module finds the end of each entry and rewrites it so that `dotenvy` has
//! nothing to substitute or guess: it has no line numbers, looks `$NAME` up in the process environment, and is
//! inconsistent about backslashes in single quotes and quotes in comments.

/// The maximum number of lines of a quoted value. A quote that is open for longer counts as unclosed, which also
/// bounds the work for a file full of such quotes.
pub const MAX_VALUE_LINES: usize = 256;

/// One entry of the file. May contain a secret, so it has no `Debug`.
pub(crate) struct FileEntry<'t> {
    /// The number of the entry's first line, from 1.
    pub(crate) line: usize,
    /// The text of the entry's first line, which must never be shown.
    pub(crate) first_line: &'t str,
    /// The text of the entry's other lines.
    pub(crate) more_lines: &'t str,
    /// The name of the key, and the unquoted value.
    pub(crate) content: Result<(&'t str, String), Broken>,
}

/// The reason why an entry cannot be read.
#[derive(Clone, Copy)]
pub(crate) enum Broken {
    /// The line does not begin with `KEY=`.
    NotKeyValue,
    /// A quote is not closed.
    UnclosedQuote,
    /// The value is invalid: spaces without quotes, or an unknown escape.
    Value,
}

/// Returns the entries of a text in order; blank lines and comments are skipped.
///
/// After an unclosed quote, reading continues with the next line, so that the quote hides nothing.
pub(crate) fn entries(text: &str) -> Vec<FileEntry<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let first_line = rest.split('\n').next().unwrap_or_default();
        let mut length = first_line.len();
        if !matches!(first_line.trim_start().chars().next(), None | Some('#')) {
            let content = match head(first_line).map(|(key, value_at)| (key, value_at, value(&rest[value_at..]))) {
                None => Err(Broken::NotKeyValue),
                Some((_, _, Cut::Open)) => Err(Broken::UnclosedQuote),
                Some((key, value_at, Cut::Ends { at, spelling })) => {
                    length = value_at + at;
                    spelling
                        .and_then(|value| unquoted(&rest[..value_at], &value))
                        .map(|v| (key, v))
                        .ok_or(Broken::Value)
                }
            };
            let more_lines = rest.get(first_line.len() + 1..length).unwrap_or_default();
            found.push(FileEntry { line, first_line, more_lines, content });
        }
        line += 1 + rest[..length].matches('\n').count();
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    found
}

/// Reads a rewritten value with `dotenvy`.
fn unquoted(head: &str, spelling: &str) -> Option<String> {
    let entry = format!("{head}{spelling}\n");
    let mut read = dotenvy::from_read_iter(entry.as_bytes());
    match (read.next(), read.next()) {
        (Some(Ok((_, value))), None) => Some(value),
        _ => None,
    }
}

/// Returns the key that a line would set if it were an entry.
pub(crate) fn key_of(line: &str) -> Option<&str> {
    head(line).map(|(key, _)| key)
}

/// Returns the key of a line and the offset of its value.
fn head(line: &str) -> Option<(&str, usize)> {
    let (mut key, mut rest) = name(line.trim_start())?;
    if key == "export" && !rest.starts_with('=') {
        (key, rest) = name(rest)?;
    }
    let value = rest.strip_prefix('=')?;
    Some((key, line.len() - value.len()))
}

/// Returns the name at the beginning of a text and the rest after it, without leading space.
fn name(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    Some((name, rest.trim_start()))
}

/// The quoting of the text at an offset.
#[derive(Clone, Copy, PartialEq)]
enum Quoting {
    /// Not quoted.
    Bare,
    /// In double quotes.
    Double,
    /// In single quotes.
    Single,
    /// After the value.
    After,
}

impl Quoting {
    /// Returns the quoting after an unescaped character.
    fn after(self, c: char) -> Self {
        match (self, c) {
            (Self::Bare, '"') => Self::Double,
            (Self::Bare, '\'') => Self::Single,
            (Self::Double, '"') | (Self::Single, '\'') => Self::Bare,
            _ => self,
        }
    }
}

/// The end of a value and its rewritten form for `dotenvy`.
enum Cut {
    /// A quote is not closed.
    Open,
    /// The value is complete.
    Ends {
        /// The offset of the end: a line break outside of quotes, or the end of the text.
        at: usize,
        /// The value in a form that `dotenvy` reads literally; `None` if it is invalid.
        spelling: Option<String>,
    },
}

/// Finds the end of the value at the beginning of a text and rewrites the value plainly.
fn value(text: &str) -> Cut {
    let mut spelling = String::new();
    let mut is_value = true;
    let mut quoting = Quoting::Bare;
    let mut line_breaks = 0;
    let mut end = text.len();
    let start = text.find(|c: char| c == '\n' || !c.is_whitespace()).unwrap_or(text.len());
    let mut chars = text.char_indices().skip_while(|(at, _)| *at < start);
    while let Some((at, c)) = chars.next() {
        let mut last = c;
        match (quoting, c) {
            (Quoting::Bare | Quoting::After, '\n') => {
                end = at;
                break;
            }
            (Quoting::After, c) if c.is_whitespace() => {}
            (Quoting::After, c) => {
                is_value &= c == '#';
                end = line_end(text, at);
                break;
            }
            (Quoting::Bare, '#') if at == start => {
                end = line_end(text, at);
                break;
            }
            (Quoting::Bare, c) if c.is_whitespace() => quoting = Quoting::After,
            (Quoting::Bare | Quoting::Double, '\\') => {
                let escaped = chars.next();
                last = escaped.map_or('\\', |(_, c)| c);
                match escaped {
                    // A space at the end of the line would be trimmed and leave a lone backslash.
                    Some((_, ' ')) if quoting == Quoting::Bare => spelling.push_str("' '"),
                    Some((at, '\n')) if quoting == Quoting::Bare => {
                        is_value = false;
                        end = at;
                        break;
                    }
                    Some((_, escaped)) => spelling.extend(['\\', escaped]),
                    None => is_value = false,
                }
            }
            (Quoting::Bare | Quoting::Double, '$') => spelling.push_str("\\$"),
            (Quoting::Single, '\\') => spelling.push_str("'\\\\'"),
            (_, c) => {
                quoting = quoting.after(c);
                spelling.push(c);
            }
        }
        line_breaks += usize::from(last == '\n');
        if line_breaks >= MAX_VALUE_LINES {
            return Cut::Open;
        }
    }
    match quoting {
        Quoting::Bare | Quoting::After => Cut::Ends { at: end, spelling: is_value.then_some(spelling) },
        Quoting::Double | Quoting::Single => Cut::Open,
    }
}

/// Returns the end of the line that contains an offset.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |length| at + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the line, key and value of every entry; `None` for a broken one.
    fn read_all(text: &str) -> Vec<(usize, Option<(&str, String)>)> {
        entries(text).into_iter().map(|entry| (entry.line, entry.content.ok())).collect()
    }

    fn value_of(text: &str) -> Option<String> {
        let mut all = read_all(text);
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0).1.map(|(_, value)| value)
    }

    #[test]
    fn dotenv_dialect_is_read() {
        for (text, value) in [
            ("K=v", "v"),
            ("_K=v", "v"),
            ("K=v \t", "v"),
            ("K=v\r", "v"),
            ("  export K = v", "v"),
            ("K=", ""),
            ("K=   ", ""),
            ("K=# it's a comment", ""),
            ("K= # it's a comment", ""),
            ("K=v # it's a comment", "v"),
            ("K=v   # it's a \"comment", "v"),
            ("K='v' # it's", "v"),
            ("K=v#w", "v#w"),
            ("K='a'\"b\"c", "abc"),
            ("K=s\\ ix", "s ix"),
            ("K=s\\ ", "s "),
            ("K=\"a\\ b\"", "a b"),
            ("K='a\\'", "a\\"),
            ("K='a\\n$b'", "a\\n$b"),
            ("K=\"a\\n\\\"$b\\$c\"", "a\n\"$b$c"),
            ("K=$HOME", "$HOME"),
            ("K=${HOME}-$$-\\$", "${HOME}-$$-$"),
            ("K=\"$(id)\"", "$(id)"),
        ] {
            assert_eq!(value_of(text).as_deref(), Some(value), "{text:?}");
        }
    }

    #[test]
    fn broken_entry_affects_only_its_line() {
        for broken in [
            "just words",
            "=v",
            "K",
            "K: v",
            "1K=v",
            "K=a b",
            "K=a\\",
            "K=a\\x",
            "K=\"a\\\nb\"",
            "K='a",
            "K=\"a",
            "export",
            "K-L=v",
            "K=v\u{a0}w",
        ] {
            let text = format!("A=1\n{broken}\nB=2\n");
            let all = read_all(&text);
            assert_eq!(all[0], (1, Some(("A", "1".to_owned()))), "{text:?}");
            assert_eq!(all[1], (2, None), "{text:?}");
            let last = 3 + broken.matches('\n').count();
            assert_eq!(all.last(), Some(&(last, Some(("B", "2".to_owned())))), "{text:?}");
        }
    }

    #[test]
    fn multiline_value_is_one_entry() {
        for broken in ["K=\"{\n \\\"a\\\": \\t\n}\"", "K='a\n' b 'c", "K=\"a\\\nb\""] {
            let text = format!("{broken}\nL=1");
            let lines = 1 + text.matches('\n').count();
            assert_eq!(read_all(&text), [(1, None), (lines, Some(("L", "1".to_owned())))], "{text:?}");
        }
    }

    #[test]
    fn open_quote_is_bounded_in_lines() {
        let most = format!("K='{}'\nL=1\n", "\n".repeat(MAX_VALUE_LINES - 1));
        assert_eq!(read_all(&most)[1].0, MAX_VALUE_LINES + 1);
        let over = format!("K='{}'\nL=1\n", "\n".repeat(MAX_VALUE_LINES));
        assert_eq!(read_all(&over)[0], (1, None));
        assert_eq!(read_all(&over).last().map(|entry| entry.1.clone()), Some(Some(("L", "1".to_owned()))));
    }

    /// Any value in one of the three quoting styles.
    fn written() -> impl Strategy<Value = (String, String)> {
        let text = "[ -~\\$\\\\'\"#\\n\\t\u{e9}\u{a0}\u{2028}]{0,24}";
        let double = |value: &str| {
            value.chars().fold(String::new(), |mut written, c| {
                if matches!(c, '\\' | '"') {
                    written.push('\\');
                }
                written.push(c);
                written
            })
        };
        prop_oneof![
            text.prop_map(|value| value.replace('\'', "")).prop_map(|value| (format!("'{value}'"), value)),
            text.prop_map(move |value| (format!("\"{}\"", double(&value)), value)),
            "[!$%&(-\\[\\]-~][!#$%&(-\\[\\]-~\u{e9}]{0,24}".prop_map(|value| (value.clone(), value)),
        ]
    }

    /// Text between entries that sets nothing.
    fn filler() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), Just("   ".to_owned()), "[ \t]{0,2}#[ -~]{0,20}"]
    }

    proptest! {
        #[test]
        fn written_entries_are_read_back(
            parts in proptest::collection::vec((filler(), written(), prop_oneof![Just(""), Just(" # it's \"x")]), 1..6),
            line_break in prop_oneof![Just("\n"), Just("\r\n")],
        ) {
            let mut text = String::new();
            let mut expected = Vec::new();
            for (filler, (written, value), comment) in parts {
                text.extend([filler.as_str(), line_break]);
                expected.push((1 + text.matches('\n').count(), Some(("K", value))));
                text.extend(["K=", &written, comment, line_break]);
            }
            prop_assert_eq!(read_all(&text), expected);
        }

        #[test]
        fn dialect_agrees_with_dotenvy(values in proptest::collection::vec("[a-z'\" \n]{0,8}", 1..4)) {
            let text = format!("K={}\n", values.join("\nK="));
            let theirs: Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
            let ours: Option<Vec<_>> = read_all(&text).into_iter().map(|(_, entry)| entry).collect();
            if let (Ok(theirs), Some(ours)) = (theirs, ours) {
                let ours: Vec<_> = ours.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                prop_assert_eq!(ours, theirs);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(\\PC|[K=\"'\\\\$# \\n\\r\\t]){0,80}") {
            let lines: Vec<usize> = entries(&text).iter().map(|entry| entry.line).collect();
            prop_assert!(lines.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(lines.last().is_none_or(|last| *last <= text.lines().count()));
        }
    }
}
