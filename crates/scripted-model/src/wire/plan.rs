//! Converts a reply into the steps of sending it; nothing here waits or sends.

use std::time::Duration;

use super::{
    anthropic::AnthropicWire,
    error_body,
    frame::{Head, Piece, Wire},
    google::GoogleWire,
    openai::OpenAiWire,
};
use crate::{Answer, Finish, Part, Protocol, Words, placeholders::Placeholders};

/// A step of sending an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send these bytes.
    Send(String),
    /// Wait.
    Pause(Duration),
    /// Close the socket in the middle of the body.
    Cut,
    /// Send nothing more and keep the connection open.
    Stall,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct AnswerPlan {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) steps: Vec<Step>,
}

/// Plans an answer in a protocol, streamed or not.
pub(crate) fn plan(
    protocol: Protocol,
    streaming: bool,
    head: Head,
    answer: &Answer,
    placeholders: &Placeholders,
) -> AnswerPlan {
    let mut wire: Box<dyn Wire> = match protocol {
        Protocol::OpenAi => Box::new(OpenAiWire::new(head)),
        Protocol::Anthropic => Box::new(AnthropicWire::new(head)),
        Protocol::Google => Box::new(GoogleWire::new(head)),
    };
    if streaming {
        AnswerPlan {
            status: 200,
            content_type: "text/event-stream",
            steps: stream(wire.as_mut(), answer, placeholders),
        }
    } else {
        whole(protocol, wire.as_mut(), answer, placeholders)
    }
}

fn stream(wire: &mut dyn Wire, answer: &Answer, placeholders: &Placeholders) -> Vec<Step> {
    let mut steps = vec![Step::Send(wire.open())];
    for part in &answer.parts {
        match part {
            Part::Text(words) => send_text(&mut steps, words, placeholders, |text| wire.text(text)),
            Part::Reasoning(words) => {
                send_text(&mut steps, words, placeholders, |text| wire.reasoning(text));
            }
            Part::ToolCall(call) => steps.push(Step::Send(wire.tool_call(call))),
            Part::Pause { duration } => steps.push(Step::Pause(*duration)),
            Part::DropConnection {} => {
                steps.push(Step::Cut);
                return steps;
            }
            Part::EndEarly {} => return steps,
            Part::Stall {} => {
                steps.push(Step::Stall);
                return steps;
            }
            Part::StreamError { message } => {
                steps.push(Step::Send(wire.fail(message)));
                return steps;
            }
        }
    }
    steps.push(Step::Send(wire.close(finish_of(answer))));
    steps
}

/// Adds the chunks of a text with the intervals between them.
fn send_text(steps: &mut Vec<Step>, words: &Words, placeholders: &Placeholders, mut frame: impl FnMut(&str) -> String) {
    let text = placeholders.fill(&words.text);
    for (index, piece) in chunks(&text, words).into_iter().enumerate() {
        if index > 0 && !words.chunk_delay.is_zero() {
            steps.push(Step::Pause(words.chunk_delay));
        }
        steps.push(Step::Send(frame(piece)));
    }
}

/// Splits a text into chunks of this many characters.
fn chunks<'a>(text: &'a str, words: &Words) -> Vec<&'a str> {
    let Some(length) = words.chunk_chars else {
        return vec![text];
    };
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(length.get()).map_or(rest.len(), |(index, _)| index);
        let (piece, behind) = rest.split_at(end);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

fn whole(protocol: Protocol, wire: &mut dyn Wire, answer: &Answer, placeholders: &Placeholders) -> AnswerPlan {
    let mut steps = Vec::new();
    let mut said = Vec::new();
    let mut end = None;
    for part in &answer.parts {
        match part {
            Part::Text(words) => {
                said.push(Piece::Text(delay_for_text(&mut steps, words, placeholders)));
            }
            Part::Reasoning(words) => {
                said.push(Piece::Reasoning(delay_for_text(&mut steps, words, placeholders)));
            }
            Part::ToolCall(call) => said.push(Piece::ToolCall(call)),
            Part::Pause { duration } => steps.push(Step::Pause(*duration)),
            Part::DropConnection {} | Part::EndEarly {} | Part::Stall {} | Part::StreamError { .. } => {
                end = Some(part);
                break;
            }
        }
    }
    let mut status = 200;
    let mut json = || wire.whole(&said, finish_of(answer)).to_string();
    match end {
        Some(Part::DropConnection {}) => {
            steps.extend([Step::Send(first_half(json())), Step::Cut]);
        }
        Some(Part::EndEarly {}) => steps.push(Step::Send(first_half(json()))),
        Some(Part::Stall {}) => steps.push(Step::Stall),
        Some(Part::StreamError { message }) => {
            status = 500;
            let body = error_body(protocol, status, message);
            steps.push(Step::Send(body.to_string()));
        }
        _ => steps.push(Step::Send(json())),
    }
    AnswerPlan { status, content_type: "application/json", steps }
}

fn first_half(mut json: String) -> String {
    json.truncate(json.floor_char_boundary(json.len() / 2));
    json
}

/// Adds the time that the stream would have taken, and returns the text.
fn delay_for_text(steps: &mut Vec<Step>, words: &Words, placeholders: &Placeholders) -> String {
    let text = placeholders.fill(&words.text);
    let gaps = chunks(&text, words).len().saturating_sub(1);
    let time = words.chunk_delay.saturating_mul(u32::try_from(gaps).unwrap_or(u32::MAX));
    if !time.is_zero() {
        steps.push(Step::Pause(time));
    }
    text
}

fn finish_of(answer: &Answer) -> Finish {
    let calls = |part: &Part| matches!(part, Part::ToolCall(_));
    answer.finish.unwrap_or(if answer.parts.iter().any(calls) { Finish::ToolCalls } else { Finish::Stop })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
