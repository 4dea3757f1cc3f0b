//! The body of an answer on its way from the upstream to the client.

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
    dial::BoxError,
    encoded::UpstreamBody,
    fault_log::Then,
    headers,
    meter::Tally,
    path::Grant,
};

/// How long an upstream may keep the connection open behind the end of a stream. The client waits for it to be closed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits and settings of an answer.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them can hold together")]
pub(crate) struct Terms {
    /// It is a model's: what is wrong with it is noted.
    pub(crate) judges: bool,
    /// Its status is one of success.
    pub(crate) is_success: bool,
    /// Nothing but the end of the connection marks the end of the body.
    pub(crate) ends_by_closing: bool,
    /// The client gets its length.
    pub(crate) has_length: bool,
    pub(crate) max_event_bytes: u64,
    pub(crate) max_answer_bytes: u64,
    pub(crate) silence_timeout: Duration,
}

/// Passes an answer on as it comes, and keeps one event of it at most.
///
/// It ends well only if the upstream's answer ended well or is complete by its own words, however the connection ended: in every
/// other case it ends in an error, for which the client's connection is broken off. Dropping it ends the upstream's connection.
pub(crate) struct Relay {
    /// The part of the body that was read before.
    first: Option<Bytes>,
    upstream: UpstreamBody,
    /// Takes the key out of the trailers.
    redactor: Redactor,
    /// Takes the key out of the body.
    stream: Option<RedactorStream>,
    reader: AnswerReader,
    terms: Terms,
    /// What comes behind all data, that which was held back included.
    trailers: Option<HeaderMap>,
    /// The failure that the client learns of behind what was held back.
    failing: Option<BoxError>,
    /// The server was given the time to send what came before the failure: with the failure it drops what it has not sent.
    is_flushed: bool,
    tally: Tally,
    grant: Arc<Grant>,
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
        terms: Terms,
        tally: Tally,
        grant: Arc<Grant>,
    ) -> Self {
        let stream = (!redactor.is_empty()).then(|| redactor.stream_of_same_length());
        let closed = Box::pin(grant.closed.clone().cancelled_owned());
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
            tally,
            grant,
            closed,
            silence,
            bytes: 0,
            is_lingering: false,
            ended: false,
        }
    }

    /// Takes the next piece of the body, and returns what can be passed on.
    ///
    /// # Errors
    ///
    /// If the answer or an event of it is longer than any that is passed on.
    fn pass(&mut self, chunk: Bytes) -> Result<Bytes, AnswerFault> {
        self.tally.received(chunk.len());
        self.bytes += chunk.len() as u64;
        let too_long = |what, max_bytes| Err(AnswerFault::TooLong { what, max_bytes });
        if self.bytes > self.terms.max_answer_bytes {
            return too_long("the answer", self.terms.max_answer_bytes);
        }
        let brought = self.reader.read(&chunk);
        if let Some(tokens) = self.reader.tokens() {
            self.tally.used(tokens);
        }
        if brought.event_too_long {
            return too_long("an event", self.terms.max_event_bytes);
        }
        if brought.content && self.terms.is_success {
            self.tally.said();
        }
        if self.reader.is_over() && !self.is_lingering {
            self.is_lingering = true;
            self.silence.as_mut().reset(Instant::now() + LINGER_TIMEOUT);
        }
        self.tell(brought.fault);
        Ok(match &mut self.stream {
            Some(stream) => stream.push(chunk),
            None => chunk,
        })
    }

    /// Notes at once what is wrong with the answer: the client may give it up for that.
    fn tell(&self, fault: Option<AnswerFault>) {
        if let Some(fault) = fault.filter(|_| self.terms.judges) {
            // A client that cannot read an event asks again, whatever comes behind it.
            let then = if matches!(fault, AnswerFault::NotJson { .. }) { Then::AsksAgain } else { Then::Unknown };
            self.grant.faults.note(fault, then);
        }
    }

    /// Returns whether the answer is as good as whole, however the connection ended.
    fn is_complete(&self) -> bool {
        let is_complete = self.reader.is_complete();
        // An error needs no end: its words are all there is to it.
        !self.terms.has_length && (is_complete || !self.terms.is_success)
    }

    /// Takes note of a good end, and returns what was held back until then.
    fn end(&mut self) -> Option<Bytes> {
        self.ended = true;
        self.tally.ended(self.reader.tokens().is_some());
        if self.terms.judges {
            match (self.reader.finish().fault, self.reader.verdict()) {
                (None, Verdict::Well) => self.grant.faults.well(),
                (None, Verdict::Unfinished(fault)) => self.grant.faults.note(fault, Then::AsksAgain),
                (None, Verdict::UnfinishedAsTold) => self.grant.faults.repeat(),
                (None, Verdict::Told) => {}
                (fault, _) => self.tell(fault),
            }
        }
        self.held_back()
    }

    fn held_back(&mut self) -> Option<Bytes> {
        self.stream.as_mut().map(RedactorStream::finish).filter(|rest| !rest.is_empty())
    }

    /// The same, put behind what came last.
    fn end_after(&mut self, last: Bytes) -> Bytes {
        match self.end() {
            None => last,
            Some(rest) => [last, rest].concat().into(),
        }
    }

    /// Ends the answer well, with what was held back.
    fn end_well(&mut self) -> Option<Frame<Bytes>> {
        self.end().map(Frame::data)
    }

    /// Takes note of a failure, and returns what comes before it: what was held back.
    fn fail(&mut self, error: BoxError, fault: AnswerFault, then: Then) -> Option<Frame<Bytes>> {
        self.ended = true;
        self.tally.failed();
        if self.terms.judges {
            self.grant.faults.note(fault, then);
        }
        self.failing = Some(error);
        self.held_back().map(Frame::data)
    }

    /// Takes note of the end of the upstream's body, or of the failure in its place.
    fn close(&mut self, error: Option<BoxError>) -> Option<Frame<Bytes>> {
        match error {
            None if self.terms.ends_by_closing && self.terms.is_success && self.reader.is_partial() => {
                let early = io::Error::new(io::ErrorKind::UnexpectedEof, "the upstream closed the connection early");
                self.fail(early.into(), AnswerFault::BrokenOff, Then::Unknown)
            }
            None => self.end_well(),
            Some(_) if self.is_complete() => self.end_well(),
            Some(error) => self.fail(error, AnswerFault::BrokenOff, Then::Unknown),
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
                return Poll::Ready(Some(Err(io::Error::other("the path was closed").into())));
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
                            Err(fault) => this.fail(fault.to_string().into(), fault, Then::IsRefused),
                            // If the length was announced, the client reads no further, so this is the end.
                            Ok(data) if this.upstream.is_end_stream() => Some(Frame::data(this.end_after(data))),
                            // A chunk that is held back as a whole is no frame.
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
    /// Notes a message that was finished when the client left: it need not wait for the end of the connection.
    fn drop(&mut self) {
        let is_well = || self.reader.is_finished() && self.reader.verdict() == Verdict::Well;
        if !self.ended && self.terms.judges && is_well() {
            self.grant.faults.well();
        }
    }
}
