//! The server's stream of events, and the messages with lost events.

mod decoder;
mod messages;
mod properties;
mod routing;

pub(crate) use decoder::TurnDecoder;
pub(crate) use messages::{AnswerEnd, Expected, MessageWithParts, read_message, read_messages};
pub(crate) use routing::{permission_asked, question_asked, route};

#[cfg(test)]
mod tests;
