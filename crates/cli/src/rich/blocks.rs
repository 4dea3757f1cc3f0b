//! Recognises and renders the blocks of Markdown line by line.

use super::code::{Language, highlight};
use super::inline::{DIM, parse, wrap};
use super::table::{self, Align};
use crate::styled::{StyledLine, char_width};
use anstyle::{AnsiColor, Style};

/// The maximum length of a buffered paragraph in bytes. A longer one is shown as several.
const MAX_PARAGRAPH_BYTES: usize = 16 << 10;
/// The maximum number of table rows that are buffered to determine the column widths.
const MAX_ROWS: usize = 200;
/// The maximum nesting of lists and quotes that is indented.
const MAX_DEPTH: usize = 8;

/// The state of the block parser.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    pub(super) columns: usize,
    block: Block,
    /// The open list items, outermost first.
    items: Vec<Item>,
    /// The number of open quotes.
    quotes: usize,
    /// Whether the last shown line was blank, or nothing was shown yet.
    is_after_blank: bool,
    /// Whether a blank line must be shown before the next block.
    owes_blank: bool,
    /// The number of quotes around the last shown line.
    shown_quotes: usize,
}

#[derive(Debug, Clone)]
enum Block {
    None,
    Paragraph { first: StyledLine, rest: StyledLine, text: String },
    Table { prefix: StyledLine, aligns: Vec<Align>, rows: Vec<Vec<String>>, has_head: bool },
    Fence(Fence),
}

#[derive(Debug, Clone)]
struct Fence {
    mark: char,
    length: usize,
    indent: usize,
    quotes: usize,
    language: Language,
    in_comment: bool,
    prefix: StyledLine,
}

/// A list item: the columns at which its text begins, in the source and on the terminal.
#[derive(Debug, Clone, Copy)]
struct Item {
    source: usize,
    shown: usize,
}

