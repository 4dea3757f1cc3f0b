//! Tests of the inputs of a turn.

use super::channel::{HIGH_WATERMARK, MAX_BYTES, RETAINED_CAPACITY};
use super::*;
use opencode_run_core::{RawJson, SessionId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

/// Counts wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn event(bytes: usize) -> SessionEvent {
    let raw = RawJson::parse(format!("\"{}\"", "x".repeat(bytes))).unwrap();
    SessionEvent { session: SessionId::new("s"), parent: None, kind: "k".to_owned(), raw, is_working: None }
}

impl TurnMailbox {
    /// Returns the next item of the stream; `None` when the sender is gone.
    pub(crate) async fn next(&mut self) -> Option<StreamItem> {
        match self.receive(true).await {
            Incoming::Item(item) => item,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn slow_turn_is_resynced_after_catching_up() {
    let (sender, mut mailbox) = mailbox();
    for _ in 0..4 {
        assert!(!sender.send(event(MAX_BYTES / 2)));
    }
    assert!(!sender.send(event(1)), "small events do not get past the ones that were dropped");
    assert!(matches!(mailbox.next().await, Some(StreamItem::Event(_))));
    assert!(matches!(mailbox.next().await, Some(StreamItem::Disconnected)));
    assert!(matches!(mailbox.next().await, Some(StreamItem::Reconnected { dropped: 4 })), "without a further event");
    assert!(!sender.send(event(1)));
    assert!(matches!(mailbox.next().await, Some(StreamItem::Event(_))));
    drop(sender);
    assert!(mailbox.next().await.is_none());
}

#[tokio::test]
async fn full_queue_disconnects_once() {
    let (sender, mut mailbox) = mailbox();
    for _ in 0..2 {
        assert!(!sender.send(event(MAX_BYTES - 10)));
    }
    sender.disconnect();
    sender.disconnect();
    assert!(matches!(mailbox.next().await, Some(StreamItem::Event(_))));
    assert!(matches!(mailbox.next().await, Some(StreamItem::Disconnected)));
    assert!(mailbox.drain().is_empty(), "the stream is still broken");
    sender.reconnect();
    sender.reconnect();
    assert!(matches!(mailbox.drain()[..], [StreamItem::Reconnected { .. }]));
}

#[tokio::test]
async fn reader_yields_to_running_slow_turn() {
    let (sender, mut mailbox) = mailbox();
    assert!(!sender.send(event(2 * HIGH_WATERMARK)), "the turn has not begun");
    assert!(mailbox.next().await.is_some());
    assert!(sender.send(event(2 * HIGH_WATERMARK)), "it is running");
    assert!(mailbox.next().await.is_some());
    assert!(!sender.send(event(1)), "it is not behind");
    let mut context = Context::from_waker(Waker::noop());
    assert!(std::pin::pin!(mailbox.receive(false)).poll(&mut context).is_pending());
    assert!(!sender.send(event(2 * HIGH_WATERMARK)), "its consumer has no room");
    drop(mailbox);
    assert!(!sender.send(event(2 * HIGH_WATERMARK)), "it is over");
}

#[tokio::test]
async fn controls_come_first_answer_last() {
    for with_items in [true, false] {
        let (sender, mut mailbox) = mailbox();
        let (controls, wanted) = mpsc::unbounded_channel();
        let (_, exit) = watch::channel(None);
        let bringing = tokio::spawn(mailbox.forward(wanted, exit));
        assert!(!sender.send(event(1)));
        mailbox.answer_sender().send(Ok("answer".to_owned()));
        controls.send(Control::Interrupt).unwrap();
        drop(controls);
        bringing.await.unwrap();
        assert!(matches!(mailbox.receive(with_items).await, Incoming::Control(Some(Control::Interrupt))));
        assert!(matches!(mailbox.receive(with_items).await, Incoming::Control(None)));
        if with_items {
            assert!(matches!(mailbox.receive(true).await, Incoming::Item(Some(StreamItem::Event(_)))));
        }
        assert!(matches!(mailbox.receive(with_items).await, Incoming::Answer(Ok(answer)) if answer == "answer"));
        assert_eq!(mailbox.drain().len(), usize::from(!with_items));
        drop(sender);
        assert!(matches!(mailbox.receive(true).await, Incoming::Item(None)));
    }
}

#[tokio::test]
async fn waiting_turn_is_woken_by_any_input() {
    let (sender, mut mailbox) = mailbox();
    let (controls, wanted) = mpsc::unbounded_channel();
    let (exit_sender, exit) = watch::channel(None);
    let _bringing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(mailbox.forward(wanted, exit)));
    let answer_sender = mailbox.answer_sender();
    let waits = tokio::spawn(async move {
        let mut came = Vec::new();
        for _ in 0..5 {
            came.push(match mailbox.receive(true).await {
                Incoming::Control(_) => "control",
                Incoming::Item(Some(_)) => "item",
                Incoming::Item(None) => "end",
                Incoming::Answer(Err(ClientError::NoAnswer(_))) => "no answer",
                Incoming::Answer(_) => "answer",
                Incoming::Exit(_) => "exit",
            });
        }
        came
    });
    let settle = async || {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    controls.send(Control::Kill).unwrap();
    settle().await;
    drop(answer_sender);
    settle().await;
    exit_sender.send_replace(Some("exit status: 1".to_owned()));
    settle().await;
    assert!(!sender.send(event(1)));
    settle().await;
    drop(sender);
    assert_eq!(waits.await.unwrap(), ["control", "no answer", "exit", "item", "end"]);
}

#[tokio::test]
async fn uninterested_turn_is_not_woken_by_events() {
    let (sender, mut mailbox) = mailbox();
    let turn = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&turn));
    let look = |mailbox: &mut TurnMailbox, accept_events| {
        let receive = std::pin::pin!(mailbox.receive(accept_events)).poll(&mut Context::from_waker(&waker));
        receive.is_ready()
    };
    let woken = |sent: usize| {
        (0..sent).for_each(|_| assert!(!sender.send(event(1))));
        turn.0.swap(0, Ordering::Relaxed)
    };
    assert!(!look(&mut mailbox, true));
    assert_eq!(woken(3), 1);
    for _ in 0..3 {
        assert!(look(&mut mailbox, true));
    }
    assert_eq!(woken(1), 0, "it will look by itself");
    assert!(!look(&mut mailbox, false));
    assert_eq!(woken(3), 0, "it wants none");
    mailbox.answer_sender().send(Ok(String::new()));
    assert_eq!(woken(0), 1, "but it wants the answer");
    assert!(look(&mut mailbox, false));
}

#[tokio::test]
async fn capacity_for_many_events_is_released() {
    for takes_all in [false, true] {
        let (sender, mut mailbox) = mailbox();
        for _ in 0..20_000 {
            assert!(!sender.send(event(10)));
        }
        assert!(sender.0.lock().items.capacity() > RETAINED_CAPACITY);
        if takes_all {
            assert_eq!(mailbox.drain().len(), 20_000);
        } else {
            for _ in 0..20_000 {
                assert!(mailbox.next().await.is_some());
            }
        }
        assert!(sender.0.lock().items.capacity() <= RETAINED_CAPACITY, "{takes_all}");
    }
}
