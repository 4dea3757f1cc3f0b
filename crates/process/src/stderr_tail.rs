//! Keeps the beginning and the end of opencode's stderr.

use std::collections::VecDeque;

/// The number of lines kept from the beginning: the first error is often the important one.
const HEAD_LINES: usize = 20;
/// The number of lines kept from the end: the last lines are closest to the crash.
const TAIL_LINES: usize = 40;
/// The number of characters kept of a line.
const LINE_CHARS: usize = 1000;

/// Keeps the beginning and the end of a text of unknown length.
#[derive(Debug, Default)]
pub(crate) struct StderrTail {
    head: Vec<String>,
    tail: VecDeque<String>,
    left_out: u64,
}

impl StderrTail {
    pub(crate) fn push(&mut self, line: &str) {
        let mut kept: String = line.chars().take(LINE_CHARS).collect();
        if kept.len() < line.len() {
            kept.push('…');
        }
        if self.head.len() < HEAD_LINES {
            self.head.push(kept);
            return;
        }
        self.tail.push_back(kept);
        if self.tail.len() > TAIL_LINES {
            self.tail.pop_front();
            self.left_out += 1;
        }
    }

    /// Returns the kept lines, with the number of omitted ones.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<&str> = self.head.iter().map(String::as_str).collect();
        let note = format!("… {} lines omitted …", self.left_out);
        if self.left_out > 0 {
            lines.push(&note);
        }
        lines.extend(self.tail.iter().map(String::as_str));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_and_omitted_count_are_kept() {
        let mut stderr = StderrTail::default();
        for number in 0..1000 {
            stderr.push(&number.to_string());
        }
        let text = stderr.text();
        assert!(text.starts_with("0\n1\n") && text.ends_with("998\n999"), "{text}");
        assert!(text.contains("… 940 lines omitted …"), "{text}");
    }

    #[test]
    fn short_text_is_kept_whole() {
        let mut stderr = StderrTail::default();
        assert_eq!(stderr.text(), "");
        stderr.push("one");
        stderr.push("two");
        assert_eq!(stderr.text(), "one\ntwo");
        stderr.push(&"x".repeat(5000));
        assert!(stderr.text().len() < 2000);
    }
}
