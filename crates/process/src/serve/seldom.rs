//! What is seldom heard from.

use futures_util::stream::Stream;
use futures_util::task::AtomicWaker;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A stream that is only looked at when it has said that there is something.
///
/// Who waits for several things at once looks at all of them whenever one wakes it. For a turn that is with each event, and what
/// it looks at in vain costs more than the event: with thousands of turns all of it is out of the processor's caches.
#[derive(Debug)]
pub(super) struct Seldom<S> {
    stream: S,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    has_rung: AtomicBool,
    owner: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.owner.wake();
    }
}

impl<S: Stream + Unpin> Seldom<S> {
    pub(super) fn new(stream: S) -> Self {
        // It was never looked at.
        let bell = Bell { has_rung: AtomicBool::new(true), owner: AtomicWaker::new() };
        Self { stream, bell: Arc::new(bell) }
    }

    /// Returns the stream, to have something added to it: it is looked at next time.
    pub(super) fn change(&mut self) -> &mut S {
        self.bell.has_rung.store(true, Ordering::Release);
        &mut self.stream
    }
}

impl<S: Stream + Unpin> Stream for Seldom<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        // First, so that a ring that comes now is either seen or heard.
        self.bell.owner.register(context.waker());
        if !self.bell.has_rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.bell));
        let item = Pin::new(&mut self.stream).poll_next(&mut Context::from_waker(&waker));
        if item.is_ready() {
            // There may be more.
            self.bell.has_rung.store(true, Ordering::Release);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::poll_fn;
    use futures_util::stream::StreamExt;
    use std::cell::Cell;
    use tokio::sync::mpsc;

    /// Looks once.
    async fn look(stream: &mut (impl Stream<Item = u32> + Unpin)) -> Option<Option<u32>> {
        poll_fn(|context| Poll::Ready(Some(stream.poll_next_unpin(context))))
            .await
            .and_then(|item| if let Poll::Ready(item) = item { Some(item) } else { None })
    }

    #[tokio::test]
    async fn it_is_looked_at_when_there_is_something_and_never_else() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let looks = Cell::new(0);
        let counted = futures_util::stream::poll_fn(|context| {
            looks.set(looks.get() + 1);
            receiver.poll_recv(context)
        });
        let mut seldom = Seldom::new(counted);
        for _ in 0..3 {
            assert_eq!(look(&mut seldom).await, None);
        }
        assert_eq!(looks.get(), 1);
        (1..=2).for_each(|number| sender.send(number).unwrap());
        assert_eq!([look(&mut seldom).await, look(&mut seldom).await], [Some(Some(1)), Some(Some(2))]);
        for _ in 0..3 {
            assert_eq!(look(&mut seldom).await, None);
        }
        assert_eq!(looks.get(), 4, "once more after the last");
        seldom.change();
        assert_eq!((look(&mut seldom).await, looks.get()), (None, 5));
        drop(sender);
        assert_eq!(look(&mut seldom).await, Some(None));
    }

    #[tokio::test]
    async fn who_waits_for_it_is_woken() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut seldom = Seldom::new(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)));
        let waits = tokio::spawn(async move { (seldom.next().await, seldom.next().await) });
        for number in 1..=2 {
            tokio::task::yield_now().await;
            sender.send(number).unwrap();
        }
        assert_eq!(waits.await.unwrap(), (Some(1), Some(2)));
    }
}
