//! opencode 2: the same measures as for opencode 1, and both beside each other.

use super::cold::{Call, Place, ours};
use super::isolated::Run;
use crate::figures::{median, mib, ms, per_second, rate, ratio};
use crate::raw::{PASSWORD, v2::Raw};
use crate::report::Report;
use crate::stage::{LIMIT, MODEL, Stage, runner, turn};
use futures_util::StreamExt;
use opencode_run_bench::programs::Programs;
use opencode_run_core::{ModelChoice, Prompt};
use opencode_run_process::{ServeExecutor, TaskDir};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// The number of concurrent tasks in the memory measurement.
const MEMORY_AT: usize = 8;
/// The call that is measured from its start.
const COLD: Call = Call { transport: "serve", place: Place::Called, most: 0.85 };

/// Measures opencode 2.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let Some(opencode) = &programs.opencode2 else {
        report.skip("second");
        return Ok(());
    };
    let stage = Stage::new(opencode)?;
    // The first start in a home directory creates opencode's database.
    bare(&stage, &stage.directory("first")?).await?;
    cold(programs, &stage, quick, report).await?;
    later_turns(&stage, quick, report).await?;
    isolated(&stage, quick, report).await
}

/// Runs bare opencode 2 with a message, and with its own process only.
async fn bare(stage: &Stage, directory: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut command = stage.command(&stage.opencode, directory);
    command.args(["run", "--standalone", "--model", MODEL, "Say hello."]);
    let began = Instant::now();
    let done = tokio::time::timeout(LIMIT, command.output()).await??;
    let took = began.elapsed();
    if done.status.success() { Ok(took) } else { Err(format!("{done:?}").into()) }
}

async fn cold(programs: &Programs, stage: &Stage, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let directory = stage.directory("cold")?;
    stage.write_source(&directory)?;
    // With an empty catalog, as ours has with a model source.
    let mut equal = Stage::new(&stage.opencode)?;
    let catalog = equal.sandbox.path("models.json");
    std::fs::write(&catalog, "{}")?;
    equal.sandbox.set("OPENCODE_MODELS_PATH", catalog);
    let equal_directory = equal.directory("cold")?;
    bare(&equal, &equal_directory).await?;
    let first = programs.opencode.as_deref().map(Stage::new).transpose()?;
    if let Some(first) = &first {
        first.write_source(&first.directory("cold")?)?;
        ours(programs, first, &first.directory("cold")?, &COLD).await?;
    }
    ours(programs, stage, &directory, &COLD).await?;
    let mut bundled = Vec::new();
    let mut empty = Vec::new();
    let mut own = Vec::new();
    let mut own_first = Vec::new();
    for _ in 0..if quick { 3 } else { 10 } {
        bundled.push(bare(stage, &directory).await?);
        own.push(ours(programs, stage, &directory, &COLD).await?.0);
        empty.push(bare(&equal, &equal_directory).await?);
        if let Some(first) = &first {
            own_first.push(ours(programs, first, &first.directory("cold")?, &COLD).await?.0);
        }
    }
    let bundled = median(&bundled);
    let empty = median(&empty);
    let own = median(&own);
    report.detail("bare `opencode run --standalone MESSAGE` of opencode 2", &format!("{:.0} ms", ms(bundled)));
    report.detail("the same with an empty catalog", &format!("{:.0} ms", ms(empty)));
    report.detail("cold `opencode-run MESSAGE` on opencode 2", &format!("{:.0} ms", ms(own)));
    report.detail("against bare with an empty catalog", &format!("{:.2}", ratio(own, empty)));
    let part = ratio(own, bundled);
    report.row(
        "cold `opencode-run MESSAGE` on opencode 2, against bare",
        "<= 0.85 of its time",
        &format!("{part:.2}"),
        part <= COLD.most,
    );
    if first.is_some() {
        let own_first = median(&own_first);
        report.detail("cold `opencode-run MESSAGE` on opencode 1", &format!("{:.0} ms", ms(own_first)));
        let part = ratio(own, own_first);
        report.row("cold on opencode 2, against cold on opencode 1", "<= 0.50", &format!("{part:.2}"), part <= 0.5);
    }
    Ok(())
}

