//! The state of a model's answer, read while it streams: whether it is complete, whether it has any output,
//! what is wrong with it, and how many tokens it cost.

mod beginning;
mod chunk;
mod events;
mod json_end;

pub(crate) use beginning::{Beginning, Expected, begin};

use self::{chunk::Meaning, events::EventReader, json_end::JsonEnd};
use crate::{
    AnswerFault, Protocol, Redactor, Tokens,
    usage::{Framing, UsageScanner},
};

/// Reads an answer. It keeps one event of it, up to [`events::MAX_INSPECTED_BYTES`].
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them can hold together")]
pub(crate) struct AnswerReader {
    usage: UsageScanner,
    body: Body,
    redactor: Redactor,
    /// The model finished its message, and gave a reason.
    is_finished: bool,
    /// The provider marked the end of the stream.
    is_over: bool,
    has_content: bool,
    /// Whether an event was too large to be inspected: anything may have been in it.
    is_uncertain: bool,
    /// Whether something was found wrong with it.
    is_faulty: bool,
}

#[derive(Debug)]
enum Body {
    Events { reader: EventReader, calls: chunk::ToolCalls, is_known: bool },
    Json(JsonEnd),
}

/// The news in the bytes that were read last.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Brought {
    /// The model produced output: text, reasoning, a tool call, an end.
    pub(crate) content: bool,
    /// An event is larger than any that is passed on.
    pub(crate) event_too_long: bool,
    /// The first thing that is wrong with the answer.
    pub(crate) fault: Option<AnswerFault>,
}

/// The verdict on an answer that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong with it.
    Well,
    /// It is unfinished, and this is all that is wrong with it.
    Unfinished(AnswerFault),
    /// It is unfinished, for a reason that was reported when it was found.
    UnfinishedAsTold,
    /// It is finished, and its fault was reported when it was found.
    Told,
}

impl AnswerReader {
    /// Reads an answer that is packed in this way; events of no event is larger than `max_event_bytes`.
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
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Brought {
        self.usage.read(bytes);
        let Body::Events { reader, calls, .. } = &mut self.body else {
            if let Body::Json(json) = &mut self.body {
                json.read(bytes);
            }
            return Brought::default();
        };
        let mut meanings = Vec::new();
        let result = reader.read(bytes, |event| meanings.push(chunk::read(event, calls)));
        Brought { event_too_long: result.is_err(), ..self.note(meanings) }
    }

    /// Takes note that no more bytes come, so that an event without an empty line behind it counts as well.
    pub(crate) fn finish(&mut self) -> Brought {
        let Body::Events { reader, calls, .. } = &mut self.body else { return Brought::default() };
        let mut meanings = Vec::new();
        reader.finish(|event| meanings.push(chunk::read(event, calls)));
        self.note(meanings)
    }

    fn note(&mut self, meanings: Vec<Meaning>) -> Brought {
        let is_known = matches!(self.body, Body::Events { is_known: true, .. });
        let mut brought = Brought::default();
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

    /// Returns the greatest token counts reported so far.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.usage.tokens()
    }

    /// Returns whether what came is a whole answer by its own words, however the connection ends.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.body {
            Body::Events { .. } => self.is_finished || self.is_over,
            Body::Json(json) => json.is_complete(),
        }
    }

    /// Returns whether nothing more is to come, not even a count of tokens.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns whether what came is surely a part only, so that a connection that was closed, with nothing else to mark the
    /// end, ended too early.
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

    /// Judges an answer that has ended.
    pub(crate) fn verdict(&self) -> Verdict {
        let is_known_stream = matches!(self.body, Body::Events { is_known: true, .. });
        let is_unfinished = is_known_stream && !self.is_uncertain && !self.is_finished;
        match (is_unfinished, self.is_faulty) {
            (false, false) => Verdict::Well,
            (false, true) => Verdict::Told,
            (true, true) => Verdict::UnfinishedAsTold,
            (true, false) if self.has_content => Verdict::Unfinished(AnswerFault::NoFinishReason),
            (true, false) => Verdict::Unfinished(AnswerFault::Empty),
        }
    }
}
