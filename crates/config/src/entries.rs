//! Cuts a `.env` text into its entries, with the line that each begins on.
//!
//! `dotenvy` reads the values; this module decides where an entry ends and spells it so that `dotenvy` has nothing to
//! substitute and nothing to guess: it knows no line numbers, looks `$NAME` up in the process environment and disagrees
//! with itself about backslashes in single quotes and quotes in comments.

/// The most lines that one quoted value may have. A quote that is open for longer counts as one that was never closed,
/// which also bounds the work on a file made of such quotes.
pub const MAX_VALUE_LINES: usize = 256;

/// One entry of the file. It may hold a secret, so it has no `Debug`.
pub(crate) struct Entry<'t> {
    /// The line it begins on, from 1.
    pub(crate) line: usize,
    /// Its first line as it stands in the file, which is never to be shown.
    pub(crate) first_line: &'t str,
    /// Its lines after the first.
    pub(crate) more_lines: &'t str,
    /// The key's name and the value, unquoted.
    pub(crate) content: Result<(&'t str, String), Broken>,
}

/// Why an entry cannot be read.
#[derive(Clone, Copy)]
pub(crate) enum Broken {
    /// It has no `KEY=` at its beginning.
    NotKeyValue,
    /// A quote is not closed.
    UnclosedQuote,
    /// The value is no value: spaces without quotes, an unknown escape.
    Value,
}

/// Returns the entries of a text in their order; blank lines and comments are none.
///
/// After a quote that is not closed, reading goes on with the next line, so that it hides nothing.
pub(crate) fn entries(text: &str) -> Vec<Entry<'_>> {
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
            found.push(Entry { line, first_line, more_lines, content });
        }
        line += 1 + rest[..length].matches('\n').count();
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    found
}

/// Reads a value, spelt plainly, by `dotenvy`.
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

/// Returns the key of a line and where its value begins.
fn head(line: &str) -> Option<(&str, usize)> {
    let (mut key, mut rest) = name(line.trim_start())?;
    if key == "export" && !rest.starts_with('=') {
        (key, rest) = name(rest)?;
    }
    let value = rest.strip_prefix('=')?;
    Some((key, line.len() - value.len()))
}

/// Returns the name at the beginning of a text and what follows it and the space after it.
fn name(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    Some((name, rest.trim_start()))
}

/// How the text at a place is quoted.
#[derive(Clone, Copy, PartialEq)]
enum Quoting {
    /// Not at all.
    Bare,
    /// In `"`.
    Double,
    /// In `'`.
    Single,
    /// Past the value.
    Over,
}

impl Quoting {
    /// Returns the quoting after a character that nothing escapes.
    fn after(self, c: char) -> Self {
        match (self, c) {
            (Self::Bare, '"') => Self::Double,
            (Self::Bare, '\'') => Self::Single,
            (Self::Double, '"') | (Self::Single, '\'') => Self::Bare,
            _ => self,
        }
    }
}

/// Where a value ends and how it is spelt for `dotenvy`.
enum Cut {
    /// A quote is not closed.
    Open,
    /// It ends.
    Ends {
        /// At a line break outside of quotes, or at the end of the text.
        at: usize,
        /// The value so that `dotenvy` reads it literally; none if it is no value.
        spelling: Option<String>,
    },
}

/// Cuts out the value at the beginning of a text and spells it plainly.
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
            (Quoting::Bare | Quoting::Over, '\n') => {
                end = at;
                break;
            }
            (Quoting::Over, c) if c.is_whitespace() => {}
            (Quoting::Over, c) => {
                is_value &= c == '#';
                end = line_end(text, at);
                break;
            }
            (Quoting::Bare, '#') if at == start => {
                end = line_end(text, at);
                break;
            }
            (Quoting::Bare, c) if c.is_whitespace() => quoting = Quoting::Over,
            (Quoting::Bare | Quoting::Double, '\\') => {
                let escaped = chars.next();
                last = escaped.map_or('\\', |(_, c)| c);
                match escaped {
                    // A space at the end of the line would be trimmed away and leave the backslash alone.
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
        Quoting::Bare | Quoting::Over => Cut::Ends { at: end, spelling: is_value.then_some(spelling) },
        Quoting::Double | Quoting::Single => Cut::Open,
    }
}

/// Returns where the line that holds a place ends.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |length| at + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every entry as line, key and value, a broken one with none.
    fn read_all(text: &str) -> Vec<(usize, Option<(&str, String)>)> {
        entries(text).into_iter().map(|entry| (entry.line, entry.content.ok())).collect()
    }

    fn value_of(text: &str) -> Option<String> {
        let mut all = read_all(text);
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0).1.map(|(_, value)| value)
    }

    #[test]
    fn the_dialect() {
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
    fn what_is_broken_is_so_for_its_line_only() {
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
    fn a_value_that_is_broken_over_lines_is_one_entry() {
        for broken in ["K=\"{\n \\\"a\\\": \\t\n}\"", "K='a\n' b 'c", "K=\"a\\\nb\""] {
            let text = format!("{broken}\nL=1");
            let lines = 1 + text.matches('\n').count();
            assert_eq!(read_all(&text), [(1, None), (lines, Some(("L", "1".to_owned())))], "{text:?}");
        }
    }

    #[test]
    fn a_quote_is_open_for_so_many_lines_at_most() {
        let most = format!("K='{}'\nL=1\n", "\n".repeat(MAX_VALUE_LINES - 1));
        assert_eq!(read_all(&most)[1].0, MAX_VALUE_LINES + 1);
        let over = format!("K='{}'\nL=1\n", "\n".repeat(MAX_VALUE_LINES));
        assert_eq!(read_all(&over)[0], (1, None));
        assert_eq!(read_all(&over).last().map(|entry| entry.1.clone()), Some(Some(("L", "1".to_owned()))));
    }

    /// Any value in one of the three ways to write it.
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

    /// Something that stands between entries and sets nothing.
    fn filler() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), Just("   ".to_owned()), "[ \t]{0,2}#[ -~]{0,20}"]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_on_its_line(
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
        fn the_dialect_is_the_one_of_dotenvy(values in proptest::collection::vec("[a-z'\" \n]{0,8}", 1..4)) {
            let text = format!("K={}\n", values.join("\nK="));
            let theirs: Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
            let ours: Option<Vec<_>> = read_all(&text).into_iter().map(|(_, entry)| entry).collect();
            if let (Ok(theirs), Some(ours)) = (theirs, ours) {
                let ours: Vec<_> = ours.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                prop_assert_eq!(ours, theirs);
            }
        }

        #[test]
        fn no_text_panics_and_lines_only_grow(text in "(\\PC|[K=\"'\\\\$# \\n\\r\\t]){0,80}") {
            let lines: Vec<usize> = entries(&text).iter().map(|entry| entry.line).collect();
            prop_assert!(lines.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(lines.last().is_none_or(|last| *last <= text.lines().count()));
        }
    }
}
