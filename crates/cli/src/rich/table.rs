//! Renders tables whose columns fit the terminal.

use super::inline::{DIM, parse, wrap};
use crate::styled::StyledLine;
use anstyle::Style;

/// The minimum width of a column in a table that is too wide.
const MIN_COLUMN: usize = 6;
/// The width of the separator between two columns.
const BETWEEN: usize = 3;

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// Parses the delimiter row below a table's header; `None` if it is not one.
pub(super) fn delimiter_row(line: &str) -> Option<Vec<Align>> {
    if !line.contains('-') || !line.contains('|') {
        return None;
    }
    let align = |cell: &str| {
        let cell = cell.trim();
        let dashes = cell.trim_start_matches(':').trim_end_matches(':');
        (!dashes.is_empty() && dashes.chars().all(|c| c == '-')).then(|| {
            match (cell.starts_with(':'), cell.ends_with(':')) {
                (true, true) => Align::Centre,
                (false, true) => Align::Right,
                _ => Align::Left,
            }
        })
    };
    cells(line).iter().map(|cell| align(cell)).collect()
}

/// Splits a row at its bars, except escaped ones and those in code.
pub(super) fn cells(row: &str) -> Vec<String> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    let mut in_code = false;
    for c in row.chars() {
        match c {
            '|' if is_escaped => {
                if let Some(cell) = cells.last_mut() {
                    cell.pop();
                    cell.push('|');
                }
            }
            '|' if !in_code => cells.push(String::new()),
            c => {
                in_code ^= c == '`';
                if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
            }
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    if cells.len() > 1 && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells
}

/// Renders rows, the first of which is the header if `has_head`.
pub(super) fn render(
    rows: &[Vec<String>],
    aligns: &[Align],
    has_head: bool,
    prefix: &StyledLine,
    columns: usize,
) -> Vec<StyledLine> {
    let count = rows.iter().map(Vec::len).chain([aligns.len()]).max().unwrap_or(0);
    let parsed: Vec<Vec<StyledLine>> = rows
        .iter()
        .enumerate()
        .map(|(number, row)| {
            let style = if has_head && number == 0 { Style::new().bold() } else { Style::new() };
            (0..count).map(|at| cell(row.get(at).map_or("", String::as_str), style)).collect()
        })
        .collect();
    let widest = |at: usize| parsed.iter().map(|row| row[at].width()).max().unwrap_or(0).max(1);
    let room = columns.saturating_sub(prefix.width() + count.saturating_sub(1) * BETWEEN);
    let widths = fit((0..count).map(widest).collect(), room);
    if widths.iter().sum::<usize>() > room {
        return listed(&parsed, has_head, prefix, columns);
    }
    let mut lines = Vec::new();
    for (number, row) in parsed.iter().enumerate() {
        let wrapped: Vec<Vec<StyledLine>> =
            row.iter().zip(&widths).map(|(cell, width)| wrap_cell(cell, *width)).collect();
        for line in 0..wrapped.iter().map(Vec::len).max().unwrap_or(1) {
            let mut shown = prefix.clone();
            for (at, cell) in wrapped.iter().enumerate() {
                if at > 0 {
                    shown.push(" │ ", DIM);
                }
                let text = cell.get(line).cloned().unwrap_or_default();
                let is_last = at + 1 == count;
                pad(&mut shown, &text, widths[at], aligns.get(at).copied().unwrap_or(Align::Left), is_last);
            }
            lines.push(shown);
        }
        if has_head && number == 0 {
            let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("─┼─");
            let mut shown = prefix.clone();
            shown.push(&rule, DIM);
            lines.push(shown);
        }
    }
    lines
}

/// Returns the rows of a table that is too wide even with narrow columns: each cell on its own line, and a line between rows.
fn listed(rows: &[Vec<StyledLine>], has_head: bool, prefix: &StyledLine, columns: usize) -> Vec<StyledLine> {
    let mut lines = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for cell in row {
            lines.extend(wrap(cell, prefix, prefix, columns));
        }
        let mut rule = prefix.clone();
        let mark = if has_head && number == 0 { "═" } else { "─" };
        rule.push(&mark.repeat(columns.saturating_sub(prefix.width())), DIM);
        lines.push(rule);
    }
    lines
}

/// Returns a cell on one line.
fn cell(text: &str, style: Style) -> StyledLine {
    let mut line = StyledLine::default();
    for part in parse(text.trim(), style) {
        if !line.is_empty() {
            line.push(" ", style);
        }
        line.append(&part);
    }
    line
}

fn wrap_cell(cell: &StyledLine, width: usize) -> Vec<StyledLine> {
    if cell.width() <= width {
        vec![cell.clone()]
    } else {
        wrap(cell, &StyledLine::default(), &StyledLine::default(), width)
    }
}

fn pad(to: &mut StyledLine, text: &StyledLine, width: usize, align: Align, is_last: bool) {
    let room = width.saturating_sub(text.width());
    let before = match align {
        Align::Left => 0,
        Align::Centre => room / 2,
        Align::Right => room,
    };
    to.push(&" ".repeat(before), Style::new());
    to.append(text);
    if !is_last {
        to.push(&" ".repeat(room - before), Style::new());
    }
}

/// Narrows the widest columns until the table fits.
fn fit(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    loop {
        let total: usize = widths.iter().sum();
        let Some(widest) = widths.iter().copied().max() else { return widths };
        if total <= room || widest <= MIN_COLUMN {
            return widths;
        }
        let second = widths.iter().copied().filter(|width| *width < widest).max().unwrap_or(0).max(MIN_COLUMN);
        let count = widths.iter().filter(|width| **width == widest).count();
        let excess = (total - room).div_ceil(count);
        let narrowed = widest.saturating_sub(excess).max(second);
        let narrowed = if narrowed == widest { widest - 1 } else { narrowed };
        for width in widths.iter_mut().filter(|width| **width == widest) {
            *width = narrowed;
        }
    }
}
