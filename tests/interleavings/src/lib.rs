//! The mailbox of a turn, with every interleaving of the threads at its ends: no input and no wake-up is lost.

#![cfg(test)]

use channel::{Channel, QueuedEvent, QueuedInput, QueuedItem};
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::poll_fn;

#[path = "../../../crates/process/src/serve/mailbox/channel.rs"]
mod channel;

/// The lock of the channel.
mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

/// An event with a number and a size in bytes.
#[derive(Debug)]
struct TestEvent(usize, usize);

impl QueuedEvent for TestEvent {
    fn bytes(&self) -> usize {
        self.1
    }
}

type TestChannel = Channel<TestEvent, &'static str, &'static str>;

/// Returns the next input. A lost wake-up is a deadlock, which fails the test.
fn receive(channel: &TestChannel, accept_events: bool) -> QueuedInput<TestEvent, &'static str, &'static str> {
    block_on(poll_fn(|context| channel.poll_receive(context, accept_events)))
}

/// Runs a test with every interleaving of two threads: `sends` of one end, and `takes` of the turn.
fn check(
    sends: impl Fn(&TestChannel) + Copy + Send + Sync + 'static,
    takes: impl Fn(&TestChannel) + Send + Sync + 'static,
) {
    loom::model(move || {
        let channel = Arc::new(TestChannel::new());
        let end = Arc::clone(&channel);
        let sender = thread::spawn(move || sends(&end));
        takes(&channel);
        sender.join().unwrap();
    });
}

#[test]
fn events_wake_the_turn_in_order() {
    let sends = |channel: &TestChannel| {
        for number in 0..3 {
            channel.send(TestEvent(number, 1));
        }
        channel.close();
    };
    check(sends, |channel| {
        for expected in 0..3 {
            assert!(
                matches!(receive(channel, true), QueuedInput::Item(Some(QueuedItem::Event(TestEvent(number, _)))) if number == expected)
            );
        }
        assert!(matches!(receive(channel, true), QueuedInput::Item(None)));
    });
}

#[test]
fn answer_follows_earlier_events() {
    let sends = |channel: &TestChannel| {
        channel.send(TestEvent(0, 1));
        channel.answer("answer");
    };
    check(sends, |channel| {
        assert!(matches!(receive(channel, true), QueuedInput::Item(Some(QueuedItem::Event(_)))));
        assert!(matches!(receive(channel, true), QueuedInput::Answer("answer")));
    });
}

#[test]
fn turn_without_room_is_woken_by_control_and_exit() {
    let sends = |channel: &TestChannel| {
        channel.send(TestEvent(0, 1));
        channel.exit(Some("exit status: 1".to_owned()));
        channel.control(Some("kill"));
    };
    check(sends, |channel| {
        let mut kinds = [0, 0];
        for _ in 0..2 {
            match receive(channel, false) {
                QueuedInput::Control(Some("kill")) => kinds[0] += 1,
                QueuedInput::Exit(how) if how.ends_with('1') => kinds[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(kinds, [1, 1]);
        assert!(matches!(receive(channel, true), QueuedInput::Item(Some(QueuedItem::Event(_)))));
    });
}

/// The reader drops events of a full queue, and the turn that empties it reports how many.
#[test]
fn dropped_events_are_counted() {
    let sends = |channel: &TestChannel| {
        for number in 0..3 {
            channel.send(TestEvent(number, channel::MAX_BYTES));
        }
        channel.close();
    };
    check(sends, |channel| {
        let mut taken = 0;
        let mut is_disconnected = false;
        loop {
            match receive(channel, true) {
                QueuedInput::Item(Some(QueuedItem::Event(TestEvent(number, _)))) => {
                    assert!(!is_disconnected && number == taken, "event {number} after {taken}");
                    taken += 1;
                }
                QueuedInput::Item(Some(QueuedItem::Disconnected)) => is_disconnected = true,
                QueuedInput::Item(Some(QueuedItem::Reconnected { dropped })) => {
                    assert!(std::mem::take(&mut is_disconnected) && dropped > 0);
                    taken += dropped;
                }
                QueuedInput::Item(None) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((taken, is_disconnected), (3, false));
    });
}

#[test]
fn broken_stream_is_reported_once() {
    let sends = |channel: &TestChannel| {
        channel.disconnect();
        channel.disconnect();
        channel.reconnect();
        channel.send(TestEvent(0, 1));
    };
    check(sends, |channel| {
        assert!(matches!(receive(channel, true), QueuedInput::Item(Some(QueuedItem::Disconnected))));
        assert!(matches!(receive(channel, true), QueuedInput::Item(Some(QueuedItem::Reconnected { dropped: 0 }))));
        assert!(matches!(receive(channel, true), QueuedInput::Item(Some(QueuedItem::Event(_)))));
    });
}

#[test]
fn ended_turn_drops_events() {
    let sends = |channel: &TestChannel| {
        channel.send(TestEvent(0, 1));
        channel.answer("answer");
        channel.send(TestEvent(1, 1));
    };
    check(sends, |channel| {
        channel.abandon();
        assert!(channel.drain().is_empty());
    });
}
