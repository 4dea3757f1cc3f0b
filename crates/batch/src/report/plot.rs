//! The layout of the plots. The template renders it as SVG.

use super::format::duration;
use super::rates::float;
use super::tasks::TaskRow;
use serde::Serialize;

/// The width of a plot in its own units.
const WIDTH: f64 = 1000.0;
/// The height of a histogram.
const HEIGHT: f64 = 120.0;
const BINS: usize = 30;
/// The number of labels on an axis.
const TICKS: u64 = 5;
/// The ratio of the largest value to the smallest from which a scale is logarithmic.
const LOG_RATIO: f64 = 50.0;
/// The maximum number of bars in a timeline; a screen shows no more.
const MAX_BARS: usize = 6000;
/// The height of a timeline with many lanes.
const TIMELINE_HEIGHT: f64 = 240.0;

/// A histogram with its bars, axis labels and percentiles.
#[derive(Debug, Serialize)]
pub(crate) struct Histogram {
    pub(crate) width: f64,
    pub(crate) height: f64,
    bars: Vec<Bar>,
    /// The counts of the other results, as the points of a line.
    outline: Option<String>,
    ticks: Vec<String>,
    most: u64,
    median: String,
    p90: String,
    max: String,
    is_log: bool,
    /// The number of values that are 0 and therefore not drawn.
    zeros: u64,
}

#[derive(Debug, Serialize)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    class: &'static str,
}

/// A value and whether its task was solved.
pub(crate) type Sample = (f64, Option<bool>);

