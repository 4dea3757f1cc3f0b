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

use crate::{ledger::RequestLedger, wire::Step};

/// The client of one answer. Dropping it before the end of the answer counts a disconnect.
#[derive(Debug)]
pub(crate) struct ClientGuard {
    ledger: Arc<RequestLedger>,
    stopping: Arc<AtomicBool>,
    served: bool,
}

impl ClientGuard {
    pub(crate) fn new(ledger: Arc<RequestLedger>, stopping: Arc<AtomicBool>) -> Self {
        Self { ledger, stopping, served: false }
    }

    /// Marks the answer as completely sent.
    pub(crate) fn served(mut self) {
        self.served = true;
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if !self.served && !self.stopping.load(Ordering::Relaxed) {
            self.ledger.count_disconnect();
        }
    }
}

/// Returns the body that plays these steps.
pub(crate) fn body(mut steps: VecDeque<Step>, audience: ClientGuard) -> Body {
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
                    // Pending data is sent only when the body yields; otherwise the client would not even receive
                    // the status line.
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
