//! Formats a permission request for the user: what would be executed, complete and visible, on separate lines.

use crate::styled::width as columns_of;
use crate::word_wrap::wrap as wrap_words;
use opencode_run_core::PermissionRequest;
use opencode_run_markdown::is_unsafe_on_terminal;
use serde_json::Value;
use std::fmt::Write;

/// The maximum number of shown characters of a tool's input: a dozen screens. The middle of a longer one is omitted
/// and marked.
const MAX_SHOWN: usize = 16 << 10;
/// The prefix of every line of the input, so that a line written by the model cannot imitate one of ours.
const MARGIN: &str = "  | ";

/// The input of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallInput {
    pub(crate) tool: String,
    pub(crate) input: Value,
}

/// Returns the question for a terminal of this many columns.
pub(crate) fn of(ask: &PermissionRequest, input: Option<&CallInput>, width: usize) -> String {
    let patterns = ask.patterns.iter().map(|pattern| one_line(pattern)).collect::<Vec<_>>().join(", ");
    let mut question = format!("The agent asks for {} ({patterns}).", one_line(&ask.permission));
    let next = match input {
        None => "opencode does not report what the tool was given.".to_owned(),
        Some(CallInput { tool, .. }) => format!("The tool `{}` will run:", one_line(tool).replace('`', "'")),
    };
    // Writing to a string cannot fail, here and below.
    if columns_of(&question) + 1 + columns_of(&next) < width {
        writeln!(question, " {next}").ok();
    } else {
        // Only constant text is wrapped without a margin: a pattern or a tool's name could imitate a line of ours.
        question = wrap_words("The agent asks for", width.saturating_sub(1), 0) + "\n";
        wrap(&mut question, &format!("{} ({patterns})", one_line(&ask.permission)), width);
        if columns_of(&next) < width {
            writeln!(question, "{next}").ok();
        } else if input.is_some() {
            wrap(&mut question, &next, width);
        } else {
            writeln!(question, "{}", wrap_words(&next, width.saturating_sub(1), 0)).ok();
        }
    }
    match input {
        None => {}
        Some(CallInput { input, .. }) => {
            for line in omit_middle(&text_of(input)).lines() {
                wrap(&mut question, &visible_strictly(line), width);
            }
        }
    }
    if ask.always.is_empty() {
        // `always` is offered only if its patterns are shown.
        question.push_str("Allow it? [y]es, [n]o: ");
        return question;
    }
    let always = if ask.always_is_kept {
        "`always` allows all of these from now on, in all sessions of the project:"
    } else {
        "`always` allows all of these, without further questions:"
    };
    writeln!(question, "{}", wrap_words(always, width.saturating_sub(1), 0)).ok();
    let always: Vec<_> = ask.always.iter().map(|pattern| format!("{} {pattern}", ask.permission)).collect();
    for line in always.iter().map(|line| one_line(line)) {
        wrap(&mut question, &line, width);
    }
    question.push_str("Allow it? [y]es, [n]o, [a]lways: ");
    question
}

/// Returns a tool's input as text, one field per line; line breaks within a field are marked.
fn text_of(input: &Value) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.replace('\n', "␊\n    "),
        other => other.to_string(),
    };
    match input {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}\n", name.replace('\n', "␊"), shown(value)));
            fields.collect()
        }
        other => shown(other),
    }
}

/// Replaces the middle of a long text by its number of characters.
fn omit_middle(text: &str) -> String {
    let count = text.chars().count();
    if count <= MAX_SHOWN {
        return text.to_owned();
    }
    let end = MAX_SHOWN / 4;
    let head: String = text.chars().take(MAX_SHOWN - end).collect();
    let tail: String = text.chars().skip(count - end).collect();
    format!("{head}\n… {} CHARACTERS ARE NOT SHOWN …\n{tail}", count - MAX_SHOWN)
}

/// Appends a line after the margin, broken before the terminal would break it without a margin.
fn wrap(to: &mut String, line: &str, width: usize) {
    let room = width.saturating_sub(MARGIN.len() + 1).max(16);
    to.push_str(MARGIN);
    let mut used = 0;
    for c in line.chars() {
        // A character that is not ASCII may take two columns.
        let columns = if c.is_ascii() { 1 } else { 2 };
        if used + columns > room {
            to.push('\n');
            to.push_str(MARGIN);
            used = 0;
        }
        to.push(c);
        used += columns;
    }
    to.push('\n');
}

fn one_line(text: &str) -> String {
    visible_strictly(&text.replace('\n', "␊"))
}

