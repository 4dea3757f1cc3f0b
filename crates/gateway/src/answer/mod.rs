//! The state of a model's answer, parsed while it streams: whether it is complete, whether it has any output, its
//! faults, and its token counts.

mod beginning;
mod chunk;
mod events;
mod json_end;

pub(crate) use beginning::{AnswerBeginning, ExpectedAnswer, begin};

use self::{chunk::Meaning, events::EventReader, json_end::JsonEnd};
use crate::{
    AnswerFault, Protocol, Redactor, Tokens,
    usage::{Framing, UsageScanner},
};

/// Parses an answer. Stores one event of it, up to [`events::MAX_INSPECTED_BYTES`].
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent of each other")]
pub(crate) struct AnswerReader {
    usage: UsageScanner,
    body: Body,
    redactor: Redactor,
    /// Whether the model finished its message with a reason.
    is_finished: bool,
    /// Whether the provider marked the end of the stream.
    is_over: bool,
    has_content: bool,
    /// Whether an event was too large to be inspected, so it may have contained anything.
    is_uncertain: bool,
    /// Whether a fault was found.
    is_faulty: bool,
}

#[derive(Debug)]
enum Body {
    Events { reader: EventReader, calls: chunk::ToolCalls, is_known: bool },
    Json(JsonEnd),
}

/// The findings in the bytes that were read last.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Findings {
    /// Whether the model produced output: text, reasoning, a tool call, an end.
    pub(crate) content: bool,
    /// Whether an event exceeds the size limit.
    pub(crate) event_too_long: bool,
    /// The first fault of the answer.
    pub(crate) fault: Option<AnswerFault>,
}

/// The verdict on an answer that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer has no fault.
    Valid,
    /// The answer is unfinished and has no other fault.
    Unfinished(AnswerFault),
    /// The answer is unfinished because of a fault that was already reported.
    UnfinishedReported,
    /// The answer is finished and has a fault that was already reported.
    Reported,
}

impl AnswerReader {
    /// Creates a reader for this framing; it rejects events larger than `max_event_bytes`.
    pub(crate) fn new(framing: Framing, protocol: Protocol, max_event_bytes: u64, redactor: Redactor) -> Self {
        let body = match framing {
            Framing::Events => Body::Events {
                reader: EventReader::new(max_event_bytes),
                calls: chunk::ToolCalls::default(),
                is_known: protocol != Protocol::Other,
            },
            Framing::Json => Body::Json(JsonEnd::default()),
        };
        let usage = UsageScanner::new(framing);
        Self {
            usage,
            body,
            redactor,
            is_finished: false,
            is_over: false,
            has_content: false,
            is_uncertain: false,
            is_faulty: false,
        }
    }

    /// Reads the next bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Findings {
        self.usage.read(bytes);
        let Body::Events { reader, calls, .. } = &mut self.body else {
            if let Body::Json(json) = &mut self.body {
                json.read(bytes);
            }
            return Findings::default();
        };
        let mut meanings = Vec::new();
        let result = reader.read(bytes, |event| meanings.push(chunk::read(event, calls)));
        Findings { event_too_long: result.is_err(), ..self.note(meanings) }
    }

    /// Handles the end of the stream, so that an event without a final empty line counts as well.
    pub(crate) fn finish(&mut self) -> Findings {
        let Body::Events { reader, calls, .. } = &mut self.body else { return Findings::default() };
        let mut meanings = Vec::new();
        reader.finish(|event| meanings.push(chunk::read(event, calls)));
        self.note(meanings)
    }

    fn note(&mut self, meanings: Vec<Meaning>) -> Findings {
        let is_known = matches!(self.body, Body::Events { is_known: true, .. });
        let mut brought = Findings::default();
        for meaning in meanings {
            let is_first_end = meaning.finishes && !self.is_finished;
            self.is_finished |= meaning.finishes;
            self.is_over |= meaning.ends_stream;
            self.is_uncertain |= meaning.is_uncertain;
            let content = meaning.has_content || (!is_known && meaning.may_be_content);
            self.has_content |= content;
            brought.content |= content || is_first_end;
            if let Some(fault) = meaning.fault
                && (is_known || matches!(fault, AnswerFault::Error { .. }))
                && !std::mem::replace(&mut self.is_faulty, true)
            {
                brought.fault = Some(fault.redacted(&self.redactor));
            }
        }
        brought
    }

    /// Returns the highest token counts reported so far.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.usage.tokens()
    }

    /// Returns whether the content shows that the answer is complete, however the connection ends.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.body {
            Body::Events { .. } => self.is_finished || self.is_over,
            Body::Json(json) => json.is_complete(),
        }
    }

    /// Returns whether nothing will follow, not even token counts.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns whether the answer is certainly incomplete. Then a closed connection, if nothing else marks the end,
    /// means that it ended too early.
    pub(crate) fn is_partial(&self) -> bool {
        match &self.body {
            Body::Events { is_known, .. } => *is_known && self.has_content && !self.is_uncertain && !self.is_complete(),
            Body::Json(json) => json.is_partial(),
        }
    }

    /// Returns whether the model finished its message.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Returns the verdict on an answer that has ended.
    pub(crate) fn verdict(&self) -> Verdict {
        let is_known_stream = matches!(self.body, Body::Events { is_known: true, .. });
        let is_unfinished = is_known_stream && !self.is_uncertain && !self.is_finished;
        match (is_unfinished, self.is_faulty) {
            (false, false) => Verdict::Valid,
            (false, true) => Verdict::Reported,
            (true, true) => Verdict::UnfinishedReported,
            (true, false) if self.has_content => Verdict::Unfinished(AnswerFault::NoFinishReason),
            (true, false) => Verdict::Unfinished(AnswerFault::Empty),
        }
    }
}
