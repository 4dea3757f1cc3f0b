//! Highlights lines of code: comments, strings, numbers, keywords of common languages.
//!
//! It uses no grammars: a highlighter with grammars for all languages would be a quarter of this command's size.

use super::inline::DIM;
use crate::styled::StyledLine;
use anstyle::{AnsiColor, Style};

const KEYWORD: Style = AnsiColor::Magenta.on_default();
const STRING: Style = AnsiColor::Green.on_default();
const NUMBER: Style = AnsiColor::Yellow.on_default();
const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const PLACE: Style = AnsiColor::Cyan.on_default();

/// The comment and string syntax of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Unknown: no colours.
    Other,
    /// `//` and `/* */`.
    CLike,
    /// `#`.
    Script,
    /// `--`.
    Dashes,
    /// JSON, where every word is a literal.
    Json,
    Diff,
}

const KEYWORDS: &str = " abstract and as async await begin bool break case catch char class const continue crate def default defer del \
    delete do done double elif else elsif end enum esac except export extends extern false False fi final finally float fn for from \
    func function global go if impl implements import in include instanceof int interface is lambda let local long loop match mod \
    module move mut new nil None nonlocal not null nullptr operator or override package pass private protected pub public raise \
    readonly ref require return self Self short static str string struct super switch template then this throw throws trait true True \
    try type typedef typeof undefined union unless unsafe unsigned until use using val var virtual void when where while with yield \
    select insert update from into values create table join on group order by set limit SELECT INSERT UPDATE DELETE FROM INTO VALUES \
    CREATE TABLE JOIN ON GROUP ORDER BY SET WHERE AND OR NOT NULL AS LIMIT ";

impl Language {
    /// Returns the language of a code block by its info string.
    pub(super) fn of(info: &str) -> Self {
        let name = info.trim().trim_start_matches('{').trim_start_matches('.');
        let name = name.split([' ', ',', '{', '}', ':']).next().unwrap_or_default().to_lowercase();
        match name.as_str() {
            "rust" | "rs" | "c" | "h" | "cpp" | "c++" | "cc" | "hpp" | "java" | "js" | "javascript" | "jsx" | "ts"
            | "tsx" | "typescript" | "go" | "golang" | "kotlin" | "kt" | "swift" | "scala" | "php" | "css" | "scss"
            | "cs" | "csharp" | "dart" | "zig" | "proto" | "protobuf" | "json5" | "jsonc" | "mjs" => Self::CLike,
            "python" | "py" | "sh" | "bash" | "shell" | "zsh" | "fish" | "console" | "yaml" | "yml" | "toml"
            | "ruby" | "rb" | "perl" | "r" | "make" | "makefile" | "dockerfile" | "docker" | "ini" | "env" | "nix"
            | "elixir" | "julia" | "powershell" | "ps1" | "cmake" | "hcl" | "terraform" | "tf" => Self::Script,
            "sql" | "lua" | "haskell" | "hs" | "ada" | "elm" => Self::Dashes,
            "json" | "jsonl" => Self::Json,
            "diff" | "patch" => Self::Diff,
            _ => Self::Other,
        }
    }
}

/// Returns a highlighted line of code. `in_comment` is whether a multi-line comment is open.
pub(super) fn highlight(language: Language, source: &str, in_comment: &mut bool) -> StyledLine {
    match language {
        Language::Other => return StyledLine::plain(source),
        Language::Diff => return diff(source),
        _ => {}
    }
    let mut line = StyledLine::default();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let (length, style) = token(language, rest, c, in_comment);
        let (text, tail) = rest.split_at(length.max(c.len_utf8()));
        line.push(text, style);
        rest = tail;
    }
    line
}

fn diff(source: &str) -> StyledLine {
    let style = match source.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => Style::new().bold(),
        [b'+', ..] => ADDED,
        [b'-', ..] => REMOVED,
        [b'@', b'@', ..] => PLACE,
        _ => Style::new(),
    };
    StyledLine::styled(source, style)
}

/// Returns the length in bytes of the first token of the text, and its style.
fn token(language: Language, rest: &str, first: char, in_comment: &mut bool) -> (usize, Style) {
    if *in_comment || (language == Language::CLike && rest.starts_with("/*")) {
        let from = if *in_comment { 0 } else { 2 };
        let end = rest[from..].find("*/").map(|at| from + at + 2);
        *in_comment = end.is_none();
        return (end.unwrap_or(rest.len()), DIM);
    }
    let begins_comment = match language {
        Language::CLike => rest.starts_with("//"),
        Language::Script => first == '#',
        Language::Dashes => rest.starts_with("--"),
        _ => false,
    };
    if begins_comment {
        return (rest.len(), DIM);
    }
    if matches!(first, '"' | '\'' | '`') {
        return match string_end(rest, first) {
            Some(end) => (end, STRING),
            // An apostrophe, a lifetime, or a string that continues on the next line.
            None => (first.len_utf8(), Style::new()),
        };
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if is_word(first) {
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        let style = if first.is_ascii_digit() {
            NUMBER
        } else if KEYWORDS.contains(&format!(" {word} ")) {
            KEYWORD
        } else {
            Style::new()
        };
        return (length, style);
    }
    (first.len_utf8(), Style::new())
}

/// Returns the end of the string at the beginning of the text; `None` if it does not end on this line.
fn string_end(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}
