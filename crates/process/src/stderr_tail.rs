//! The beginning and the end of what opencode wrote to stderr.

use std::collections::VecDeque;

/// How many lines are kept from the beginning: the first error is often the one that matters.
const HEAD_LINES: usize = 20;
/// How many lines are kept from the end: what was written last is nearest to the crash.
const TAIL_LINES: usize = 40;
/// How much of a line is kept.
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

    /// Returns what was kept, with the count of what was not.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<&str> = self.head.iter().map(String::as_str).collect();
        let note = format!("… {} lines left out …", self.left_out);
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
    fn keeps_both_ends_and_says_how_much_is_missing() {
        let mut stderr = StderrTail::default();
        for number in 0..1000 {
            stderr.push(&number.to_string());
        }
        let text = stderr.text();
        assert!(text.starts_with("0\n1\n") && text.ends_with("998\n999"), "{text}");
        assert!(text.contains("… 940 lines left out …"), "{text}");
    }

    #[test]
    fn a_short_text_stays_whole() {
        let mut stderr = StderrTail::default();
        assert_eq!(stderr.text(), "");
        stderr.push("one");
        stderr.push("two");
        assert_eq!(stderr.text(), "one\ntwo");
        stderr.push(&"x".repeat(5000));
        assert!(stderr.text().len() < 2000);
    }
}
