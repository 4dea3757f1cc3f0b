//! The ways of printing a turn.

use super::last_line::last_line;
use super::report::Report;
use super::text::TextStream;
use super::{AnswerWriter, OutputError, Stdout, TextKind, stream_json};
use crate::args::OutputFormat;
use crate::asking::PrintedEvents;
use crate::console::Console;
use crate::live::SharedAnswer;
use opencode_run_core::{Event, TurnEvent};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Prints a turn on stdout.
#[derive(Debug)]
pub(crate) struct Printer {
    stdout: Stdout,
    way: Way,
    /// The form of the answer if it is printed as text.
    answer: SharedAnswer,
    /// The record of printed events, for the handler of permission requests.
    said: Option<PrintedEvents>,
}

#[derive(Debug)]
enum Way {
    /// The answer while it streams.
    Text(TextStream),
    /// The answer, or its replacement, at the end.
    AtTheEnd,
    /// Only the value that matches the schema, so that a JSON parser can read stdout. Other text of the model is in
    /// the transcript.
    Value,
    Json,
    StreamJson,
}

impl Printer {
    pub(crate) fn new(format: OutputFormat, at_the_end: bool) -> Self {
        Self::of(format, at_the_end, false)
    }

    /// Creates a printer for a turn whose answer must match a schema.
    pub(crate) fn of_schema(format: OutputFormat, markdown: bool) -> Self {
        Self::of(format, markdown, !markdown)
    }

    fn of(format: OutputFormat, at_the_end: bool, value_alone: bool) -> Self {
        let way = match format {
            OutputFormat::Text if value_alone => Way::Value,
            OutputFormat::Text if at_the_end => Way::AtTheEnd,
            OutputFormat::Text => Way::Text(TextStream::default()),
            OutputFormat::Json => Way::Json,
            OutputFormat::StreamJson => Way::StreamJson,
        };
        let kind = match format {
            OutputFormat::Text => TextKind::Plain,
            OutputFormat::Json | OutputFormat::StreamJson => TextKind::Json,
        };
        Self { stdout: Stdout::new(kind), way, answer: Arc::new(Mutex::new(AnswerWriter::Raw)), said: None }
    }

    /// Renders the answer if stdout is a terminal, unless the plain text is wanted.
    pub(crate) fn rendering(self, plain: bool, console: Console) -> Self {
        let answer = AnswerWriter::for_stdout(plain, console.live.is_some());
        Self { answer: Arc::new(Mutex::new(answer)), ..self }
    }

    /// Records printed events for the handler of permission requests.
    pub(crate) fn telling(self, said: PrintedEvents) -> Self {
        Self { said: Some(said), ..self }
    }

    /// Returns the answer for the view that shows its end.
    pub(crate) fn shared_answer(&self) -> SharedAnswer {
        Arc::clone(&self.answer)
    }

    fn answer(&self) -> MutexGuard<'_, AnswerWriter> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the buffered part of the answer if an event follows it, so that messages about the event are below
    /// it.
    pub(crate) async fn before(&mut self, event: &TurnEvent) -> Result<(), OutputError> {
        match event.observed.event {
            Event::Tool(_) | Event::StepFinish { .. } | Event::Permission(_) | Event::Question(_) | Event::Error(_) => {
                self.flush().await
            }
            _ => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), OutputError> {
        let text = self.answer().flush();
        self.stdout.write_rendered(text).await
    }

    /// Prints the output of an event.
    pub(crate) async fn event(&mut self, event: &TurnEvent) -> Result<(), OutputError> {
        match &mut self.way {
            Way::Text(stream) => {
                let piece = stream.piece(event);
                self.piece(&piece).await?;
            }
            Way::StreamJson => self.stdout.write(stream_json::event_line(event)).await?,
            Way::AtTheEnd | Way::Value | Way::Json => {}
        }
        if let Some(said) = &self.said {
            said.note(event);
        }
        Ok(())
    }

    async fn piece(&mut self, piece: &str) -> Result<(), OutputError> {
        let (text, is_raw) = {
            let mut answer = self.answer();
            (answer.push(piece), answer.is_raw())
        };
        if is_raw { self.stdout.write(text).await } else { self.stdout.write_rendered(text).await }
    }

    /// Prints the end. `markdown` replaces the answer if it is given.
    pub(crate) async fn end(&mut self, report: &Report<'_>, markdown: Option<&str>) -> Result<(), OutputError> {
        let is_raw = self.answer().is_raw();
        let text = match &self.way {
            Way::Text(_) if !is_raw => return self.flush().await,
            Way::Text(stream) if stream.any() => "\n".to_owned(),
            Way::Text(_) => String::new(),
            Way::AtTheEnd => {
                if let Some(markdown) = markdown {
                    return self.stdout.write(markdown).await;
                }
                for piece in report.output.pieces() {
                    self.piece(piece).await?;
                }
                if !is_raw {
                    return self.flush().await;
                }
                if report.output.is_empty() { String::new() } else { "\n".to_owned() }
            }
            Way::Value => report.structured.as_ref().map(|value| format!("{value}\n")).unwrap_or_default(),
            Way::Json => last_line(report, OutputFormat::Json),
            Way::StreamJson => last_line(report, OutputFormat::StreamJson),
        };
        self.stdout.write(text).await
    }
}
