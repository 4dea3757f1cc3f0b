//! The progress of a batch on stderr: bars on a terminal, lines elsewhere.

use crate::console::Console;
use crate::styled::StyledLine;
use crate::{screen, terminal_modes};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use opencode_run_batch::run::{Batch, BatchEvent};
use opencode_run_batch::scheduler::{Hold, Status};
use opencode_run_batch::{Standing, TaskResult};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The interval of summaries if stderr is not a terminal that can show bars.
const SUMMARY_INTERVAL: Duration = Duration::from_mins(1);
/// The maximum number of running tasks with a bar.
const MAX_BARS: usize = 12;

/// Shows the progress of a batch.
pub(super) struct BatchProgress {
    console: Console,
    bars: Option<Bars>,
    began: Instant,
    last_summary: Instant,
    failures: HashMap<&'static str, u64>,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    tasks: Vec<ProgressBar>,
}

impl BatchProgress {
    pub(super) fn new(console: Console) -> Self {
        let bars = (!console.quiet && screen::can_draw()).then(Bars::new);
        if bars.is_some() {
            terminal_modes::hide_typing();
        }
        let now = Instant::now();
        Self { console, bars, began: now, last_summary: now, failures: HashMap::new() }
    }

    pub(super) fn show(&mut self, batch: &Batch, event: &BatchEvent<'_>) {
        match event {
            BatchEvent::Ended { result, standing, retry_in } => {
                let line = self.line(&batch.status(), result, *standing, *retry_in);
                self.print(&line);
            }
            BatchEvent::Hold { hold, is_set } => {
                let reason = match hold {
                    Hold::ResultsFull => "the disk of the results is full",
                    Hold::Disk => "the disk has less room than --min-free",
                    Hold::Memory => "the processes use more memory than --max-memory",
                    _ => "it is held",
                };
                let text = if *is_set {
                    format!("{reason}: no task is started until that has changed")
                } else {
                    "tasks are started again".to_owned()
                };
                self.apart(|| Console::warning(&text));
            }
            BatchEvent::BadTask { problem } => self.apart(|| Console::warning(problem)),
            BatchEvent::Tick => self.tick(batch),
            _ => {}
        }
    }

    fn tick(&mut self, batch: &Batch) {
        if let Some(bars) = &mut self.bars {
            bars.draw(batch, self.began.elapsed());
        } else if self.last_summary.elapsed() >= SUMMARY_INTERVAL {
            self.last_summary = Instant::now();
            let text = summary(&batch.status(), self.began.elapsed());
            self.console.note(&text);
        }
    }

    fn print(&self, text: &str) {
        let console = self.console;
        self.apart(|| console.note(text));
    }

    /// Prints above the bars.
    fn apart(&self, print: impl FnOnce()) {
        if let Some(bars) = &self.bars {
            // Not `suspend`, which panics if the terminal was closed.
            bars.all.clear().ok();
        }
        print();
        if let Some(bars) = &self.bars {
            bars.total.tick();
        }
    }

    fn line(&mut self, status: &Status, result: &TaskResult, standing: Standing, retry_in: Option<Duration>) -> String {
        let done = over(status);
        let report = &result.report;
        let seconds = Duration::from_millis(report.duration_ms).as_secs_f64();
        let mut parts =
            vec![format!("[{done}/{}] {}: {}", status.tasks, result.id, standing.as_str()), format!("{seconds:.1}s")];
        if report.cost > 0.0 {
            parts.push(format!("${:.4}", report.cost));
        }
        if let Some(error) = &report.error {
            *self.failures.entry(error.kind.as_str()).or_default() += 1;
            parts.push(format!("{}: {}", error.kind, error.message));
        }
        if let Some(delay) = retry_in {
            parts.push(format!("attempt {} in {:.0}s", result.attempt + 1, delay.as_secs_f64().ceil()));
        }
        parts.join(", ")
    }

    /// Prints the figures of a batch that ended.
    pub(super) fn end(self, status: &Status, elapsed: Duration) {
        if let Some(bars) = &self.bars {
            terminal_modes::show_typing();
            bars.all.clear().ok();
        }
        self.console.note(&summary(status, elapsed));
        let mut failures: Vec<_> = self.failures.into_iter().collect();
        failures.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
        if !failures.is_empty() {
            let kinds: Vec<_> = failures.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            self.console.note(&format!("failed attempts by kind: {}", kinds.join(", ")));
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
            total.set_style(style);
        }
        Self { all, total, tasks: Vec::new() }
    }

    fn draw(&mut self, batch: &Batch, elapsed: Duration) {
        let status = batch.status();
        self.total.set_length(status.tasks);
        self.total.set_position(over(&status));
        let columns = screen::size().columns.saturating_sub(1);
        let counts = format!(" {}/{} ", over(&status), status.tasks).len();
        let message = StyledLine::plain(summary(&status, elapsed)).cut(columns.saturating_sub(counts));
        self.total.set_message(message.to_text(false));
        let running = batch.running();
        let shown = running.len().min(MAX_BARS);
        while self.tasks.len() < shown {
            let bar = self.all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {msg}") {
                bar.set_style(style);
            }
            self.tasks.push(bar);
        }
        for bar in self.tasks.drain(shown..) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        for (bar, task) in self.tasks.iter().zip(&running) {
            let seconds = task.elapsed.as_secs();
            let (step, cost) = match &task.activity {
                Some(activity) if activity.cost > 0.0 => (activity.step.as_str(), format!(" ${:.4}", activity.cost)),
                Some(activity) => (activity.step.as_str(), String::new()),
                None => ("", String::new()),
            };
            let end = StyledLine::plain(format!(" {step} {}:{:02}{cost}", seconds / 60, seconds % 60));
            bar.set_message(
                StyledLine::plain(task.id.as_str()).with_end(&end, columns.saturating_sub(2)).to_text(false),
            );
        }
    }
}

/// Returns the number of tasks that have ended.
fn over(status: &Status) -> u64 {
    status.tasks - status.running - status.delayed - status.not_run
}

/// Returns the figures in a line.
pub(super) fn summary(status: &Status, elapsed: Duration) -> String {
    let totals = &status.totals;
    let mut parts = vec![
        format!("{} tasks", status.tasks),
        format!("{} counted", totals.counted()),
        format!("{} passed", totals.passed),
    ];
    for (count, name) in [
        (totals.check_failed, "check failed"),
        (totals.failed, "failed"),
        (totals.infrastructure, "infrastructure"),
        (totals.configuration, "configuration"),
        (totals.interrupted, "interrupted"),
        (totals.cancelled, "cancelled"),
        (status.running, "running"),
        (status.not_run + status.delayed, "not run"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
    }
    if totals.cost > 0.0 {
        parts.push(format!("${:.2}", totals.cost));
    }
    let seconds = elapsed.as_secs();
    parts.push(format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    let ended = totals.attempts;
    let left = status.not_run + status.delayed + status.running;
    if status.running > 0 && ended > 0 && left > 0 {
        let each = elapsed.as_secs_f64() / f64::from(u32::try_from(ended).unwrap_or(u32::MAX));
        let rest = (each * f64::from(u32::try_from(left).unwrap_or(u32::MAX))).round();
        parts.push(format!("about {} left", humantime::format_duration(Duration::from_secs_f64(rest.max(1.0)))));
    }
    parts.join(", ")
}
