//! The body of an answer on its way from the upstream to the client.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{Redactor, RedactorStream, dial::BoxError, headers, meter::Tally, usage::UsageScanner};

/// Passes an answer on as it comes, and keeps nothing of it.
///
/// It ends well only if the upstream's answer ended well: in every other case it ends in an error, for which the client's
/// connection is broken off. Dropping it ends the upstream's connection.
pub(crate) struct Relay {
    upstream: Incoming,
    /// What takes the key out of the trailers.
    redactor: Redactor,
    /// What can only be done where the bytes can be read.
    reading: Option<Reading>,
    /// What comes behind all data, that which was held back included.
    trailers: Option<HeaderMap>,
    tally: Tally,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Pin<Box<Sleep>>,
    silence_timeout: Duration,
    ended: bool,
}

/// What is done with the bytes of an answer that is not compressed.
pub(crate) struct Reading {
    /// Takes the key out, if there is one.
    pub(crate) redactor: Option<RedactorStream>,
    /// Looks for the tokens that the answer cost.
    pub(crate) usage: UsageScanner,
}

impl Relay {
    pub(crate) fn new(
        upstream: Incoming,
        redactor: Redactor,
        reading: Option<Reading>,
        tally: Tally,
        closed: WaitForCancellationFutureOwned,
        silence_timeout: Duration,
    ) -> Self {
        let silence = Box::pin(tokio::time::sleep(silence_timeout));
        let closed = Box::pin(closed);
        Self { upstream, redactor, reading, trailers: None, tally, closed, silence, silence_timeout, ended: false }
    }

    fn pass(&mut self, chunk: Bytes) -> Bytes {
        self.tally.received(chunk.len());
        let Some(Reading { redactor, usage }) = &mut self.reading else { return chunk };
        usage.read(&chunk);
        if let Some(tokens) = usage.tokens() {
            self.tally.used(tokens);
        }
        match redactor {
            Some(redactor) => redactor.push(chunk),
            None => chunk,
        }
    }

    /// Takes note of the end, and returns what was held back until then.
    fn end(&mut self) -> Option<Bytes> {
        self.ended = true;
        self.tally.ended(self.reading.as_ref().is_some_and(|reading| reading.usage.tokens().is_some()));
        let redactor = self.reading.as_mut()?.redactor.as_mut()?;
        Some(redactor.finish()).filter(|rest| !rest.is_empty())
    }

    /// The same, put behind what came last.
    fn end_after(&mut self, last: Bytes) -> Bytes {
        match self.end() {
            None => last,
            Some(rest) => [last, rest].concat().into(),
        }
    }

    fn fail(&mut self, error: BoxError) -> BoxError {
        self.ended = true;
        self.tally.failed();
        error
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if this.closed.as_mut().poll(cx).is_ready() {
                this.ended = true;
                return Poll::Ready(Some(Err(io::Error::other("the path was closed").into())));
            }
            match Pin::new(&mut this.upstream).poll_frame(cx) {
                Poll::Pending => {
                    return match this.silence.as_mut().poll(cx) {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(()) => {
                            let stalled = io::Error::new(io::ErrorKind::TimedOut, "the upstream stalled");
                            Poll::Ready(Some(Err(this.fail(stalled.into()))))
                        }
                    };
                }
                Poll::Ready(Some(Ok(frame))) => {
                    this.silence.as_mut().reset(Instant::now() + this.silence_timeout);
                    let chunk = match frame.into_data() {
                        Ok(chunk) => chunk,
                        Err(frame) => {
                            this.trailers = frame.into_trailers().ok();
                            if let Some(trailers) = &mut this.trailers {
                                headers::redact(trailers, &this.redactor);
                            }
                            continue;
                        }
                    };
                    let data = this.pass(chunk);
                    // Where the length was announced nobody asks for more than that, so this is the end.
                    if this.upstream.is_end_stream() {
                        return Poll::Ready(Some(Ok(Frame::data(this.end_after(data)))));
                    }
                    // A chunk that is held back as a whole is no frame.
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(this.fail(error.into())))),
                Poll::Ready(None) => {
                    if let Some(rest) = this.end() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
            }
        }
    }
}
