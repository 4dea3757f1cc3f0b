//! The live view of a turn on the terminal: its state, and the task that draws it.

mod view;

use crate::output::AnswerWriter;
use crate::screen::{self, Size};
use crate::styled::StyledLine;
use crate::terminal_modes;
use opencode_run_core::{Event, TurnEvent};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use view::View;

/// The delay before the first frame, so that short waits do not cause flicker.
const FIRST_FRAME: Duration = Duration::from_millis(100);
/// The minimum interval between two frames.
const MIN_FRAME_INTERVAL: Duration = Duration::from_millis(25);
/// The additional interval of redrawing without changes, for the view's clocks.
const IDLE_INTERVAL: Duration = Duration::from_millis(95);

/// An answer whose end the view shows.
pub(crate) type SharedAnswer = Arc<Mutex<AnswerWriter>>;

/// The live view. A process has at most one, because it has one terminal.
#[derive(Debug)]
pub(crate) struct Live {
    turn: Mutex<Option<Turn>>,
    changed: Notify,
    colours: bool,
}

#[derive(Debug)]
struct Turn {
    began: Instant,
    view: View,
    answer: Option<SharedAnswer>,
    drawing: JoinHandle<()>,
}

impl Live {
    /// Creates the view if stderr is a terminal that can show it.
    pub(crate) fn new() -> Option<&'static Self> {
        let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        let live = || Self { turn: Mutex::new(None), changed: Notify::new(), colours };
        // Leaked on purpose: the view lives as long as the process.
        screen::can_draw().then(|| &*Box::leak(Box::new(live())))
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the view, showing what the turn is waiting for. Must be called on a runtime.
    pub(crate) fn begin(&'static self, awaited: &str) {
        self.end();
        terminal_modes::hide_typing();
        let drawing = tokio::spawn(self.keep_drawing());
        *self.turn() = Some(Turn { began: Instant::now(), view: View::waiting(awaited), answer: None, drawing });
    }

    /// Shows what the turn is waiting for, starting the view if necessary.
    pub(crate) fn wait_for(&'static self, awaited: &str) {
        if self.turn().is_none() {
            self.begin(awaited);
        }
        self.change(|turn| turn.view.wait_for(awaited));
    }

    /// Shows that the turn is being ended.
    pub(crate) fn stop(&self) {
        self.change(|turn| turn.view.stop());
    }

    /// Shows the end of an answer while it is written.
    pub(crate) fn show_answer(&self, answer: SharedAnswer) {
        self.change(|turn| turn.answer = Some(answer));
    }

    /// Updates the view with an event.
    pub(crate) fn apply(&self, event: &TurnEvent) {
        if let Some(turn) = self.turn().as_mut() {
            turn.view.apply(turn.began.elapsed(), event);
        }
        // Text grows up to a thousand times a second; the next frame of the clocks shows it soon enough.
        if !matches!(event.observed.event, Event::TextDelta { .. } | Event::ReasoningDelta { .. }) {
            self.changed.notify_one();
        }
    }

    /// Returns how long a tool call has been running.
    pub(crate) fn running_time(&self, event: &TurnEvent) -> Option<Duration> {
        self.turn().as_ref().and_then(|turn| turn.view.running_time(turn.began.elapsed(), event))
    }

    fn change(&self, change: impl FnOnce(&mut Turn)) {
        if let Some(turn) = self.turn().as_mut() {
            change(turn);
            self.changed.notify_one();
        }
    }

    /// Stops and erases the view.
    pub(crate) fn end(&self) {
        if let Some(turn) = self.turn().take() {
            turn.drawing.abort();
            terminal_modes::show_typing();
        }
        screen::clear();
    }

    async fn keep_drawing(&'static self) {
        sleep(FIRST_FRAME).await;
        let mut continued = continued();
        loop {
            let next = Instant::now() + MIN_FRAME_INTERVAL;
            let size = screen::size();
            let Some(lines) = self.frame(size) else { return };
            screen::draw(&lines, size, self.colours);
            sleep_until(next).await;
            tokio::select! {
                biased;
                () = continued.recv() => screen::forget(),
                () = screen::erased() => {}
                _ = timeout(IDLE_INTERVAL, self.changed.notified()) => {}
            }
        }
    }

    fn frame(&self, size: Size) -> Option<Vec<StyledLine>> {
        let turn = self.turn();
        let turn = turn.as_ref()?;
        let tail =
            turn.answer.as_ref().map(|answer| answer.lock().unwrap_or_else(PoisonError::into_inner).tail(size.columns));
        Some(turn.view.lines(turn.began.elapsed(), size, tail.unwrap_or_default()))
    }
}

/// Waits for the process to continue after it was stopped, for example with Ctrl-Z: the shell has moved the cursor.
#[cfg(unix)]
fn continued() -> Continued {
    use tokio::signal::unix::{SignalKind, signal};
    Continued(signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())).ok())
}

#[cfg(not(unix))]
fn continued() -> Continued {
    Continued()
}

struct Continued(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Continued {
    async fn recv(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
