//! The page: its data and its template.

use super::comparison::{Change, Comparison};
use super::detail::{Detail, Files, json};
use super::format::{cost, count, duration, percent};
use super::plot::{Histogram, Sample, Timeline};
use super::rates::{Interval, Rates, float, wilson_interval};
use super::results::{AttemptRow, Results};
use super::tasks::{TaskRow, tasks_of};
use crate::output_file::replace;
use crate::policy::{Class, OutcomeRule};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use minijinja::{Environment, Value, context};
use opencode_runner::FailureKind;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const PROGRAM: &str = include_str!("page.js");
/// The maximum number of listed tasks; the figures include all tasks.
const MAX_LISTED: usize = 20_000;

/// The reason why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// A results file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The results file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file has no results.
    #[error("{} has no results: {skipped} lines are not results of tasks", path.display())]
    NoResults {
        /// The results file.
        path: PathBuf,
        /// The number of skipped lines.
        skipped: u64,
    },
    /// More than two files.
    #[error("a report has one results file, or two to compare")]
    TooMany,
    /// The page cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file of the page.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The template failed, which is a bug of this program.
    #[error("the template of the report failed")]
    Template(#[from] minijinja::Error),
}

/// Whether transcripts, patches and logs are embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Embed {
    /// Excerpts: at most 20 kB a task. Whole files are linked.
    #[default]
    Excerpts,
    /// Whole files, so that the page is self-contained.
    All,
}

/// The options of a page.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PageOptions {
    /// The files that are embedded.
    pub embed: Embed,
    /// The title; the name of the results file by default.
    pub title: Option<String>,
}

/// A summary of a page, which the command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageSummary {
    /// The number of tasks.
    pub tasks: u64,
    /// The number of lines of the results files that were skipped because they are not results.
    pub skipped: u64,
    /// The size of the page in bytes; 0 before it is written.
    pub bytes: u64,
}

/// A results file.
#[derive(Debug)]
struct Source {
    name: String,
    path: PathBuf,
    directory: PathBuf,
    tasks: Vec<TaskRow>,
    skipped: u64,
}

/// The report of one results file, or of two.
#[derive(Debug)]
pub struct Page {
    /// The results shown on the page; of a comparison, the second file.
    main: Source,
    before: Option<Source>,
    options: PageOptions,
}

