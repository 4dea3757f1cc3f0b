//! Messages about a turn on stderr: its events and its end.

use super::console::Console;
use super::screen;
use super::short_text::{duration_text, first_line};
use super::styled::{StyledLine, width};
use super::warnings;
use anstyle::{AnsiColor, Style};
use opencode_run_core::{Event, ToolCall, ToolState, TurnEvent, TurnRecord, Warning};
use opencode_run_process::changed_files;
use opencode_runner::Runner;
use std::path::Path;
use std::time::Duration;

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const TROUBLE: Style = AnsiColor::Yellow.on_default();
/// The maximum number of changed files that are named.
const MAX_FILES: usize = 5;

/// Reports an event that is of interest to the user.
pub(crate) fn report_event(event: &TurnEvent, console: Console) {
    let is_sub_agent = event.observed.sub_agent.is_some();
    let agent = if is_sub_agent { "sub-agent: " } else { "" };
    match &event.observed.event {
        Event::Tool(call) if call.state.is_final() && console.live.is_some() => {
            let time = console.live.and_then(|live| live.running_time(event));
            console.styled(&ended_tool(call, is_sub_agent, time, screen::size().columns).to_text(true));
        }
        Event::Tool(call) => match &call.state {
            ToolState::Completed { title, .. } => {
                let title = title.as_deref().filter(|title| !title.is_empty()).unwrap_or("done");
                console.note(&format!("{agent}{}: {}", call.tool, first_line(title)));
            }
            ToolState::Failed { error, .. } => {
                console.note(&format!("{agent}{} failed: {}", call.tool, first_line(error)));
            }
            _ => {}
        },
        // The view counts down to the next attempt.
        Event::Retry { attempt, message, .. } if console.live.is_some() => {
            let mut line = StyledLine::styled("  ✗ ", TROUBLE);
            line.push(&format!("{agent}the provider failed ({attempt}): {}", first_line(message)), TROUBLE);
            console.styled(&line.cut(screen::size().columns.saturating_sub(1)).to_text(true));
        }
        Event::Retry { attempt, message, next } => {
            let wait = next.map(|next| format!(", next attempt in {next:?}")).unwrap_or_default();
            console.note(&format!("the provider failed ({attempt}): {}{wait}", first_line(message)));
        }
        Event::Permission(ask) if ask.refused => {
            Console::warning(&format!("permission refused: {} ({})", ask.permission, ask.patterns.join(", ")));
        }
        Event::Warning(warning) => warnings::print(warning),
        _ => {}
    }
}

/// Returns the line for a finished tool call, printed below the answer.
fn ended_tool(call: &ToolCall, is_sub_agent: bool, time: Option<Duration>, columns: usize) -> StyledLine {
    let mut line = StyledLine::plain(if is_sub_agent { "    " } else { "  " });
    match &call.state {
        ToolState::Failed { error, refused } => {
            line.push("✗ ", BAD);
            line.push(&first_line(&call.tool), Style::new());
            line.push(if *refused { " refused: " } else { " failed: " }, BAD);
            line.push(&first_line(error), DIM);
        }
        state => {
            line.push("✓ ", GOOD);
            line.push(&first_line(&call.tool), Style::new());
            if let ToolState::Completed { title: Some(title), .. } = state {
                line.push(&format!(" {}", first_line(title)), DIM);
            }
        }
    }
    let time = time.map(|time| format!(" · {}", duration_text(time))).unwrap_or_default();
    line.with_end(&StyledLine::styled(time, DIM), columns.saturating_sub(1))
}

/// Reports the end of the turn.
pub(crate) fn summarise(runner: &Runner, turn: &TurnRecord, console: Console) {
    for warning in Warning::of_result(turn) {
        warnings::print(&warning);
    }
    let mut facts = vec![format!("{} in {:.1} s", turn.state, turn.duration.as_secs_f64())];
    if turn.usage.total() > 0 {
        let input = turn.usage.input + turn.usage.cache_read + turn.usage.cache_write;
        facts.push(format!("{input} tokens in, {} out", turn.usage.output + turn.usage.reasoning));
    }
    if turn.cost > 0.0 {
        facts.push(format!("${:.4}", turn.cost));
    }
    if console.live.is_some() {
        facts.extend(changes(turn, runner.task_dir().path()));
    }
    facts.extend(runner.session_id().map(|session| format!("session {session}")));
    facts.push(runner.task_dir().path().display().to_string());
    let columns = console.live.map_or(usize::MAX, |_| screen::size().columns);
    console.note(&join_facts(&facts, columns));
}

/// Joins facts, on as many lines as they need.
fn join_facts(facts: &[String], columns: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    for fact in facts {
        let length = width(fact);
        if text.is_empty() {
            used = length;
        } else if used + 3 + length < columns {
            text.push_str(" · ");
            used += 3 + length;
        } else {
            text.push_str(if used + 2 < columns { " ·\n" } else { "\n" });
            used = length;
        }
        text.push_str(fact);
    }
    text
}

/// Returns the changed files as one fact; `None` if the agent changed no file.
fn changes(turn: &TurnRecord, directory: &Path) -> Option<String> {
    let files = changed_files(turn);
    let shown =
        files.iter().take(MAX_FILES).map(|file| file.strip_prefix(directory).unwrap_or(file).display().to_string());
    let mut shown: Vec<_> = shown.collect();
    if files.len() > MAX_FILES {
        shown.push(format!("and {} more", files.len() - MAX_FILES));
    }
    let plural = if files.len() == 1 { "" } else { "s" };
    (!files.is_empty()).then(|| format!("{} file{plural} changed ({})", files.len(), shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn facts_are_broken_between_each_other() {
        let facts = ["completed in 1.0 s", "session ses_1", "/a/very/long/path"].map(str::to_owned);
        assert_eq!(join_facts(&facts, usize::MAX), "completed in 1.0 s · session ses_1 · /a/very/long/path");
        assert_eq!(join_facts(&facts, 40), "completed in 1.0 s · session ses_1 ·\n/a/very/long/path");
        assert_eq!(join_facts(&facts, 21), "completed in 1.0 s ·\nsession ses_1 ·\n/a/very/long/path");
        assert_eq!(join_facts(&facts, 20), "completed in 1.0 s\nsession ses_1 ·\n/a/very/long/path");
    }

    #[test]
    fn finished_tool_is_one_line() {
        let of = |state| ToolCall::new("1", "bash", Value::Null, state);
        let done = of(ToolState::Completed { title: Some("a\nb".to_owned()), output: String::new() });
        let shown = |call: &ToolCall, is_sub_agent, time| ended_tool(call, is_sub_agent, time, 80).to_text(false);
        assert_eq!(shown(&done, false, Some(Duration::from_millis(1234))), "  ✓ bash a… · 1.2 s");
        let refused = of(ToolState::Failed { error: "no".to_owned(), refused: true });
        assert_eq!(shown(&refused, true, None), "    ✗ bash refused: no");
        let long = of(ToolState::Completed { title: Some("日本語".repeat(40)), output: String::new() });
        let line = ended_tool(&long, false, Some(Duration::from_secs(12)), 40);
        assert!(line.width() < 40 && line.to_text(false).ends_with("… · 12 s"), "{line:?}");
    }
}
