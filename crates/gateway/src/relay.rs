//! The body of an answer on its way from the upstream to the client.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{RedactorStream, dial::BoxError, meter::Tally, usage::UsageScanner};

/// Passes an answer on as it comes, and keeps nothing of it.
///
/// It ends well only if the upstream's answer ended well: in every other case it ends in an error, for which the client's
/// connection is broken off. Dropping it ends the upstream's connection.
pub(crate) struct Relay {
    upstream: Incoming,
    /// What takes the key out, where the bytes can be read.
    redactor: Option<RedactorStream>,
    /// What looks for the tokens that the answer cost, where it is a model's.
    usage: Usage,
    tally: Tally,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Pin<Box<Sleep>>,
    silence_timeout: Duration,
    ended: bool,
}

/// What an answer says of the tokens that it cost.
pub(crate) enum Usage {
    /// It is no model's, or an error's.
    NotExpected,
    /// It is a model's, but compressed.
    NotReadable,
    /// It is read.
    Scanned(UsageScanner),
}

impl Relay {
    pub(crate) fn new(
        upstream: Incoming,
        redactor: Option<RedactorStream>,
        usage: Usage,
        tally: Tally,
        closed: WaitForCancellationFutureOwned,
        silence_timeout: Duration,
    ) -> Self {
        let silence = Box::pin(tokio::time::sleep(silence_timeout));
        let closed = Box::pin(closed);
        Self { upstream, redactor, usage, tally, closed, silence, silence_timeout, ended: false }
    }

    fn pass(&mut self, chunk: Bytes) -> Bytes {
        self.tally.received(chunk.len());
        if let Usage::Scanned(scanner) = &mut self.usage {
            scanner.read(&chunk);
            if let Some(tokens) = scanner.tokens() {
                self.tally.used(tokens);
            }
        }
        match &mut self.redactor {
            Some(redactor) => redactor.push(chunk),
            None => chunk,
        }
    }

    /// Takes note of the end, and returns what was held back until then.
    fn end(&mut self) -> Option<Bytes> {
        self.ended = true;
        let reported = match &self.usage {
            Usage::NotExpected => true,
            Usage::NotReadable => false,
            Usage::Scanned(scanner) => scanner.tokens().is_some(),
        };
        if !reported {
            self.tally.unreported();
        }
        self.redactor.take().map(|mut redactor| redactor.finish()).filter(|rest| !rest.is_empty())
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
                return Poll::Ready(None);
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
                    let frame = match frame.into_data() {
                        Ok(chunk) => Frame::data(this.pass(chunk)),
                        Err(trailers) => trailers,
                    };
                    // Where the length was announced nobody asks for more than that, so this is the end.
                    if frame.is_data() && this.upstream.is_end_stream() {
                        let data = frame.into_data().unwrap_or_default();
                        return Poll::Ready(Some(Ok(Frame::data(this.end_after(data)))));
                    }
                    // A chunk that is held back as a whole is no frame.
                    if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                        return Poll::Ready(Some(Ok(frame)));
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
