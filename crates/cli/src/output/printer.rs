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
use std::time::Duration;

/// The interval of writing to a terminal while text streams. It is too short for a person to notice.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(40);

/// The size in bytes of a write above which the next one does not wait for [`TERMINAL_INTERVAL`]: the terminal is behind
/// the model, and the turn waits for it.
const HIGH_WATERMARK: usize = 2 << 10;
/// The maximum size in bytes of deltas that are not printed.
const MAX_DELTA_BYTES: usize = 64 << 10;

/// Prints a turn on stdout.
#[derive(Debug)]
pub(crate) struct Printer {
    stdout: Stdout,
    /// The text of the answer since the last flush.
    deltas: String,
    /// Whether the last flush contained deltas, and whether they exceeded the high watermark.
    is_streaming: bool,
    is_behind: bool,
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
        let answer = Arc::new(Mutex::new(AnswerWriter::Raw));
        Self {
            stdout: Stdout::new(kind),
            deltas: String::new(),
            is_streaming: false,
            is_behind: false,
            way,
            answer,
            said: None,
        }
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

    /// Prints everything before an event that is not a delta, so that messages about the event are below it.
    pub(crate) async fn before(&mut self, event: &TurnEvent) -> Result<(), OutputError> {
        match event.observed.event {
            _ if is_delta(event) => Ok(()),
            Event::Tool(_) | Event::StepFinish { .. } | Event::Permission(_) | Event::Question(_) | Event::Error(_) => {
                self.finish_answer().await
            }
            _ => self.flush().await,
        }
    }

    /// Prints the answer so far, including a line that is still open.
    async fn finish_answer(&mut self) -> Result<(), OutputError> {
        self.queue_deltas().await?;
        let text = self.answer().flush();
        self.stdout.queue_rendered(&text).await?;
        self.stdout.flush().await
    }

    /// Writes the queued output.
    pub(crate) async fn flush(&mut self) -> Result<(), OutputError> {
        self.is_streaming = !self.deltas.is_empty();
        self.is_behind = self.deltas.len() > HIGH_WATERMARK;
        self.queue_deltas().await?;
        self.stdout.flush().await
    }

    async fn queue_deltas(&mut self) -> Result<(), OutputError> {
        if self.deltas.is_empty() {
            return Ok(());
        }
        let deltas = std::mem::take(&mut self.deltas);
        let (text, is_raw) = {
            let mut answer = self.answer();
            (answer.push(&deltas), answer.is_raw())
        };
        if is_raw { self.stdout.queue(text).await } else { self.stdout.queue_rendered(&text).await }
    }

    /// Returns how long to wait for more output before the next write; `None` if it is written immediately.
    pub(crate) fn interval(&self) -> Option<Duration> {
        (self.stdout.is_terminal() && self.is_streaming && !self.is_behind).then_some(TERMINAL_INTERVAL)
    }

    /// Prints the output of an event. The output of a delta is only queued.
    pub(crate) async fn event(&mut self, event: &TurnEvent) -> Result<(), OutputError> {
        match &mut self.way {
            Way::Text(stream) => {
                let piece = stream.piece(event);
                self.piece(&piece).await?;
            }
            Way::StreamJson => self.stdout.queue(stream_json::event_line(event)).await?,
            Way::AtTheEnd | Way::Value | Way::Json => {}
        }
        if !is_delta(event) {
            self.flush().await?;
        }
        if let Some(said) = &self.said {
            said.note(event);
        }
        Ok(())
    }

    async fn piece(&mut self, piece: &str) -> Result<(), OutputError> {
        self.deltas.push_str(piece);
        if self.deltas.len() > MAX_DELTA_BYTES { self.queue_deltas().await } else { Ok(()) }
    }

    /// Prints the end. `markdown` replaces the answer if it is given.
    pub(crate) async fn end(&mut self, report: &Report<'_>, markdown: Option<&str>) -> Result<(), OutputError> {
        let is_raw = self.answer().is_raw();
        let text = match &self.way {
            Way::Text(_) if !is_raw => return self.finish_answer().await,
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
                    return self.finish_answer().await;
                }
                if report.output.is_empty() { String::new() } else { "\n".to_owned() }
            }
            Way::Value => report.structured.as_ref().map(|value| format!("{value}\n")).unwrap_or_default(),
            Way::Json => last_line(report, OutputFormat::Json),
            Way::StreamJson => last_line(report, OutputFormat::StreamJson),
        };
        self.queue_deltas().await?;
        self.stdout.write(text).await
    }
}

/// Returns whether an event is a piece of text that streams.
const fn is_delta(event: &TurnEvent) -> bool {
    matches!(event.observed.event, Event::TextDelta { .. } | Event::ReasoningDelta { .. })
}
