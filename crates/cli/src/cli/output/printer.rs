//! The three ways of printing a turn.

use super::text::TextStream;
use super::{OutputError, Report, Stdout, stream_json};
use crate::cli::args::OutputFormat;
use crate::cli::asking::Said;
use opencode_run_core::{Event, TurnEvent};

/// Prints a turn on stdout.
#[derive(Debug)]
pub(crate) struct Printer {
    stdout: Stdout,
    way: Way,
    /// Who waits for what comes before a question.
    said: Option<Said>,
}

#[derive(Debug)]
enum Way {
    /// The answer as it comes.
    Text(TextStream),
    /// The answer, or what stands for it, at the end.
    AtTheEnd,
    Json,
    StreamJson,
}

impl Printer {
    pub(crate) fn new(format: OutputFormat, at_the_end: bool) -> Self {
        let way = match format {
            OutputFormat::Text if at_the_end => Way::AtTheEnd,
            OutputFormat::Text => Way::Text(TextStream::default()),
            OutputFormat::Json => Way::Json,
            OutputFormat::StreamJson => Way::StreamJson,
        };
        Self { stdout: Stdout::new(), way, said: None }
    }

    /// Tells somebody when all is printed that came before a question.
    pub(crate) fn telling(self, said: Said) -> Self {
        Self { said: Some(said), ..self }
    }

    /// Prints what an event adds.
    pub(crate) async fn event(&mut self, event: &TurnEvent) -> Result<(), OutputError> {
        match &mut self.way {
            Way::Text(stream) => self.stdout.write(&stream.piece(event)).await?,
            Way::StreamJson => self.stdout.write(&stream_json::event_line(event)).await?,
            Way::AtTheEnd | Way::Json => {}
        }
        if let (Event::Permission(ask), Some(said)) = (&event.observed.event, &self.said) {
            said.up_to(ask);
        }
        Ok(())
    }

    /// Prints the end. `markdown` stands in for the answer where it is given.
    pub(crate) async fn end(&mut self, report: &Report<'_>, markdown: Option<&str>) -> Result<(), OutputError> {
        let text = match &self.way {
            Way::Text(stream) => {
                let end = if stream.any() { "\n" } else { "" };
                format!("{end}{}", structured(report))
            }
            Way::AtTheEnd => {
                if let Some(markdown) = markdown {
                    return self.stdout.write(markdown).await;
                }
                for piece in report.output.pieces() {
                    self.stdout.write(piece).await?;
                }
                let end = if report.output.is_empty() { "" } else { "\n" };
                format!("{end}{}", structured(report))
            }
            Way::Json => report.to_json() + "\n",
            Way::StreamJson => stream_json::result_line(report),
        };
        self.stdout.write(&text).await
    }
}

/// Returns the value that meets the schema on a line, where one was asked for: it is the answer, or the end of it.
fn structured(report: &Report<'_>) -> String {
    report.structured.as_ref().map(|value| format!("{value}\n")).unwrap_or_default()
}
