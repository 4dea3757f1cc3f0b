//! Output on stdout: the answer while it streams, or JSON.

mod answer;
pub(crate) mod last_line;
mod printer;
pub(crate) mod report;
mod stdout;
mod stream_json;
mod terminal;
mod text;

pub(crate) use answer::AnswerWriter;
pub(crate) use printer::Printer;
pub(crate) use stdout::{OutputError, Stdout};
pub(crate) use terminal::TextKind;
