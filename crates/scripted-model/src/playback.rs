//! Plays a plan as the body of a response.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::{ledger::Ledger, wire::Step};

/// Stands for the client of one answer; dropped before the answer's end, it counts a client that went away.
#[derive(Debug)]
pub(crate) struct Audience {
    ledger: Arc<Ledger>,
    stopping: Arc<AtomicBool>,
    served: bool,
}

impl Audience {
    pub(crate) fn new(ledger: Arc<Ledger>, stopping: Arc<AtomicBool>) -> Self {
        Self { ledger, stopping, served: false }
    }

    /// Says that the client got all that was meant for it.
    pub(crate) fn served(mut self) {
        self.served = true;
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        if !self.served && !self.stopping.load(Ordering::Relaxed) {
            self.ledger.count_disconnect();
        }
    }
}

/// Returns the body that plays these steps.
pub(crate) fn body(mut steps: VecDeque<Step>, audience: Audience) -> Body {
    if let [Step::Send(text)] = steps.make_contiguous() {
        audience.served();
        return Body::from(std::mem::take(text));
    }
    Body::from_stream(stream::unfold(Some((steps, audience)), |state| async {
        let (mut steps, audience) = state?;
        loop {
            match steps.pop_front() {
                Some(Step::Send(text)) => {
                    return Some((Ok(Bytes::from(text)), Some((steps, audience))));
                }
                Some(Step::Pause(duration)) => tokio::time::sleep(duration).await,
                Some(Step::Cut) => {
                    // What was sent so far leaves only when the body is not ready: without this the client would
                    // not even see the status line.
                    tokio::task::yield_now().await;
                    audience.served();
                    return Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None));
                }
                Some(Step::Stall) => std::future::pending().await,
                None => {
                    audience.served();
                    return None;
                }
            }
        }
    }))
}