impl Histogram {
    /// Creates a histogram of the values above 0; `None` if there are fewer than two.
    pub(crate) fn of(samples: &[Sample], others: Option<&[Sample]>, format: impl Fn(f64) -> String) -> Option<Self> {
        let zeros = samples.iter().filter(|(value, _)| *value <= 0.0).count() as u64;
        let positive =
            |samples: &[Sample]| samples.iter().copied().filter(|(value, _)| *value > 0.0).collect::<Vec<_>>();
        let samples = positive(samples);
        let others = others.map(positive);
        let all = samples.iter().chain(others.iter().flatten()).map(|(value, _)| *value);
        let max = all.clone().fold(0.0, f64::max);
        let min = all.fold(f64::INFINITY, f64::min);
        if samples.len() < 2 {
            return None;
        }
        let scale = Scale::new(min, max);
        let mut counts = [[0_u64; 3]; BINS];
        for (value, solved) in &samples {
            counts[scale.bin(*value)][class_of(*solved)] += 1;
        }
        let outline = others.as_ref().map(|others| {
            let mut counts = [0_u64; BINS];
            for (value, _) in others {
                counts[scale.bin(*value)] += 1;
            }
            counts
        });
        let most = counts.iter().map(|bin| bin.iter().sum::<u64>()).chain(outline.into_iter().flatten()).max();
        let most = most.unwrap_or(1).max(1);
        let bin_width = WIDTH / float(BINS as u64);
        let mut bars = Vec::new();
        for (bin, counts) in counts.iter().enumerate() {
            let mut bottom = HEIGHT;
            for (class, count) in [("ok", counts[0]), ("bad", counts[1]), ("off", counts[2])] {
                if count > 0 {
                    let height = round(HEIGHT * float(count) / float(most));
                    bottom -= height;
                    let x = round(float(bin as u64) * bin_width + 1.0);
                    bars.push(Bar { x, y: round(bottom), width: round(bin_width - 2.0), height, class });
                }
            }
        }
        let outline = outline.map(|counts| {
            let points = counts.iter().enumerate().flat_map(|(bin, count)| {
                let y = round(HEIGHT - HEIGHT * float(*count) / float(most));
                [bin, bin + 1].map(|edge| format!("{},{y}", round(float(edge as u64) * bin_width)))
            });
            points.collect::<Vec<_>>().join(" ")
        });
        let mut values: Vec<_> = samples.iter().map(|(value, _)| *value).collect();
        values.sort_by(f64::total_cmp);
        let quantile = |share: f64| format(values[index_of(share, values.len())]);
        let ticks = (0..TICKS).map(|tick| format(scale.value(float(tick) / float(TICKS - 1)))).collect();
        let median = quantile(0.5);
        let p90 = quantile(0.9);
        let max = quantile(1.0);
        Some(Self {
            width: WIDTH,
            height: HEIGHT,
            bars,
            outline,
            ticks,
            most,
            median,
            p90,
            max,
            is_log: scale.is_log,
            zeros,
        })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is between 0 and 1")]
fn index_of(share: f64, length: usize) -> usize {
    ((share * float(length as u64)).ceil() as usize).clamp(1, length) - 1
}

fn class_of(solved: Option<bool>) -> usize {
    match solved {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    }
}

struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    fn new(min: f64, max: f64) -> Self {
        let is_log = max / min >= LOG_RATIO;
        Self { low: if is_log { min } else { 0.0 }, high: max, is_log }
    }

    /// Returns the value at a position between 0 and 1.
    fn value(&self, place: f64) -> f64 {
        if self.is_log {
            self.low * (self.high / self.low).powf(place)
        } else {
            self.low + (self.high - self.low) * place
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the place is clamped")]
    fn bin(&self, value: f64) -> usize {
        let place = match self.is_log {
            true if value <= self.low => 0.0,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        ((place.clamp(0.0, 1.0) * float(BINS as u64)) as usize).min(BINS - 1)
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A timeline of the attempts.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    width: f64,
    pub(crate) height: f64,
    spans: Vec<Span>,
    ticks: Vec<String>,
    lanes: u64,
    /// In milliseconds since 1970.
    pub(crate) begin: i64,
    pub(crate) length_ms: u64,
    /// The number of attempts that are not drawn.
    omitted: u64,
}

#[derive(Debug, Serialize)]
struct Span {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    class: &'static str,
    task: usize,
}

impl Timeline {
    /// Draws the attempts of tasks, each in the first free row; `None` if no start is known.
    pub(crate) fn of(tasks: &[TaskRow]) -> Option<Self> {
        let mut runs: Vec<_> = tasks
            .iter()
            .enumerate()
            .flat_map(|(place, task)| task.attempts().map(move |attempt| (place, attempt)))
            .filter_map(|(place, attempt)| Some((attempt.started_ms?, attempt.duration_ms, place, attempt)))
            .collect();
        runs.sort_by_key(|(start, ..)| *start);
        let begin = runs.first()?.0;
        let since = |at: i64| at.abs_diff(begin);
        let length_ms = runs.iter().map(|(start, ms, ..)| since(*start).saturating_add(*ms)).max()?.max(1);
        let mut lanes: Vec<u64> = Vec::new();
        let mut placed = Vec::new();
        let omitted = runs.len().saturating_sub(MAX_BARS) as u64;
        for (start, ms, place, attempt) in runs.into_iter().take(MAX_BARS) {
            let from = since(start);
            let to = since(start).saturating_add(ms);
            let lane = lanes.iter().position(|end| *end <= from).unwrap_or_else(|| {
                lanes.push(0);
                lanes.len() - 1
            });
            lanes[lane] = to;
            placed.push((lane, from, ms, place, attempt));
        }
        let lane_height = (TIMELINE_HEIGHT / float(lanes.len() as u64)).clamp(3.0, 14.0);
        let scale = WIDTH / float(length_ms);
        let spans = placed.into_iter().map(|(lane, from, ms, task, attempt)| Span {
            x: round(float(from) * scale),
            y: round(float(lane as u64) * lane_height),
            width: round((float(ms) * scale).max(0.7)),
            height: round(lane_height - if lane_height > 5.0 { 1.0 } else { 0.3 }),
            class: ["ok", "bad", "off"][class_of(attempt.is_solved())],
            task,
        });
        let ticks = (0..TICKS).map(|tick| match tick {
            0 => "0".to_owned(),
            _ => duration(length_ms / (TICKS - 1) * tick),
        });
        Some(Self {
            width: WIDTH,
            height: round(lane_height * float(lanes.len() as u64)),
            spans: spans.collect(),
            ticks: ticks.collect(),
            lanes: lanes.len() as u64,
            begin,
            length_ms,
            omitted,
        })
    }
}
