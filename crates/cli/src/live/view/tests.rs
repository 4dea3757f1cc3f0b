//! Frames of the view.

use super::*;
use opencode_run_core::{Observed, PartId, StepReason, Usage};
use serde_json::json;

const WIDE: Size = Size { columns: 60, rows: 24 };

fn event(event: Event) -> TurnEvent {
    TurnEvent::new(0, Duration::ZERO, Observed::new(event))
}

fn of_sub_agent(event: Event) -> TurnEvent {
    TurnEvent::new(0, Duration::ZERO, Observed::new(event).from_sub_agent(SessionId::new("ses_2")))
}

fn tool(id: &str, name: &str, input: Value) -> Event {
    Event::Tool(ToolCall::new(id, name, input, ToolState::Running { title: None, limit: None }))
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn shown(view: &View, seconds: f64, size: Size) -> String {
    let lines = view.lines(at(seconds), size, Vec::new());
    for line in &lines {
        assert!(line.width() < size.columns, "{line:?}");
    }
    lines.iter().map(|line| line.to_text(false)).collect::<Vec<_>>().join("\n")
}

#[test]
fn view_shows_each_stage() {
    let mut view = View::waiting("locating opencode");
    let mut frames = vec![shown(&view, 0.2, WIDE)];
    view.wait_for("waiting for the model");
    frames.push(shown(&view, 4.0, WIDE));
    view.apply(at(5.0), &event(tool("1", "task", json!({"prompt": "p", "description": "Look for it"}))));
    view.apply(at(6.0), &of_sub_agent(tool("1", "bash", json!({"command": "cargo test --workspace\n# all of it"}))));
    view.apply(
        at(7.0),
        &event(tool("2", "read", json!({"filePath": "日本語/とても長い名前のファイルがここにあります.rs"}))),
    );
    frames.push(shown(&view, 75.0, WIDE));
    let usage = Usage { input: 1200, output: 34, ..Usage::default() };
    view.apply(at(80.0), &event(Event::StepFinish { reason: StepReason::ToolCalls, usage, cost: 0.0123 }));
    let done = ToolState::Completed { title: None, output: String::new() };
    for (id, name) in [("1", "task"), ("2", "read")] {
        view.apply(at(81.0), &event(Event::Tool(ToolCall::new(id, name, Value::Null, done.clone()))));
    }
    view.apply(at(81.0), &of_sub_agent(Event::Tool(ToolCall::new("1", "bash", Value::Null, done))));
    frames.push(shown(&view, 82.0, WIDE));
    let retry = Event::Retry { attempt: 2, message: "overloaded".to_owned(), next: Some(Duration::from_secs(8)) };
    view.apply(at(90.0), &event(retry));
    frames.push(shown(&view, 90.0, WIDE));
    frames.push(shown(&view, 95.5, WIDE));
    view.apply(at(98.0), &event(Event::TextDelta { part: PartId::new("p"), delta: "x".to_owned() }));
    frames.push(shown(&view, 3700.0, WIDE));
    view.stop();
    frames.push(shown(&view, 3701.0, WIDE));
    insta::assert_snapshot!(frames.join("\n---\n"));
}

#[test]
fn small_windows_are_not_overrun() {
    let mut view = View::waiting("waiting for the model");
    for number in 0..20 {
        view.apply(at(1.0), &event(tool(&number.to_string(), "bash", json!({"command": "x".repeat(300)}))));
    }
    let retry = Event::Retry { attempt: 1, message: "日本".repeat(100), next: Some(Duration::from_secs(8)) };
    for columns in [2, 5, 10, 20, 80] {
        for rows in [1, 2, 3, 8, 50] {
            let size = Size { columns, rows };
            for lines in [0, 1, 100] {
                let tail = vec![StyledLine::plain("tail"); lines];
                let drawn = view.lines(at(2.0), size, tail);
                assert!(drawn.len() < rows.max(2), "{} in {size:?}", drawn.len());
                assert!(drawn.last().is_some_and(|line| line.width() < columns), "{drawn:?}");
            }
        }
    }
    view.apply(at(3.0), &event(retry));
    assert!(shown(&view, 3.0, Size { columns: 30, rows: 5 }).contains("next attempt in 8 s"));
}

#[test]
fn hostile_titles_are_harmless() {
    let mut view = View::waiting("waiting for the model");
    let hostile = "\u{1b}[2J\u{9b}2Ja\rb\u{202e}";
    view.apply(at(1.0), &event(tool("1", hostile, json!({"command": hostile}))));
    view.apply(at(1.0), &event(Event::Retry { attempt: 1, message: hostile.to_owned(), next: None }));
    let text = shown(&view, 1.0, WIDE);
    assert!(!text.contains(|c| c != '\n' && opencode_run_markdown::is_unsafe_on_terminal(c)), "{text:?}");
}
