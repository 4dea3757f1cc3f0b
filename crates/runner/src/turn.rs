//! A handle to one turn.

use crate::Runner;
use futures_util::stream::{Stream, StreamExt, unfold};
use opencode_run_core::{EventItem, Events, TurnError, TurnHandle, TurnRecord};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

type Items = Pin<Box<dyn Stream<Item = EventItem> + Send + Sync>>;

/// A started turn: a stream of its events, which can be awaited and controlled from anywhere.
///
/// The stream skips events of an unknown kind unless [requested](Self::with_unknown), and never slows the turn
/// down: a reader that is too slow learns how many events it missed, unless it is [`lossless`](Self::lossless).
/// [`wait`](Self::wait) works without reading the stream.
///
/// It is also a handle to its [`Runner`]. Dropping it detaches the turn, which continues; the turn is killed when
/// the last handle of both is dropped.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use opencode_runner::{EventItem, Runner};
///
/// let runner = Runner::builder().task_name("hello").build().await?;
/// let mut turn = runner.start("Write hello.py.").await?;
/// while let Some(item) = turn.next().await {
///     if let EventItem::Event(event) = item {
///         println!("{event:?}");
///     }
/// }
/// println!("{}", turn.answer().await?);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "stream")]
pub struct Turn {
    control: TurnControl,
    items: Items,
    is_lossless: bool,
    with_unknown: bool,
}

/// Ends or awaits a turn from anywhere. It is also a handle to the turn's [`Runner`], which keeps the turn alive.
#[derive(Debug, Clone)]
pub struct TurnControl {
    handle: TurnHandle,
    // Keeps the runner alive.
    _runner: Runner,
}

impl Turn {
    pub(crate) fn new(handle: TurnHandle, runner: Runner) -> Self {
        let items = stream(handle.events());
        Self { control: TurnControl { handle, _runner: runner }, items, is_lossless: false, with_unknown: false }
    }

    /// Makes the stream lossless from now on: the turn waits for its reader (backpressure).
    ///
    /// Such a wait does not count as idle. A turn that is being ended does not wait for readers.
    #[must_use]
    pub fn lossless(mut self) -> Self {
        self.is_lossless = true;
        self.reopened()
    }

    /// Includes events of an unknown kind in the stream. They are most of a small turn's events, and change
    /// nothing.
    #[must_use]
    pub fn with_unknown(mut self) -> Self {
        self.with_unknown = true;
        self.reopened()
    }

    fn reopened(mut self) -> Self {
        let handle = &self.control.handle;
        let events = if self.is_lossless { handle.lossless_events() } else { handle.events() };
        self.items = stream(if self.with_unknown { events.with_unknown() } else { events });
        self
    }

    /// Returns the next item as soon as there is one; `None` when the turn is over and every item was read. Cancel
    /// safe: dropping the future loses no item.
    pub async fn next(&mut self) -> Option<EventItem> {
        self.items.next().await
    }

    /// Returns a handle that can end or await the turn from anywhere.
    #[must_use]
    #[doc(alias = "cancel")]
    pub fn control(&self) -> TurnControl {
        self.control.clone()
    }

    /// Waits until nothing that the turn started is still running, and returns its record, whether it succeeded or not.
    pub async fn wait(&self) -> Arc<TurnRecord> {
        self.control.wait().await
    }

    /// Waits for the end of the turn and returns its answer.
    ///
    /// # Errors
    ///
    /// If the turn failed or was interrupted. The error holds the record.
    pub async fn answer(&self) -> Result<String, TurnError> {
        self.wait().await.answer()
    }

    /// Ends the turn gracefully; its session can be continued. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn interrupt(&self) -> bool {
        self.control.interrupt()
    }

    /// Kills the turn. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn kill(&self) -> bool {
        self.control.kill()
    }

    /// Interrupts the turn, kills it if it has not ended after the grace period, and returns its record.
    pub async fn stop(&self, grace: Duration) -> Arc<TurnRecord> {
        self.control.stop(grace).await
    }
}

impl TurnControl {
    /// Waits until nothing that the turn started is still running, and returns its record, whether it succeeded or not.
    pub async fn wait(&self) -> Arc<TurnRecord> {
        self.handle.wait().await
    }

    /// Ends the turn gracefully; its session can be continued. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn interrupt(&self) -> bool {
        self.handle.interrupt()
    }

    /// Kills the turn. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn kill(&self) -> bool {
        self.handle.kill()
    }

    /// Interrupts the turn, kills it if it has not ended after the grace period, and returns its record.
    pub async fn stop(&self, grace: Duration) -> Arc<TurnRecord> {
        self.handle.stop(grace).await
    }
}

fn stream(events: Events) -> Items {
    Box::pin(unfold(events, |mut events| async move { events.next().await.map(|item| (item, events)) }))
}

impl Stream for Turn {
    type Item = EventItem;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<EventItem>> {
        self.items.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("control", &self.control).finish_non_exhaustive()
    }
}
