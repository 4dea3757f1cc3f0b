//! The open event streams.

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// The maximum number of frames, or bundles of frames, that wait for a slow reader before the turns wait for it.
const WAITING: usize = 64;

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Vec<Open>>,
    count: AtomicU64,
}

#[derive(Debug, Clone)]
struct Open {
    number: u64,
    frames: mpsc::Sender<Bytes>,
    /// The remaining number of events.
    left: Option<Arc<AtomicU64>>,
}

impl Streams {
    // Held for plain look-ups only, never while waiting.
    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream with a first frame, which is closed after this many further events. Returns its number and its frames.
    pub(crate) fn add(&self, first: Bytes, events: Option<u64>) -> (u64, mpsc::Receiver<Bytes>) {
        let (frames, receiver) = mpsc::channel(WAITING);
        // A new channel has room.
        frames.try_send(first).ok();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.open().push(Open { number, frames, left: events.map(|events| Arc::new(AtomicU64::new(events))) });
        (number, receiver)
    }

    /// Closes a stream.
    pub(crate) fn close(&self, number: u64) {
        self.open().retain(|open| open.number != number);
    }

    /// Closes all streams.
    pub(crate) fn close_all(&self) {
        self.open().clear();
    }

    /// Sends frames with this many events to all streams, and waits for their readers. Not for async code.
    pub(crate) fn send(&self, frames: &Bytes, events: u64) {
        let open = self.open().clone();
        for stream in open {
            let over = stream.left.as_ref().is_some_and(|left| {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(events)).is_err()
            });
            if over || stream.frames.blocking_send(frames.clone()).is_err() {
                self.close(stream.number);
            }
        }
    }

    /// Sends one event to all streams. Not for async code.
    pub(crate) fn event(&self, data: &str) {
        self.send(&frame(data), 1);
    }

    /// Sends a heartbeat to a stream at intervals for as long as it is open.
    pub(crate) async fn beat(&self, number: u64, heartbeat: Bytes, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let stream = self.open().iter().find(|open| open.number == number).cloned();
            let Some(stream) = stream else { return };
            // A stream with events to read needs no heartbeat.
            stream.frames.try_send(heartbeat.clone()).ok();
        }
    }
}

/// Returns an event in the format of the stream.
pub(crate) fn frame(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}
