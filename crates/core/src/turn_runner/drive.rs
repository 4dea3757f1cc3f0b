//! The loop of a running turn.

use super::shared::Shared;
use crate::event_log::EventLog;
use crate::{Changes, Control, Input, LimitKind, Recorder, Signal, StartedTurn, TurnEvent};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tracing::Span;
use tracing::field::{Empty, display};

/// Returns the span of a turn in the log. Its number counts from 1; the session and the outcome are recorded as they become known.
pub(super) fn turn_span(place: usize) -> Span {
    tracing::info_span!("turn", number = place + 1, session = Empty, outcome = Empty)
}

/// The reasons for which the loop of a turn wakes up.
enum Wake {
    Control(Control),
    Signal(Option<Signal>),
    Limit(LimitKind),
}

/// Passes each input to the recorder, the state machine and the readers of events.
pub(super) struct InputSink {
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: Option<Arc<dyn Recorder>>,
    pub(super) log: Arc<EventLog>,
    pub(super) since: Instant,
    pub(super) next_seq: u64,
}

impl InputSink {
    fn take(&mut self, input: Input) -> Changes {
        let at = self.since.elapsed();
        if let Some(recorder) = &self.recorder {
            recorder.input(at, &input);
        }
        let changes = self.shared.apply(at, &input);
        // Last, because it moves the event to the readers instead of cloning it.
        if let Input::Event(observed) = input {
            self.log.push(TurnEvent { seq: self.next_seq, at, observed });
            self.next_seq += 1;
        }
        changes
    }
}

/// Ends the turn if its loop is dropped, as when the runtime shuts down, so that nothing waits forever.
pub(super) struct LostGuard {
    sink: InputSink,
    over: bool,
}

impl LostGuard {
    pub(super) fn new(sink: InputSink) -> Self {
        Self { sink, over: false }
    }
}

impl Drop for LostGuard {
    fn drop(&mut self) {
        if !self.over {
            self.sink.take(Input::Lost);
        }
    }
}

/// Feeds the signals of a turn into its state machine until the turn ends.
pub(super) async fn drive(mut guard: LostGuard, started: StartedTurn) {
    let StartedTurn { mut signals, controls } = started;
    let shared = Arc::clone(&guard.sink.shared);
    let log = Arc::clone(&guard.sink.log);
    let mut total = Alarm::default();
    let mut idle = Alarm::default();
    let mut is_named = false;
    loop {
        if let Some(recorder) = &guard.sink.recorder
            && (signals.is_empty() || !log.has_room())
        {
            recorder.flush();
        }
        let [total_at, idle_at] = shared.limits_at();
        let wake = tokio::select! {
            biased;
            control = shared.requested_control() => Wake::Control(control),
            () = total.reached(total_at) => Wake::Limit(LimitKind::Total),
            wake = next_signal(&log, &mut signals, &mut idle, idle_at) => wake,
        };
        let input = match wake {
            Wake::Control(Control::Interrupt) => Input::Interrupt,
            Wake::Control(Control::Kill) => Input::Kill,
            Wake::Limit(kind) => Input::LimitReached(kind),
            Wake::Signal(None) => Input::Lost,
            Wake::Signal(Some(Signal::Session(session))) => Input::Session(session),
            Wake::Signal(Some(Signal::Event(observed))) => Input::Event(*observed),
            Wake::Signal(Some(Signal::Dropped { bytes })) => Input::Dropped { bytes },
            Wake::Signal(Some(Signal::Structured(value))) => Input::Structured(value),
            Wake::Signal(Some(Signal::Answered { id })) => Input::Answered { id },
            Wake::Signal(Some(Signal::Progress)) => Input::Progress,
            Wake::Signal(Some(Signal::Traffic(traffic))) => Input::Traffic(traffic),
            Wake::Signal(Some(Signal::Ended(ending))) => Input::Ended(ending),
        };
        let changes = guard.sink.take(input);
        if let Some(control) = changes.control {
            // A reader that stopped reading must not keep the turn from ending.
            log.release_backpressure();
            // A failed send needs no handling: the executor has already sent its end, or the next signal is `None`.
            controls.send(control).ok();
        }
        if let Some(session) = changes.session.as_ref().filter(|_| !is_named) {
            Span::current().record("session", display(session));
            is_named = true;
        }
        if let Some(state) = changes.ended {
            Span::current().record("outcome", state.as_str());
            guard.over = true;
            return;
        }
    }
}

/// Waits for the next signal or for the idle limit.
///
/// The clock is checked only when there is room: signals that arrived while a slow reader blocked the turn are in
/// the channel and are processed first.
async fn next_signal(
    log: &EventLog,
    signals: &mut mpsc::Receiver<Signal>,
    alarm: &mut Alarm,
    idle: Option<Instant>,
) -> Wake {
    log.wait_for_room().await;
    tokio::select! {
        biased;
        signal = signals.recv() => Wake::Signal(signal),
        () = alarm.reached(idle) => Wake::Limit(LimitKind::Idle),
    }
}

/// A timer for a limit that moves with nearly every event.
///
/// It is reset only when it fires too early, because resetting it with each event would cost more than the event.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    async fn reached(&mut self, limit: Option<Instant>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(limit)));
        if sleep.deadline() > limit {
            sleep.as_mut().reset(limit);
        }
        loop {
            sleep.as_mut().await;
            if sleep.deadline() == limit {
                return;
            }
            sleep.as_mut().reset(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn alarm_follows_moved_limit() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        let after = |seconds| Some(began + Duration::from_secs(seconds));
        for (limit, meanwhile) in [(10, 5), (12, 11), (40, 20), (25, 24)] {
            let rest = (began + Duration::from_secs(meanwhile)) - Instant::now();
            assert!(tokio::time::timeout(rest, alarm.reached(after(limit))).await.is_err(), "{limit}");
        }
        alarm.reached(after(30)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        let rest = tokio::time::timeout(Duration::from_secs(5), alarm.reached(None)).await;
        assert!(rest.is_err(), "there is no limit");
        alarm.reached(after(31)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(35), "it has passed");
    }
}
