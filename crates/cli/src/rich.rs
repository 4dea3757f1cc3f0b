//! Renders Markdown on a terminal while it streams.
//!
//! Blocks are recognised line by line, so that the work is linear in the length of the answer and lines become
//! final early: a heading, an item or a line of code when it ends, a paragraph when the next block begins. Only the
//! inline text of a block is parsed. No text is ever dropped: unrecognised text is shown unchanged.

mod blocks;
mod code;
mod inline;
mod table;

use crate::styled::StyledLine;
use blocks::Blocks;

/// The maximum number of columns of rendered text: longer lines are hard to read.
const MAX_COLUMNS: usize = 100;
/// The maximum length of a buffered line in bytes. A longer one is broken.
const MAX_LINE_BYTES: usize = 8 << 10;

/// Renders streamed Markdown.
#[derive(Debug, Clone)]
pub(crate) struct RichText {
    blocks: Blocks,
    /// The source line without an end so far.
    open: String,
}

impl RichText {
    /// Creates a renderer for a terminal of this width.
    pub(crate) fn new(columns: usize) -> Self {
        Self { blocks: Blocks::new(usable(columns)), open: String::new() }
    }

    /// Sets the width of the following lines.
    pub(crate) fn resize(&mut self, columns: usize) {
        self.blocks.columns = usable(columns);
    }

    /// Adds a piece and returns the lines that have become final.
    pub(crate) fn push(&mut self, piece: &str) -> Vec<StyledLine> {
        let mut lines = Vec::new();
        let mut rest = piece;
        while let Some((head, tail)) = rest.split_once('\n') {
            self.open.push_str(head);
            self.break_long(&mut lines);
            self.blocks.line(&self.open, &mut lines);
            self.open.clear();
            rest = tail;
        }
        self.open.push_str(rest);
        self.break_long(&mut lines);
        lines
    }

    /// Returns the lines that are not final, in their current form.
    pub(crate) fn tail(&self) -> Vec<StyledLine> {
        self.clone().finish()
    }

    /// Ends the text and returns the remaining lines.
    pub(crate) fn finish(&mut self) -> Vec<StyledLine> {
        let mut lines = Vec::new();
        if !self.open.is_empty() {
            self.blocks.line(&self.open, &mut lines);
            self.open.clear();
        }
        self.blocks.end(&mut lines);
        lines
    }

    /// Breaks a line that exceeds the buffer.
    fn break_long(&mut self, lines: &mut Vec<StyledLine>) {
        while self.open.len() > MAX_LINE_BYTES {
            let mut at = MAX_LINE_BYTES;
            while !self.open.is_char_boundary(at) {
                at -= 1;
            }
            if let Some(blank) = self.open[..at].rfind(' ').filter(|blank| *blank > MAX_LINE_BYTES / 2) {
                at = blank + 1;
            }
            let rest = self.open.split_off(at);
            self.blocks.line(&self.open, lines);
            self.open = rest;
        }
    }
}

/// Returns the usable width. The last column stays empty, because terminals wrap after it in different ways.
fn usable(columns: usize) -> usize {
    columns.saturating_sub(1).clamp(16, MAX_COLUMNS)
}

#[cfg(test)]
mod tests;