impl Blocks {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns,
            block: Block::None,
            items: Vec::new(),
            quotes: 0,
            is_after_blank: true,
            owes_blank: false,
            shown_quotes: 0,
        }
    }

    /// Processes a source line.
    pub(super) fn line(&mut self, source: &str, to: &mut Vec<StyledLine>) {
        let source = source.strip_suffix('\r').unwrap_or(source);
        if self.goes_on_with_fence(source, to) {
            return;
        }
        let (quotes, text) = quoted(source);
        let is_lazy = quotes < self.quotes
            && quotes == 0
            && matches!(self.block, Block::Paragraph { .. })
            && !text.trim().is_empty();
        if quotes != self.quotes && !is_lazy {
            self.close(to);
            self.items.clear();
            self.quotes = quotes;
        }
        if text.trim().is_empty() {
            self.close(to);
            self.owes_blank = true;
            return;
        }
        let (indent, text) = indented(text);
        self.block_line(indent, text, to);
    }

    /// Ends the last block.
    pub(super) fn end(&mut self, to: &mut Vec<StyledLine>) {
        self.close(to);
        *self = Self { is_after_blank: self.is_after_blank, ..Self::new(self.columns) };
    }

    fn block_line(&mut self, indent: usize, text: &str, to: &mut Vec<StyledLine>) {
        if !matches!(self.block, Block::Paragraph { .. } | Block::Table { .. }) {
            // After a blank line, the indentation determines the item that a block belongs to.
            self.items.retain(|item| item.source <= indent);
        }
        if let Some((mark, length, info)) = fence(text) {
            self.close(to);
            self.items.retain(|item| item.source <= indent);
            self.open_fence(mark, length, indent, info, to);
        } else if self.goes_on_with_table(text, to) {
        } else if let Some((level, title)) = heading(text) {
            self.close(to);
            self.items.clear();
            self.heading(level, title, to);
        } else if let Some(level) = self.setext(text) {
            if let Block::Paragraph { text, .. } = std::mem::replace(&mut self.block, Block::None) {
                self.heading(level, &text, to);
            }
        } else if is_rule(text) {
            self.close(to);
            self.items.clear();
            self.gap(to);
            self.show(StyledLine::styled("─".repeat(self.columns.min(40)), DIM), to);
        } else if let Some((marker, content)) = item(text) {
            self.close(to);
            self.item(indent, marker, content, to);
        } else if matches!(self.block, Block::None) && self.is_indented_code(indent) {
            self.gap(to);
            let mut line = self.prefix();
            line.push(&" ".repeat(indent - self.source_indent()), Style::new());
            line.push(text, Style::new());
            self.show(line, to);
        } else {
            self.paragraph(text, to);
        }
    }

    /// Opens an item with its first block.
    fn item(&mut self, indent: usize, marker: &str, content: &str, to: &mut Vec<StyledLine>) {
        self.items.retain(|item| item.source <= indent);
        let (shown_marker, content) = match content.split_at_checked(4) {
            Some(("[ ] ", content)) => ("☐ ".to_owned(), content),
            Some(("[x] " | "[X] ", content)) => ("☑ ".to_owned(), content),
            _ if marker.len() == 1 => ("• ".to_owned(), content),
            _ => (format!("{marker} "), content),
        };
        let before = self.prefix();
        let mut first = before.clone();
        first.push(&shown_marker, AnsiColor::Cyan.on_default());
        let shown = self.shown_indent() + crate::styled::width(&shown_marker);
        if self.items.len() < MAX_DEPTH {
            self.items.push(Item { source: indent + marker.len() + 1, shown });
        }
        if let Some((mark, length, info)) = fence(content) {
            self.gap(to);
            self.show(first, to);
            self.open_fence(mark, length, indent + marker.len() + 1, info, to);
        } else {
            let mut rest = before;
            let indent = first.width() - rest.width();
            rest.push(&" ".repeat(indent), Style::new());
            self.block = Block::Paragraph { first, rest, text: content.to_owned() };
        }
    }

    fn paragraph(&mut self, line: &str, to: &mut Vec<StyledLine>) {
        let Block::Paragraph { text, first, .. } = &mut self.block else {
            self.close(to);
            let prefix = self.prefix();
            self.block = Block::Paragraph { first: prefix.clone(), rest: prefix, text: line.to_owned() };
            return;
        };
        // The header row of a table is the line above its delimiter row.
        let head_at = text.rfind('\n').map_or(0, |at| at + 1);
        if let Some(aligns) = table::delimiter_row(line)
            && let head = table::cells(&text[head_at..])
            && head.len() == aligns.len()
        {
            let mut prefix = first.clone();
            text.truncate(head_at);
            let is_alone = text.is_empty() && prefix.width() <= self.quotes * 2;
            if !is_alone {
                self.close(to);
                prefix = self.prefix();
            }
            self.block = Block::Table { prefix, aligns, rows: vec![head], has_head: true };
            return;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        if text.len() > MAX_PARAGRAPH_BYTES {
            let rest = self.prefix();
            self.close(to);
            self.owes_blank = false;
            self.block = Block::Paragraph { first: rest.clone(), rest, text: String::new() };
        }
    }

    fn goes_on_with_table(&mut self, text: &str, to: &mut Vec<StyledLine>) -> bool {
        let Block::Table { rows, .. } = &mut self.block else { return false };
        if !text.contains('|') {
            return false;
        }
        rows.push(table::cells(text));
        self.flush_long_table(to);
        true
    }

    fn setext(&self, text: &str) -> Option<usize> {
        let Block::Paragraph { text: title, first, .. } = &self.block else { return None };
        let is_title = !title.is_empty() && first.width() == self.quotes * 2;
        let text = text.trim_end();
        match text.chars().next().filter(|_| is_title)? {
            '=' if text.chars().all(|c| c == '=') => Some(1),
            '-' if text.chars().all(|c| c == '-') => Some(2),
            _ => None,
        }
    }

    fn heading(&mut self, level: usize, title: &str, to: &mut Vec<StyledLine>) {
        self.owes_blank = true;
        self.gap(to);
        let style = match level {
            1 => AnsiColor::Magenta.on_default().bold().underline(),
            2 => AnsiColor::Magenta.on_default().bold(),
            _ => Style::new().bold(),
        };
        let prefix = self.prefix();
        // The marks are kept for terminals without colours.
        let mut first = prefix.clone();
        first.push(&"#".repeat(level), DIM);
        first.push(" ", Style::new());
        for line in parse(title, style) {
            for line in wrap(&line, &first, &prefix, self.columns) {
                self.show(line, to);
            }
        }
        self.owes_blank = true;
    }

    fn open_fence(&mut self, mark: char, length: usize, indent: usize, info: &str, to: &mut Vec<StyledLine>) {
        self.gap(to);
        let prefix = self.prefix();
        let mut line = prefix.clone();
        line.push(&format!("{}{info}", mark.to_string().repeat(length)), DIM);
        self.show(line, to);
        let language = Language::of(info);
        let quotes = self.quotes;
        self.block = Block::Fence(Fence { mark, length, indent, quotes, language, in_comment: false, prefix });
    }

    /// Processes a line of a code block. Returns whether the line belongs to it.
    fn goes_on_with_fence(&mut self, source: &str, to: &mut Vec<StyledLine>) -> bool {
        let Block::Fence(open) = &mut self.block else { return false };
        let Some(text) = strip_quotes(source, open.quotes) else {
            self.block = Block::None;
            return false;
        };
        let (indent, trimmed) = indented(text);
        let is_end = fence(trimmed).is_some_and(|(mark, length, info)| {
            mark == open.mark && length >= open.length && info.is_empty() && indent < open.indent + 4
        });
        let mut line = open.prefix.clone();
        if is_end {
            line.push(trimmed.trim_end(), DIM);
            self.block = Block::None;
            self.owes_blank = false;
        } else {
            let unindented = strip_indent(text, open.indent);
            line.append(&highlight(open.language, unindented, &mut open.in_comment));
        }
        self.show(line, to);
        true
    }

    /// Shows and closes the open block. A code block stays open until its end.
    fn close(&mut self, to: &mut Vec<StyledLine>) {
        match std::mem::replace(&mut self.block, Block::None) {
            Block::None | Block::Fence(_) => {}
            Block::Paragraph { first, rest, text } => {
                let is_empty = text.is_empty() && first == rest;
                if is_empty {
                    return;
                }
                self.gap(to);
                let mut first = first;
                for line in parse(&text, Style::new()) {
                    for line in wrap(&line, &first, &rest, self.columns) {
                        self.show(line, to);
                    }
                    first.clone_from(&rest);
                }
            }
            Block::Table { prefix, aligns, rows, has_head } => {
                self.gap(to);
                for line in table::render(&rows, &aligns, has_head, &prefix, self.columns) {
                    self.show(line, to);
                }
            }
        }
    }

    /// Shows the rows of a table that exceeds the buffer.
    fn flush_long_table(&mut self, to: &mut Vec<StyledLine>) {
        if let Block::Table { prefix, aligns, rows, has_head } = &mut self.block
            && rows.len() >= MAX_ROWS
        {
            let lines = table::render(rows, aligns, *has_head, prefix, self.columns);
            rows.clear();
            *has_head = false;
            if std::mem::take(&mut self.owes_blank) && !self.is_after_blank {
                to.push(StyledLine::default());
            }
            self.is_after_blank = false;
            to.extend(lines);
        }
    }

    /// Shows the pending blank line.
    fn gap(&mut self, to: &mut Vec<StyledLine>) {
        if std::mem::take(&mut self.owes_blank) && !self.is_after_blank {
            let mut line = StyledLine::default();
            let quotes = self.quotes.min(self.shown_quotes).min(MAX_DEPTH);
            line.push("│ ".repeat(quotes).trim_end(), DIM);
            to.push(line);
        }
    }

    fn show(&mut self, line: StyledLine, to: &mut Vec<StyledLine>) {
        self.is_after_blank = line.is_empty();
        self.shown_quotes = self.quotes;
        to.push(line);
    }

    /// Returns the prefix of a block's lines.
    fn prefix(&self) -> StyledLine {
        let mut prefix = StyledLine::default();
        prefix.push(&"│ ".repeat(self.quotes.min(MAX_DEPTH)), DIM);
        prefix.push(&" ".repeat(self.shown_indent().min(self.columns / 2)), Style::new());
        prefix
    }

    fn shown_indent(&self) -> usize {
        self.items.last().map_or(0, |item| item.shown)
    }

    fn source_indent(&self) -> usize {
        self.items.last().map_or(0, |item| item.source)
    }

    fn is_indented_code(&self, indent: usize) -> bool {
        indent >= self.source_indent() + 4
    }
}

