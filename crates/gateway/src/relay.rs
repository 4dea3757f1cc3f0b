//! Relays the body of an answer from the upstream to the client.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    AnswerFault, Redactor, RedactorStream,
    answer::{AnswerReader, Verdict},
    counter::RequestUsage,
    dial::BoxError,
    encoded::UpstreamBody,
    fault_log::ClientReaction,
    headers,
    route_state::LeaseState,
};

/// The maximum time for which an upstream may keep the connection open after the end of a stream; the client waits
/// for it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits and settings of a relayed answer.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent of each other")]
pub(crate) struct RelayOptions {
    /// Whether it is a model's answer, whose faults are recorded.
    pub(crate) judges: bool,
    /// Whether its status is a success.
    pub(crate) is_success: bool,
    /// Whether only the end of the connection marks the end of the body.
    pub(crate) ends_by_closing: bool,
    /// Whether the client gets its length.
    pub(crate) has_length: bool,
    pub(crate) max_event_bytes: u64,
    pub(crate) max_answer_bytes: u64,
    pub(crate) silence_timeout: Duration,
}

/// Relays an answer as it arrives and buffers at most one event of it.
///
/// It ends cleanly only if the upstream's answer ended cleanly or its content is complete. In every other case it
/// ends with an error, which aborts the client's connection. Dropping it closes the upstream's connection.
pub(crate) struct Relay {
    /// The part of the body that was read before.
    first: Option<Bytes>,
    upstream: UpstreamBody,
    /// Redacts the key in the trailers.
    redactor: Redactor,
    /// Redacts the key in the body.
    stream: Option<RedactorStream>,
    reader: AnswerReader,
    terms: RelayOptions,
    /// The trailers, sent after all data, including the part that was held back.
    trailers: Option<HeaderMap>,
    /// The error that the client gets after the part that was held back.
    failing: Option<BoxError>,
    /// Whether the server had time to send the data before the error: with the error, it drops unsent data.
    is_flushed: bool,
    usage: RequestUsage,
    lease: Arc<LeaseState>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Pin<Box<Sleep>>,
    bytes: u64,
    is_lingering: bool,
    ended: bool,
}

impl Relay {
    pub(crate) fn new(
        first: Option<Bytes>,
        upstream: UpstreamBody,
        redactor: Redactor,
        reader: AnswerReader,
        terms: RelayOptions,
        usage: RequestUsage,
        lease: Arc<LeaseState>,
    ) -> Self {
        let stream = (!redactor.is_empty()).then(|| redactor.stream_of_same_length());
        let closed = Box::pin(lease.closed.clone().cancelled_owned());
        let silence = Box::pin(tokio::time::sleep(terms.silence_timeout));
        Self {
            first,
            upstream,
            redactor,
            stream,
            reader,
            terms,
            trailers: None,
            failing: None,
            is_flushed: false,
            usage,
            lease,
            closed,
            silence,
            bytes: 0,
            is_lingering: false,
            ended: false,
        }
    }

    /// Takes the next chunk of the body, and returns the part that can be passed on.
    ///
    /// # Errors
    ///
    /// If the answer or an event exceeds its size limit.
    fn pass(&mut self, chunk: Bytes) -> Result<Bytes, AnswerFault> {
        self.usage.received(chunk.len());
        self.bytes += chunk.len() as u64;
        let too_long = |what, max_bytes| Err(AnswerFault::TooLong { what, max_bytes });
        if self.bytes > self.terms.max_answer_bytes {
            return too_long("the answer", self.terms.max_answer_bytes);
        }
        let brought = self.reader.read(&chunk);
        if let Some(tokens) = self.reader.tokens() {
            self.usage.used(tokens);
        }
        if brought.event_too_long {
            return too_long("an event", self.terms.max_event_bytes);
        }
        if brought.content && self.terms.is_success {
            self.usage.model_output();
        }
        if self.reader.is_over() && !self.is_lingering {
            self.is_lingering = true;
            self.silence.as_mut().reset(Instant::now() + LINGER_TIMEOUT);
        }
        self.note_fault(brought.fault);
        Ok(match &mut self.stream {
            Some(stream) => stream.push(chunk),
            None => chunk,
        })
    }

    /// Records a fault of the answer immediately, because the client may give up on it.
    fn note_fault(&self, fault: Option<AnswerFault>) {
        if let Some(fault) = fault.filter(|_| self.terms.judges) {
            // A client that cannot parse an event retries, whatever follows it.
            let then = if matches!(fault, AnswerFault::NotJson { .. }) {
                ClientReaction::Retries
            } else {
                ClientReaction::Unknown
            };
            self.lease.faults.note(fault, then);
        }
    }

    /// Returns whether the answer counts as complete, however the connection ended.
    fn is_complete(&self) -> bool {
        let is_complete = self.reader.is_complete();
        // An error answer needs no end: its text is all that matters.
        !self.terms.has_length && (is_complete || !self.terms.is_success)
    }

