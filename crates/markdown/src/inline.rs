//! Untrusted text within a line of the transcript.

use crate::visible::visible_line;

/// Returns the text as a code span.
pub(crate) fn code(text: &str) -> String {
    let text = visible_line(text);
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let ticks = "`".repeat(longest_run_of_backticks(&text) + 1);
    // A Markdown parser strips one space on each side; it separates the backticks and preserves outer spaces.
    let outer = |c: Option<char>| matches!(c, Some('`' | ' '));
    let pad = if outer(text.chars().next()) || outer(text.chars().last()) { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// Returns the text as plain words on one line, with all Markdown escaped.
pub(crate) fn words(text: &str) -> String {
    let text = visible_line(text.trim());
    let mut escaped = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let within_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_active = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '&' | '#' | '~' | '|' | '$' | '!' => true,
            // An underscore within a word, as in `task_name`, is not Markdown and is more readable unescaped.
            '_' => !(within_word(before) && within_word(chars.peek().copied())),
            _ => false,
        };
        if is_active {
            escaped.push('\\');
        }
        escaped.push(c);
        before = Some(c);
    }
    escaped
}

/// Returns the text escaped for HTML.
pub(crate) fn html(text: &str) -> String {
    visible_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the length of the longest run of backticks.
pub(crate) fn longest_run_of_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_span_may_contain_backticks() {
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code(" x"), "`  x `");
        assert_eq!(code(""), "(empty)");
        assert_eq!(code("a\n\nb"), "`a␊␊b`");
    }

    #[test]
    fn words_are_never_markdown() {
        assert_eq!(words("fix_the_test"), "fix_the_test");
        assert_eq!(words("_a_ *b* <c> [d](e) #"), "\\_a\\_ \\*b\\* \\<c\\> \\[d\\](e) \\#");
        assert_eq!(html("</summary>&"), "&lt;/summary&gt;&amp;");
    }
}