/// Returns the number of quotes around a line, and its text.
fn quoted(line: &str) -> (usize, &str) {
    let mut quotes = 0;
    let mut text = line;
    while let Some(rest) =
        text.trim_start_matches(' ').strip_prefix('>').filter(|_| text.len() - text.trim_start_matches(' ').len() < 4)
    {
        quotes += 1;
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    (quotes, text)
}

/// Returns the text of a line within this many quotes; `None` if there are fewer.
fn strip_quotes(line: &str, quotes: usize) -> Option<&str> {
    let mut text = line;
    for _ in 0..quotes {
        let rest = text.trim_start_matches(' ').strip_prefix('>')?;
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Some(text)
}

/// Returns the columns of a line's indentation, and the rest.
fn indented(line: &str) -> (usize, &str) {
    let text = line.trim_start_matches([' ', '\t']);
    let indent = line[..line.len() - text.len()].chars().map(char_width).sum();
    (indent, text)
}

/// Removes at most this many columns of indentation.
fn strip_indent(line: &str, columns: usize) -> &str {
    let mut left = columns;
    line.trim_start_matches(|c: char| {
        let fits = matches!(c, ' ' | '\t') && char_width(c) <= left;
        left = if fits { left - char_width(c) } else { 0 };
        fits
    })
}

/// Returns the mark, its length and the info string of a line that opens or closes a code block.
fn fence(text: &str) -> Option<(char, usize, &str)> {
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = text.trim_start_matches(mark);
    let length = text.len() - info.len();
    let is_fence = length >= 3 && !(mark == '`' && info.contains('`'));
    is_fence.then(|| (mark, length, info.trim()))
}

fn heading(text: &str) -> Option<(usize, &str)> {
    let title = text.trim_start_matches('#');
    let level = text.len() - title.len();
    let is_heading = (1..=6).contains(&level) && title.starts_with([' ', '\t']);
    is_heading.then(|| {
        let title = title.trim();
        let stripped = title.trim_end_matches('#');
        let has_closing = stripped.len() < title.len() && (stripped.is_empty() || stripped.ends_with(' '));
        (level, if has_closing { stripped.trim_end() } else { title })
    })
}

fn is_rule(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !c.is_whitespace());
    let Some(mark) = marks.next().filter(|c| matches!(c, '-' | '*' | '_')) else { return false };
    text.chars().filter(|c| *c == mark).count() >= 3 && marks.all(|c| c == mark)
}

/// Returns the marker and the text of a line that begins an item.
fn item(text: &str) -> Option<(&str, &str)> {
    let number = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let length = match text[number..].chars().next()? {
        '-' | '*' | '+' if number == 0 => 1,
        '.' | ')' if (1..=9).contains(&number) => number + 1,
        _ => return None,
    };
    let (marker, content) = text.split_at(length);
    let content = if content.is_empty() { "" } else { content.strip_prefix([' ', '\t'])? };
    Some((marker, content.trim_start()))
}