impl Page {
    /// Reads one results file, or two to compare, the older one first.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or has no result, or there are more than two.
    pub fn read(results: &[impl AsRef<Path>], options: &PageOptions) -> Result<Self, PageError> {
        let mut sources = results.iter().map(|path| Source::read(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let main = sources.pop().filter(|_| sources.len() <= 1).ok_or(PageError::TooMany)?;
        Ok(Self { main, before: sources.pop(), options: options.clone() })
    }

    /// Writes the page. Links are relative to its directory. The file is replaced atomically.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<PageSummary, PageError> {
        let error = |source| PageError::Write { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(error)?;
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        let html = self.render(directory)?;
        let inputs: Vec<_> = std::iter::once(&self.main).chain(&self.before).map(|source| &source.path).collect();
        replace(&absolute, &inputs, |file| file.write_all(html.as_bytes())).map_err(error)?;
        let skipped = self.main.skipped + self.before.as_ref().map_or(0, |before| before.skipped);
        Ok(PageSummary { tasks: self.main.tasks.len() as u64, skipped, bytes: html.len() as u64 })
    }

    /// Returns the page, with links relative to an absolute directory.
    ///
    /// # Errors
    ///
    /// If the template fails, which is a bug of this program.
    pub fn render(&self, directory: &Path) -> Result<String, PageError> {
        let main = &self.main;
        let files = |source: &'_ Source| source.directory.clone();
        let results = files(main);
        let files = Files { results: &results, page: directory, embeds_all: self.options.embed == Embed::All };
        let (comparison, changes) = match &self.before {
            Some(before) => {
                let (comparison, changes) = Comparison::of(&before.tasks, &main.tasks);
                (Some(comparison), Some(changes))
            }
            None => (None, None),
        };
        let timeline = Timeline::of(&main.tasks);
        let models: BTreeSet<&str> = main.tasks.iter().filter_map(|task| task.last.model.as_deref()).collect();
        let models: Vec<_> = models.into_iter().collect();
        let begin = timeline.as_ref().map_or(0, |timeline| timeline.begin);
        let row = |(place, task): (usize, &TaskRow)| {
            let before = changes.as_ref().map(|changes| &changes[place]);
            json(&Row::of(task, &models, begin, before.map(|(change, before)| (*change, *before))))
        };
        let listed = main.tasks.len().min(MAX_LISTED);
        let rows: Vec<_> = main.tasks[..listed].iter().enumerate().map(row).collect();
        let details =
            main.tasks[..listed].iter().map(|task| Value::from_safe_string(Detail::of(task, &files).to_json()));
        let details: Vec<_> = details.collect();
        let others = |of: fn(&TaskRow) -> f64| self.before.as_ref().map(|before| samples(&before.tasks, of));
        let histogram = |of: fn(&TaskRow) -> f64, format: fn(f64) -> String| {
            Histogram::of(&samples(&main.tasks, of), others(of).as_deref(), format)
        };
        let by_model = models.iter().map(|model| {
            let tasks: Vec<_> = main.tasks.iter().filter(|task| task.last.model.as_deref() == Some(*model)).collect();
            Group::of((*model).to_owned(), &tasks)
        });
        let by_model: Vec<_> = if models.len() > 1 { by_model.collect() } else { Vec::new() };
        let all: Vec<_> = main.tasks.iter().collect();
        let before = self.before.as_ref().map(|before| Totals::of(before, Timeline::of(&before.tasks).as_ref()));
        let mut environment = Environment::new();
        environment.add_template("page.html", TEMPLATE)?;
        let template = environment.get_template("page.html")?;
        let rendered = template.render(context! {
            title => self.options.title.as_ref().unwrap_or(&main.name),
            name => main.name,
            before_name => self.before.as_ref().map(|before| before.name.as_str()),
            style => Value::from_safe_string(STYLE.to_owned()),
            program => Value::from_safe_string(PROGRAM.to_owned()),
            policy => policy(),
            totals => Value::from_serialize(Totals::of(main, timeline.as_ref())),
            before => Value::from_serialize(before),
            whole => Value::from_serialize(Group::of(String::new(), &all)),
            by_model => Value::from_serialize(by_model),
            rates => rates(&Rates::of(&main.tasks)),
            comparison => Value::from_serialize(comparison),
            failures => failures(&main.tasks),
            timeline => Value::from_serialize(timeline),
            durations => Value::from_serialize(histogram(|task| float(task.last.duration_ms), |ms| duration(whole(ms)))),
            costs => Value::from_serialize(histogram(TaskRow::cost, cost)),
            rows => Value::from_safe_string(format!("[{}]", rows.join(",\n"))),
            models => Value::from_safe_string(json(&models)),
            details => details,
            unlisted => main.tasks.len() - listed,
            version => env!("CARGO_PKG_VERSION"),
        })?;
        Ok(rendered)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a positive number of milliseconds")]
fn whole(ms: f64) -> u64 {
    ms as u64
}

fn samples(tasks: &[TaskRow], of: fn(&TaskRow) -> f64) -> Vec<Sample> {
    tasks.iter().map(|task| (of(task), task.last.is_solved())).collect()
}

/// Returns the content security policy: only the page's own style and program, and no external resources.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())));
    let style = hash(STYLE);
    let program = hash(PROGRAM);
    format!("default-src 'none'; style-src {style}; script-src {program}; base-uri 'none'; form-action 'none'")
}

impl Source {
    fn read(path: &Path) -> Result<Self, PageError> {
        let error = |source| PageError::Read { path: path.to_owned(), source };
        let results = Results::read(path).map_err(error)?;
        let skipped = results.skipped;
        if results.attempts.is_empty() {
            return Err(PageError::NoResults { path: path.to_owned(), skipped });
        }
        let absolute = std::path::absolute(path).map_err(error)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { name, path: absolute, directory, tasks: tasks_of(results), skipped })
    }
}

/// The outcome, duration and cost of a task in the file before.
type Earlier = (&'static str, u64, f64);

/// A row of the table for the page's program: an array, since field names would double its size.
#[derive(Serialize)]
struct Row<'t>(
    &'t str,
    &'static str,
    Option<&'t str>,
    Option<usize>,
    u64,
    Option<i64>,
    u64,
    f64,
    u64,
    u64,
    Option<bool>,
    Option<(u64, u64)>,
    Option<bool>,
    Option<(Change, Option<Earlier>)>,
);

impl<'t> Row<'t> {
    fn of(task: &'t TaskRow, models: &[&str], begin: i64, before: Option<(Change, Option<&AttemptRow>)>) -> Self {
        let last = &task.last;
        Self(
            &last.id,
            last.standing.as_str(),
            last.kind.as_deref(),
            last.model.as_deref().and_then(|model| models.binary_search(&model).ok()),
            task.earlier.len() as u64 + 1,
            last.started_ms.map(|at| at - begin),
            last.duration_ms,
            task.cost(),
            task.tokens(),
            last.steps,
            last.check.as_ref().map(|check| check.passed),
            last.patch.as_ref().map(|patch| (patch.files, patch.bytes)),
            last.is_solved(),
            before.map(|(change, before)| {
                (change, before.map(|before| (before.standing.as_str(), before.duration_ms, before.cost)))
            }),
        )
    }
}

/// The figures at the top.
#[derive(Serialize)]
struct Totals {
    name: String,
    tasks: String,
    attempts: String,
    retried: String,
    standings: Vec<(&'static str, u64)>,
    cost: String,
    tokens: String,
    wall: Option<String>,
    begin: Option<String>,
    busy: String,
    per_hour: Option<String>,
    skipped: u64,
}

impl Totals {
    fn of(source: &Source, timeline: Option<&Timeline>) -> Self {
        let tasks = &source.tasks;
        let attempts: u64 = tasks.iter().map(|task| task.attempts().count() as u64).sum();
        let mut standings: Vec<(&'static str, u64)> = Vec::new();
        for task in tasks {
            let name = task.last.standing.as_str();
            match standings.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => standings.push((name, 1)),
            }
        }
        standings.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let busy = tasks.iter().flat_map(TaskRow::attempts).map(|attempt| attempt.duration_ms).sum();
        let begin = timeline.and_then(|timeline| Timestamp::from_millisecond(timeline.begin).ok());
        let per_hour = timeline.map(|timeline| float(tasks.len() as u64) * 3.6e6 / float(timeline.length_ms));
        Self {
            name: source.name.clone(),
            tasks: count(tasks.len() as u64),
            attempts: count(attempts),
            retried: count(tasks.iter().filter(|task| !task.earlier.is_empty()).count() as u64),
            standings,
            cost: cost(tasks.iter().map(TaskRow::cost).sum()),
            tokens: count(tasks.iter().map(TaskRow::tokens).sum()),
            wall: timeline.map(|timeline| duration(timeline.length_ms)),
            begin: begin.map(|begin| begin.strftime("%Y-%m-%d %H:%M UTC").to_string()),
            busy: duration(busy),
            per_hour: per_hour
                .map(|per_hour| if per_hour < 100.0 { format!("{per_hour:.1}") } else { count(whole(per_hour)) }),
            skipped: source.skipped,
        }
    }
}

/// The figures of all tasks, or of the tasks of one model.
#[derive(Serialize)]
struct Group {
    name: String,
    tasks: u64,
    counted: u64,
    solved: u64,
    rate: Option<Shown>,
    cost: String,
    cost_per_solved: Option<String>,
    median: String,
}

/// An interval as text, and in percent for the plot.
#[derive(Serialize)]
struct Shown {
    rate: String,
    range: String,
    low: f64,
    at: f64,
    high: f64,
}

impl Shown {
    fn of(Interval { rate, low, high }: Interval) -> Self {
        let tenths = |share: f64| (share * 1000.0).round() / 10.0;
        let low = tenths(low);
        let at = tenths(rate);
        let high = tenths(high);
        Self { rate: percent(rate), range: format!("{low:.1} to {high:.1} %"), low, at, high }
    }
}

impl Group {
    fn of(name: String, tasks: &[&TaskRow]) -> Self {
        let rates = Rates::of(tasks.iter().copied());
        let spent: f64 = tasks.iter().map(|task| task.cost()).sum();
        let mut durations: Vec<_> = tasks.iter().map(|task| task.last.duration_ms).collect();
        durations.sort_unstable();
        Self {
            name,
            tasks: tasks.len() as u64,
            counted: rates.counted,
            solved: rates.solved,
            rate: wilson_interval(rates.solved, rates.counted).map(Shown::of),
            cost: cost(spent),
            cost_per_solved: (rates.solved > 0 && spent > 0.0).then(|| cost(spent / float(rates.solved))),
            median: durations.get(durations.len() / 2).map_or_else(String::new, |median| duration(*median)),
        }
    }
}

/// Returns the rates of repeated tasks; undefined without repetitions.
fn rates(rates: &Rates) -> Value {
    if rates.repetitions < 2 {
        return Value::UNDEFINED;
    }
    let pass_hat = rates.pass_hat.iter().map(|(k, rate, groups)| context! { k, rate => percent(*rate), groups });
    context! {
        groups => rates.groups,
        repetitions => rates.repetitions,
        pass_at_1 => rates.pass_at_1.map(percent),
        pass_hat => pass_hat.collect::<Vec<_>>(),
        flip_rate => rates.flip_rate.map(percent),
    }
}

/// Returns the kinds of failure with their counts, the most frequent first.
fn failures(tasks: &[TaskRow]) -> Vec<Value> {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for task in tasks {
        let is_check = task.last.kind.is_none() && task.last.is_solved() == Some(false);
        if let Some(kind) = task.last.kind.as_deref().or(is_check.then_some("check")) {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let most = kinds.values().copied().max().unwrap_or(1);
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let width = |count: u64| (float(count) / float(most) * 1000.0).round() / 10.0;
    kinds
        .into_iter()
        .map(|(kind, count)| context! { kind, count, width => width(count), cause => cause(kind) })
        .collect()
}

/// Returns the cause of a kind of failure.
fn cause(kind: &str) -> &'static str {
    let known: Option<FailureKind> = serde_json::from_value(serde_json::Value::from(kind)).ok();
    match (kind, known.map(|kind| OutcomeRule::of_failure(kind).class)) {
        ("check", _) | (_, Some(Class::Agent | Class::Completed)) => "agent",
        (_, Some(Class::Configuration)) => "configuration",
        (_, Some(Class::Interrupted)) => "interrupted",
        (_, Some(Class::Infrastructure) | None) => "infrastructure",
    }
}
