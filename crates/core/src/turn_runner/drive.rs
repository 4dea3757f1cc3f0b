//! The loop of a running turn.

use super::Shared;
use crate::event_log::EventLog;
use crate::{Changes, Control, Input, LimitKind, Recorder, Signal, StartedTurn, TurnEvent};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// What the loop of a turn wakes up for.
enum Wake {
    Wish(Control),
    Signal(Option<Signal>),
    Limit(LimitKind),
}

/// Where all that comes to a turn goes: to the recorder, into its state machine, and to the readers of its events.
pub(super) struct Intake {
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: Option<Arc<dyn Recorder>>,
    pub(super) log: Arc<EventLog>,
    pub(super) since: Instant,
    pub(super) next_seq: u64,
}

impl Intake {
    fn take(&mut self, input: Input) -> Changes {
        let at = self.since.elapsed();
        if let Some(recorder) = &self.recorder {
            recorder.input(at, &input);
        }
        let changes = self.shared.apply(at, &input);
        // Last, since it goes on from here: the readers have it instead of a copy.
        if let Input::Event(observed) = input {
            self.log.push(TurnEvent { seq: self.next_seq, at, observed });
            self.next_seq += 1;
        }
        changes
    }
}

/// Ends the turn where its loop is dropped, as it is when the runtime goes away, so that nobody waits in vain.
pub(super) struct LostGuard {
    intake: Intake,
    over: bool,
}

impl LostGuard {
    pub(super) fn new(intake: Intake) -> Self {
        Self { intake, over: false }
    }
}

impl Drop for LostGuard {
    fn drop(&mut self) {
        if !self.over {
            self.intake.take(Input::Lost);
        }
    }
}

/// Moves what comes from the turn into its state machine until it ends.
pub(super) async fn drive(mut guard: LostGuard, started: StartedTurn) {
    let StartedTurn { mut signals, controls } = started;
    let (shared, log) = (Arc::clone(&guard.intake.shared), Arc::clone(&guard.intake.log));
    let (mut total, mut idle) = (Alarm::default(), Alarm::default());
    loop {
        if let Some(recorder) = &guard.intake.recorder
            && (signals.is_empty() || !log.has_room())
        {
            recorder.settle();
        }
        let [total_at, idle_at] = shared.limits_at();
        let wake = tokio::select! {
            biased;
            wish = shared.wished() => Wake::Wish(wish),
            () = total.reached(total_at) => Wake::Limit(LimitKind::Total),
            wake = next_signal(&log, &mut signals, &mut idle, idle_at) => wake,
        };
        let input = match wake {
            Wake::Wish(Control::Interrupt) => Input::Interrupt,
            Wake::Wish(Control::Kill) => Input::Kill,
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
        let changes = guard.intake.take(input);
        if let Some(control) = changes.control {
            // A reader that has stopped reading must not keep the turn from ending.
            log.let_go();
            // An executor that is gone has said so, or its silence is the next signal.
            controls.send(control).ok();
        }
        if changes.ended.is_some() {
            guard.over = true;
            return;
        }
    }
}

/// Waits for the next signal, or for the idle limit where nothing came until then.
///
/// The clock is only looked at when there is room: what came while a reader held the turn up is in the channel, and is
/// taken first.
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

/// Waits for a limit that moves away with nearly all that happens.
///
/// It stays set to where the limit was and is set anew only when it gets there: to set it with each event would cost more
/// than the event.
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
    async fn an_alarm_rings_at_the_limit_wherever_that_has_moved() {
        let (mut alarm, began) = (Alarm::default(), Instant::now());
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