    /// Records a clean end, and returns the part that was held back.
    fn end(&mut self) -> Option<Bytes> {
        self.ended = true;
        self.usage.ended(self.reader.tokens().is_some());
        if self.terms.judges {
            match (self.reader.finish().fault, self.reader.verdict()) {
                (None, Verdict::Valid) => self.lease.faults.note_valid(),
                (None, Verdict::Unfinished(fault)) => self.lease.faults.note(fault, ClientReaction::Retries),
                (None, Verdict::UnfinishedReported) => self.lease.faults.repeat(),
                (None, Verdict::Reported) => {}
                (fault, _) => self.note_fault(fault),
            }
        }
        self.held_back()
    }

    fn held_back(&mut self) -> Option<Bytes> {
        self.stream.as_mut().map(RedactorStream::finish).filter(|rest| !rest.is_empty())
    }

    /// Records a clean end, and returns the last chunk with the part that was held back.
    fn end_after(&mut self, last: Bytes) -> Bytes {
        match self.end() {
            None => last,
            Some(rest) => [last, rest].concat().into(),
        }
    }

    /// Ends the answer cleanly, with the part that was held back.
    fn end_well(&mut self) -> Option<Frame<Bytes>> {
        self.end().map(Frame::data)
    }

    /// Records a failure, and returns the part that was held back, which precedes it.
    fn fail(&mut self, error: BoxError, fault: AnswerFault, then: ClientReaction) -> Option<Frame<Bytes>> {
        self.ended = true;
        self.usage.failed();
        if self.terms.judges {
            self.lease.faults.note(fault, then);
        }
        self.failing = Some(error);
        self.held_back().map(Frame::data)
    }

    /// Handles the end of the upstream's body, or its error.
    fn close(&mut self, error: Option<BoxError>) -> Option<Frame<Bytes>> {
        match error {
            None if self.terms.ends_by_closing && self.terms.is_success && self.reader.is_partial() => {
                let early = io::Error::new(io::ErrorKind::UnexpectedEof, "the upstream closed the connection early");
                self.fail(early.into(), AnswerFault::BrokenOff, ClientReaction::Unknown)
            }
            None => self.end_well(),
            Some(_) if self.is_complete() => self.end_well(),
            Some(error) => self.fail(error, AnswerFault::BrokenOff, ClientReaction::Unknown),
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if this.failing.is_some() && !std::mem::replace(&mut this.is_flushed, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(error) = this.failing.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if this.ended {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if this.closed.as_mut().poll(cx).is_ready() {
                this.ended = true;
                return Poll::Ready(Some(Err(io::Error::other("the route was closed").into())));
            }
            if this.is_lingering && this.silence.as_mut().poll(cx).is_ready() {
                if let Some(rest) = this.end_well() {
                    return Poll::Ready(Some(Ok(rest)));
                }
                continue;
            }
            let polled = match this.first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => Pin::new(&mut this.upstream).poll_frame(cx),
            };
            let last = match polled {
                Poll::Pending => match this.silence.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {
                        let stalled = io::Error::new(io::ErrorKind::TimedOut, "the upstream stalled");
                        this.close(Some(stalled.into()))
                    }
                },
                Poll::Ready(Some(Ok(frame))) => {
                    if !this.is_lingering {
                        this.silence.as_mut().reset(Instant::now() + this.terms.silence_timeout);
                    }
                    match frame.into_data() {
                        Err(frame) => {
                            this.trailers = frame.into_trailers().ok();
                            if let Some(trailers) = &mut this.trailers {
                                headers::redact(trailers, &this.redactor);
                            }
                            None
                        }
                        Ok(chunk) => match this.pass(chunk) {
                            Err(fault) => this.fail(fault.to_string().into(), fault, ClientReaction::RetriesRejected),
                            // If the length was announced, the client reads no further, so this is the end.
                            Ok(data) if this.upstream.is_end_stream() => Some(Frame::data(this.end_after(data))),
                            // A chunk that is held back completely produces no frame.
                            Ok(data) => Some(data).filter(|data| !data.is_empty()).map(Frame::data),
                        },
                    }
                }
                Poll::Ready(Some(Err(error))) => this.close(Some(error)),
                Poll::Ready(None) => this.close(None),
            };
            if let Some(last) = last {
                return Poll::Ready(Some(Ok(last)));
            }
        }
    }
}

impl Drop for Relay {
    /// Records a message that was finished when the client left: it need not wait for the end of the connection.
    fn drop(&mut self) {
        let is_well = || self.reader.is_finished() && self.reader.verdict() == Verdict::Valid;
        if !self.ended && self.terms.judges && is_well() {
            self.lease.faults.note_valid();
        }
    }
}