async fn later_turns(stage: &Stage, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let raw = Raw::start(stage).await?;
    let attached = ServeExecutor::attach(&raw.url, None, Some(PASSWORD.to_owned())).await?;
    let through = runner(&attached, &stage.directory("through")?);
    let model: opencode_run_core::ModelName = MODEL.parse()?;
    let prompt = || Prompt::new("Say hello.").model(ModelChoice::Named(model.clone())).title("benchmark");
    turn(&through, prompt()).await?;
    let session = raw.session(&stage.directory("raw")?).await?;
    raw.turn(&session).await?;
    let mut through_turns = Vec::new();
    let mut raw_turns = Vec::new();
    for _ in 0..if quick { 10 } else { 60 } {
        through_turns.push(turn(&through, prompt()).await?);
        raw_turns.push(raw.turn(&session).await?);
    }
    let through_turns = median(&through_turns);
    let raw_turns = median(&raw_turns);
    report.detail("a turn through us, on an attached server of opencode 2", &format!("{:.1} ms", ms(through_turns)));
    report.detail("the raw requests to that server", &format!("{:.1} ms", ms(raw_turns)));
    let more = ms(through_turns) - ms(raw_turns);
    report.row(
        "later turns on opencode 2, against the raw requests",
        "<= 5 ms more",
        &format!("{more:.1} ms"),
        more <= 5.0,
    );
    drop(through);
    raw.end().await
}

async fn isolated(stage: &Stage, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let mut bare_rate = 0.0_f64;
    for at_once in if quick { 2..=2 } else { 1..=3 } {
        let tasks = if quick { 4 } else { 4 * at_once };
        let began = Instant::now();
        let turns = futures_util::stream::iter(0..tasks).map(|_| async move {
            let directory = TaskDir::create(&stage.sandbox.workspace(), "benchmark").await?;
            bare(stage, directory.path()).await
        });
        let done: Vec<_> = turns.buffer_unordered(at_once).collect().await;
        done.into_iter().collect::<Result<Vec<_>, _>>()?;
        let rate = per_second(tasks as u64, began.elapsed());
        report.detail(&format!("bare `opencode run --standalone`, {at_once} at a time"), &format!("{rate:.2} tasks/s"));
        bare_rate = bare_rate.max(rate);
    }
    let tasks = if quick { 40 } else { 80 };
    let mut raw_rate = 0.0_f64;
    let mut own_rate = 0.0_f64;
    for at_once in if quick { vec![8] } else { vec![4, 8] } {
        let raw = Raw::start(stage).await?;
        let done = raw_tasks(stage, &raw, at_once, tasks).await?;
        raw.end().await?;
        let rate_of_raw = rate(&done, 10, tasks);
        report.detail(
            &format!("one server of opencode 2 driven raw, {at_once} at a time"),
            &format!("{rate_of_raw:.2} tasks/s"),
        );
        let run = Run::new(stage, at_once, tasks).await?;
        let rate_of_ours = rate(&run.done, 10, tasks);
        report.detail(&format!("ours on opencode 2, {at_once} at a time"), &format!("{rate_of_ours:.2} tasks/s"));
        (raw_rate, own_rate) = (raw_rate.max(rate_of_raw), own_rate.max(rate_of_ours));
    }
    let part = own_rate / raw_rate;
    report.row(
        "isolated tasks on opencode 2, against one server driven raw",
        ">= 0.85 of its rate",
        &format!("{part:.2}"),
        part >= 0.85,
    );
    report.detail(
        "against bare `opencode run --standalone`, ratio of the rates",
        &format!("{:.1}", own_rate / bare_rate),
    );
    let tasks = if quick { 40 } else { 400 };
    let long = Run::new(stage, MEMORY_AT, tasks).await?;
    report.detail(
        &format!("ours, {tasks} tasks on opencode 2"),
        &format!("{:.2} tasks/s", per_second(tasks as u64, long.took)),
    );
    let what = format!("memory of all opencode 2 processes, {tasks} tasks, {MEMORY_AT} at a time");
    report.row(&what, "<= 1024 MiB", &format!("{:.0} MiB", mib(long.memory)), long.memory <= 1 << 30);
    Ok(())
}

/// Runs tasks in new directories on a server that is used directly, and evicts each directory.
async fn raw_tasks(stage: &Stage, raw: &Raw, at_once: usize, tasks: usize) -> Result<Vec<Instant>, Box<dyn Error>> {
    let mut done = Vec::new();
    let mut turns = futures_util::stream::iter(0..tasks)
        .map(|_| async move {
            let directory = TaskDir::create(&stage.sandbox.workspace(), "benchmark").await?;
            let session = raw.session(directory.path()).await?;
            raw.turn(&session).await?;
            raw.evict(directory.path()).await
        })
        .buffer_unordered(at_once);
    while let Some(finished) = turns.next().await {
        finished?;
        done.push(Instant::now());
    }
    Ok(done)
}
