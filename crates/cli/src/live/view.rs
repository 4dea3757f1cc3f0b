//! The view as a pure function from the events, the time and the terminal size to its lines.

use crate::screen::Size;
use crate::short_text::{duration_text, first_line};
use crate::styled::{StyledLine, char_width, width};
use anstyle::{AnsiColor, Style};
use opencode_run_core::{Event, SessionId, ToolCall, ToolState, TurnEvent, WarningCode};
use serde_json::Value;
use std::time::Duration;

const DIM: Style = Style::new().dimmed();
const NAME: Style = AnsiColor::Cyan.on_default();
const TROUBLE: Style = AnsiColor::Yellow.on_default();
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const SPINNER_STEP: Duration = Duration::from_millis(120);
/// The maximum number of tools that are shown.
const MAX_TOOLS: usize = 6;
/// The fields of a tool's input that describe best what it does, in order of preference.
const DESCRIBING_FIELDS: [&str; 7] = ["command", "description", "filePath", "path", "pattern", "url", "query"];

/// Those of them that are paths.
const PATHS: [&str; 2] = ["filePath", "path"];

/// The activity of a turn.
#[derive(Debug, Clone)]
pub(super) struct View {
    doing: String,
    tools: Vec<Tool>,
    retry: Option<Retry>,
    tokens: u64,
    cost: f64,
    is_stopping: bool,
}

#[derive(Debug, Clone)]
struct Tool {
    agent: Option<SessionId>,
    id: String,
    name: String,
    title: Title,
    since: Duration,
}

#[derive(Debug, Clone)]
struct Retry {
    attempt: u32,
    message: String,
    /// The time of the next attempt, if opencode reports it.
    until: Option<Duration>,
}

impl View {
    pub(super) fn waiting(awaited: &str) -> Self {
        Self { doing: awaited.to_owned(), tools: Vec::new(), retry: None, tokens: 0, cost: 0.0, is_stopping: false }
    }

    pub(super) fn wait_for(&mut self, awaited: &str) {
        awaited.clone_into(&mut self.doing);
    }

    /// Records that the turn is being ended.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Processes an event that was received at this time.
    pub(super) fn apply(&mut self, now: Duration, event: &TurnEvent) {
        let agent = &event.observed.sub_agent;
        if !matches!(event.observed.event, Event::Unknown { .. }) {
            self.retry = None;
        }
        match &event.observed.event {
            Event::Tool(call) => self.tool(now, agent.as_ref(), call),
            Event::StepFinish { usage, cost, .. } => {
                self.tokens += usage.total();
                if cost.is_finite() {
                    self.cost += cost;
                }
                if agent.is_none() {
                    self.wait_for("waiting for the model");
                }
            }
            Event::Retry { attempt, message, next } => {
                let until = next.map(|next| now + next);
                self.retry = Some(Retry { attempt: *attempt, message: first_line(message), until });
            }
            Event::Warning(warning) if warning.code == WarningCode::McpPending => {
                self.wait_for("waiting for MCP servers");
            }
            _ if agent.is_some() => {}
            Event::StepStart => self.wait_for("waiting for the model"),
            Event::TextDelta { .. } | Event::Text { .. } => self.wait_for("writing"),
            Event::ReasoningDelta { .. } | Event::Reasoning { .. } => self.wait_for("thinking"),
            _ => {}
        }
    }

    fn tool(&mut self, now: Duration, agent: Option<&SessionId>, call: &ToolCall) {
        let at = self.tools.iter().position(|tool| tool.id == call.id && tool.agent.as_ref() == agent);
        if call.state.is_final() {
            at.map(|at| self.tools.remove(at));
            if self.tools.is_empty() {
                self.wait_for("waiting for the model");
            }
            return;
        }
        let title = title(call);
        if let Some(tool) = at.and_then(|at| self.tools.get_mut(at)) {
            tool.title = title;
        } else {
            let agent = agent.cloned();
            let id = call.id.clone();
            let name = call.tool.clone();
            self.tools.push(Tool { agent, id, name, title, since: now });
        }
    }

    /// Returns how long the tool call of an event has been running.
    pub(super) fn running_time(&self, now: Duration, event: &TurnEvent) -> Option<Duration> {
        let Event::Tool(call) = &event.observed.event else { return None };
        let tool = self.tools.iter().find(|tool| tool.id == call.id && tool.agent == event.observed.sub_agent)?;
        Some(now.saturating_sub(tool.since))
    }