/// Returns a line in which every character is visible: the only blank is the ASCII space, and nothing has zero
/// width.
fn visible_strictly(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\t' => shown.push('␉'),
            '\0'..='\u{1f}' => shown.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            c if is_unsafe_on_terminal(c) || is_invisible(c) => {
                write!(shown, "⟨U+{:04X}⟩", u32::from(c)).ok();
            }
            c => shown.push(c),
        }
    }
    shown
}

/// Returns whether a character is blank or has zero width, including joiners and selectors, which commands do not
/// need.
fn is_invisible(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2060}'..='\u{2065}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(input: Value) -> String {
        let patterns = vec!["ls *".to_owned()];
        let ask = PermissionRequest::new("bash", patterns).always(vec!["ls *".to_owned(), "cd\n *".to_owned()]);
        of(&ask, Some(&CallInput { tool: "bash".to_owned(), input }), 80)
    }

    #[test]
    fn command_keeps_its_line_breaks() {
        assert_eq!(
            asked(json!({"command": "ls\n  rm -rf x\t", "timeout": 5})),
            "The agent asks for bash (ls *). The tool `bash` will run:\n  | command: ls␊\n  |       rm -rf x␉\n  | timeout: 5\n\
             `always` allows all of these, without further questions:\n  | bash ls *\n  | bash cd␊ *\n\
             Allow it? [y]es, [n]o, [a]lways: "
        );
    }

    #[test]
    fn model_lines_have_a_margin() {
        let fake = "ls\nAllow it? [y]es\r\u{1b}[8m\u{9b}A\u{202e}\u{2028}Allow it?";
        let padded = format!("ls{}Allow it? [y]es", " ".repeat(78 * 3));
        for command in [fake.to_owned(), padded, "日本".repeat(200)] {
            let question = asked(json!({"command": command, "a\nAllow it?": command}));
            let (input, last) = question.rsplit_once('\n').unwrap();
            assert!(last.starts_with("Allow it? "), "{question}");
            for line in input.lines().skip(1).filter(|line| !line.starts_with("`always` allows")) {
                assert!(line.starts_with(MARGIN), "{line:?}");
                let columns: usize = line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
                assert!(columns < 80, "{line:?}");
            }
            let drives = |c: char| c != '\n' && (is_unsafe_on_terminal(c) || is_invisible(c));
            assert!(!question.contains(drives), "{question:?}");
        }
    }

    #[test]
    fn narrow_question_is_wrapped() {
        let ask = PermissionRequest::new("external_directory", vec!["/etc/a long name Allow it?/*".to_owned()]);
        let ask = ask.always(vec!["/etc/*".to_owned()]);
        let input = CallInput { tool: "read".to_owned(), input: json!({"filePath": "/etc/passwd"}) };
        assert_eq!(
            of(&ask, Some(&input), 40),
            "The agent asks for\n  | external_directory (/etc/a long nam\n  | e Allow it?/*)\nThe tool `read` will run:\n  | \
             filePath: /etc/passwd\n`always` allows all of these, without\nfurther questions:\n  | external_directory \
             /etc/*\nAllow it? [y]es, [n]o, [a]lways: "
        );
    }

    #[test]
    fn kept_permission_is_announced() {
        let ask = PermissionRequest::new("shell", vec!["ls".to_owned()]).always(vec!["ls *".to_owned()]);
        let question = of(&ask.always_is_kept(true), None, 80);
        let announced = "`always` allows all of these from now on, in all sessions of the project:";
        assert!(question.lines().any(|line| line == announced), "{question}");
    }

    #[test]
    fn long_name_of_tool_imitates_no_line() {
        let ask = PermissionRequest::new("read", vec!["x".to_owned()]);
        let tool = format!("x{}Allow it? [y]es", " ".repeat(200));
        let question = of(&ask, Some(&CallInput { tool, input: json!({}) }), 80);
        let lines: Vec<_> = question.lines().collect();
        let (last, others) = lines[1..].split_last().unwrap();
        assert!(others.len() > 2 && others.iter().all(|line| line.starts_with(MARGIN)), "{question}");
        assert!(last.starts_with("Allow it?"), "{question}");
    }

    #[test]
    fn omission_is_marked() {
        let question = asked(json!({"command": format!("{}; the end", "x".repeat(40_000))}));
        assert!(question.contains("… 23") && question.contains("CHARACTERS ARE NOT SHOWN …"), "{}", question.len());
        assert!(question.contains("; the end\n"), "{question}");
    }

    #[test]
    fn unknown_input_is_reported() {
        let ask = PermissionRequest::new("bash", vec!["ls\n\u{1b}[8m".to_owned()]);
        assert_eq!(
            of(&ask, None, 80),
            "The agent asks for\n  | bash (ls␊␛[8m)\nopencode does not report what the tool was given.\n\
             Allow it? [y]es, [n]o: "
        );
    }
}
