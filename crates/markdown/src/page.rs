//! A Markdown text built from blocks that are separated by blank lines.

use crate::cut::{Cut, cut};
use crate::figures::count;
use crate::inline::{html, longest_run_of_backticks};
use crate::quoted::quoted;
use crate::visible::visible;

/// The names and values of a list of facts; the values are Markdown.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// A Markdown text built from blocks.
///
/// All blocks except [`quote`](Self::quote) and the fences contain only the transcript's own words, or untrusted
/// text that was escaped by [`inline`](crate::inline).
#[derive(Debug, Default)]
pub(crate) struct MarkdownPage(String);

impl MarkdownPage {
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn block(&mut self, block: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(block);
        self.0.push('\n');
    }

    pub(crate) fn heading(&mut self, level: usize, title: &str) {
        self.block(&format!("{} {title}", "#".repeat(level)));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.block(text);
    }

    pub(crate) fn list(&mut self, items: &[String]) {
        if !items.is_empty() {
            self.block(&format!("- {}", items.join("\n- ")));
        }
    }

    pub(crate) fn facts(&mut self, facts: Facts) {
        let items: Vec<_> = facts.into_iter().map(|(name, value)| format!("**{name}:** {value}")).collect();
        self.list(&items);
    }

    /// Adds untrusted Markdown as a block quote in which it renders.
    pub(crate) fn quote(&mut self, markdown: &str) {
        let shown = visible(markdown);
        if shown.trim().is_empty() {
            self.paragraph("*(empty)*");
            return;
        }
        match quoted(&shown) {
            Some(quote) => self.block(&quote),
            None => self.fence(&shown, "markdown"),
        }
    }

    /// Adds untrusted text as a code block, with control characters made visible.
    pub(crate) fn verbatim(&mut self, text: &str, language: &str) {
        self.bounded(text, language, usize::MAX);
    }

    /// Adds untrusted text like [`verbatim`](Self::verbatim), without its middle if it is longer than `limit`
    /// bytes.
    pub(crate) fn bounded(&mut self, text: &str, language: &str, limit: usize) {
        let shown = visible(text);
        match cut(&shown, limit) {
            Cut::Whole("") => self.paragraph("*(empty)*"),
            Cut::Whole(text) => self.fence(text, language),
            Cut::Middle { head, omitted, tail } => {
                if !head.is_empty() {
                    self.fence(head, language);
                }
                // Between two fences, so that no tool can forge it.
                self.paragraph(&format!("*… {} omitted …*", count(omitted as u64, "byte", "bytes")));
                if !tail.is_empty() {
                    self.fence(tail, language);
                }
            }
        }
    }

    fn fence(&mut self, text: &str, language: &str) {
        let fence = "`".repeat(longest_run_of_backticks(text).max(2) + 1);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.block(&format!("{fence}{language}\n{text}{end}{fence}"));
    }

    /// Adds the content of `fill` as a collapsed section.
    pub(crate) fn details(&mut self, summary: &str, fill: impl FnOnce(&mut Self)) {
        self.block(&format!("<details>\n<summary>{}</summary>", html(summary)));
        fill(self);
        self.block("</details>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fill: impl FnOnce(&mut MarkdownPage)) -> String {
        let mut page = MarkdownPage::default();
        fill(&mut page);
        page.into_text()
    }

    #[test]
    fn fence_is_longer_than_content() {
        assert_eq!(page(|page| page.verbatim("a\n````\nb\n", "text")), "`````text\na\n````\nb\n`````\n");
    }

    #[test]
    fn quote_lines_are_marked() {
        assert_eq!(page(|page| page.quote("a\n\n# b\rc")), "> a\n>\n> # b␍\n> c\n");
        assert_eq!(page(|page| page.quote(" \n")), "*(empty)*\n");
    }

    #[test]
    fn omission_note_is_outside_fences() {
        let text = page(|page| page.bounded("1234567890", "", 4));
        assert_eq!(text, "```\n12\n```\n\n*… 6 bytes omitted …*\n\n```\n90\n```\n");
        assert_eq!(page(|page| page.bounded("12", "", 0)), "*… 2 bytes omitted …*\n");
    }
}