    /// Returns the lines of the view. `tail` contains the lines of the answer that are not final.
    pub(super) fn lines(&self, now: Duration, size: Size, tail: Vec<StyledLine>) -> Vec<StyledLine> {
        let columns = size.columns.saturating_sub(1);
        let mut view = Vec::new();
        for tool in self.tools.iter().take(MAX_TOOLS) {
            view.push(tool.line(now, columns));
        }
        if let Some(more) = self.tools.len().checked_sub(MAX_TOOLS).filter(|more| *more > 0) {
            view.push(StyledLine::styled(format!("  … and {more} more"), DIM));
        }
        view.push(self.status(now, columns));
        // A view that is taller than the window cannot be erased, so only the end of the answer is shown.
        let room = size.rows.saturating_sub(1);
        let omitted = view.len().saturating_sub(room.max(1));
        let mut view = view.split_off(omitted);
        let shown = tail.len().min(room.saturating_sub(view.len() + 1));
        let mut lines = tail;
        let mut lines = lines.split_off(lines.len() - shown);
        if !lines.is_empty() {
            lines.push(StyledLine::default());
        }
        lines.append(&mut view);
        lines
    }

    fn status(&self, now: Duration, columns: usize) -> StyledLine {
        let step = now.as_millis() / SPINNER_STEP.as_millis();
        let mut line = StyledLine::styled(SPINNER[usize::try_from(step).unwrap_or(0) % SPINNER.len()], NAME);
        line.push(" ", Style::new());
        if let Some(retry) = self.retry.as_ref().filter(|_| !self.is_stopping) {
            line.push(&format!("the provider failed ({}): {}", retry.attempt, retry.message), TROUBLE);
            let left = retry.until.map(|until| until.saturating_sub(now));
            let end = left.map(|left| format!(" · next attempt in {}", countdown_text(left))).unwrap_or_default();
            return line.with_end(&StyledLine::styled(&*end, DIM), columns);
        }
        let doing = match self.tools.as_slice() {
            _ if self.is_stopping => "stopping the turn (Ctrl-C once more kills it)".to_owned(),
            [] => self.doing.clone(),
            [tool] => format!("running {}", tool.name),
            tools => format!("running {} tools", tools.len()),
        };
        line.push(&doing, Style::new());
        let mut facts = vec![duration_text(now)];
        if self.tokens > 0 {
            facts.push(tokens_text(self.tokens));
        }
        if self.cost > 0.0 {
            facts.push(format!("${:.4}", self.cost));
        }
        line.push(&format!(" · {}", facts.join(" · ")), DIM);
        line.cut(columns)
    }
}

impl Tool {
    fn line(&self, now: Duration, columns: usize) -> StyledLine {
        let mut line = StyledLine::plain(if self.agent.is_some() { "    " } else { "  " });
        line.push(&first_line(&self.name), NAME);
        let end = format!(" · {}", duration_text(now.saturating_sub(self.since)));
        if !self.title.text.is_empty() {
            line.push(" ", Style::new());
            let room = columns.saturating_sub(line.width() + width(&end));
            line.push(&self.title.fit(room), Style::new());
        }
        line.with_end(&StyledLine::styled(&*end, DIM), columns)
    }
}

/// The description of a tool call.
#[derive(Debug, Clone, Default)]
struct Title {
    text: String,
    is_path: bool,
}

impl Title {
    /// Returns a text of this width at most. The end of a path is worth more than its beginning.
    fn fit(&self, columns: usize) -> String {
        if !self.is_path || width(&self.text) <= columns {
            return self.text.clone();
        }
        let mut left = columns.saturating_sub(1);
        let fits = |c: &char| {
            let fits = char_width(*c) <= left;
            left = if fits { left - char_width(*c) } else { 0 };
            fits
        };
        let end: String = self.text.chars().rev().take_while(fits).collect();
        format!("…{}", end.chars().rev().collect::<String>())
    }
}

/// Returns a one-line description of a tool call.
fn title(call: &ToolCall) -> Title {
    if let ToolState::Running { title: Some(title), .. } = &call.state
        && !title.is_empty()
    {
        return Title { text: first_line(title), is_path: false };
    }
    let Value::Object(fields) = &call.input else { return Title::default() };
    let described = DESCRIBING_FIELDS.iter().filter_map(|name| Some((*name, fields.get(*name)?.as_str()?)));
    let any = fields.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    let found = described.chain(any).find(|(_, text)| !text.trim().is_empty());
    found.map_or_else(Title::default, |(name, text)| Title { text: first_line(text), is_path: PATHS.contains(&name) })
}

/// Formats the time until an event.
fn countdown_text(left: Duration) -> String {
    let left = left.as_secs_f64().ceil();
    if left < 60.0 { format!("{left:.0} s") } else { duration_text(Duration::from_secs_f64(left)) }
}

fn tokens_text(tokens: u64) -> String {
    match tokens {
        0..1000 => format!("{tokens} tokens"),
        1000..1_000_000 => format!("{}.{}k tokens", tokens / 1000, tokens % 1000 / 100),
        _ => format!("{}.{}M tokens", tokens / 1_000_000, tokens % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests;
