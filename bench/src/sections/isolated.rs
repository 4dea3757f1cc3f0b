//! Many tasks, each in its own new directory.

use crate::figures::{mib, per_second, rate};
use crate::processes::Watch;
use crate::report::Report;
use crate::stage::{Stage, runner, turn};
use futures_util::StreamExt;
use opencode_run_bench::programs::Programs;
use opencode_run_core::{Executor, Task};
use opencode_run_process::{ServeExecutor, TaskDir};
use std::error::Error;
use std::time::{Duration, Instant};

/// The number of concurrent tasks in the memory measurement.
const MEMORY_AT: usize = 8;

/// The number of retries of a bare `opencode run` after a locked database.
const BARE_RETRIES: usize = 3;

/// Measures the throughput of tasks, and the memory of all opencode processes.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let Some(opencode) = &programs.opencode else {
        report.skip("isolated");
        return Ok(());
    };
    let stage = Stage::new(opencode)?;
    stage.bare(&stage.directory("first")?, &[]).await?;

    let mut bare = 0.0_f64;
    for at_once in if quick { 2..=2 } else { 1..=3 } {
        let tasks = if quick { 4 } else { 4 * at_once };
        let rate = bare_tasks(&stage, at_once, tasks).await?;
        report.detail(&format!("bare `opencode run`, {at_once} at a time"), &format!("{rate:.2} tasks/s"));
        bare = bare.max(rate);
    }

    let mut best_at = MEMORY_AT;
    let mut best = 0.0;
    for at_once in if quick { vec![] } else { vec![4, 8, 16] } {
        let run = Run::new(&stage, at_once, 40).await?;
        let rate = rate(&run.done, 10, 40);
        report.detail(&format!("ours, {at_once} at a time"), &format!("{rate:.2} tasks/s"));
        if rate > best {
            (best_at, best) = (at_once, rate);
        }
    }

    let tasks = if quick { 40 } else { 400 };
    let long = Run::new(&stage, best_at, tasks).await?;
    let overall = per_second(tasks as u64, long.took);
    let early = rate(&long.done, tasks / 8, tasks * 3 / 8);
    let late = rate(&long.done, tasks * 3 / 4, tasks);
    report.detail(&format!("ours, {tasks} tasks, {best_at} at a time"), &format!("{overall:.2} tasks/s"));
    let faster = overall / bare;
    report.row(
        "isolated tasks, against bare `opencode run`",
        ">= 12 times a second",
        &format!("{faster:.1}"),
        faster >= 12.0,
    );
    let what = format!("isolated tasks, around task {} against around task {}", tasks * 7 / 8, tasks / 4);
    // Two measurements of the same thing differ by up to a tenth.
    report.row(&what, "no slower", &format!("{:.2}", late / early), late >= early * 0.9);
    let memory = if best_at == MEMORY_AT { long.memory } else { Run::new(&stage, MEMORY_AT, tasks).await?.memory };
    let what = format!("memory of all opencode processes, {tasks} tasks, {MEMORY_AT} at a time");
    report.row(&what, "<= 1024 MiB", &format!("{:.0} MiB", mib(memory)), memory <= 1 << 30);
    Ok(())
}

async fn bare_tasks(stage: &Stage, at_once: usize, tasks: usize) -> Result<f64, Box<dyn Error>> {
    let began = Instant::now();
    let turns = futures_util::stream::iter(0..tasks).map(|task| async move {
        let directory = stage.directory(&format!("bare-{at_once}-{task}"))?;
        // With a shared database, some of them fail; a user would retry these.
        let mut done = stage.bare(&directory, &[]).await;
        for _ in 0..BARE_RETRIES {
            match done {
                Err(error) if error.to_string().contains("database is locked") => {
                    done = stage.bare(&directory, &[]).await;
                }
                _ => break,
            }
        }
        done
    });
    let done: Vec<_> = turns.buffer_unordered(at_once).collect().await;
    for turn in done {
        turn?;
    }
    Ok(per_second(tasks as u64, began.elapsed()))
}

/// Many tasks on one executor, including its start.
pub(crate) struct Run {
    pub(crate) took: Duration,
    pub(crate) done: Vec<Instant>,
    /// The peak of the total memory of all opencode processes in bytes.
    pub(crate) memory: u64,
}

impl Run {
    pub(crate) async fn new(stage: &Stage, at_once: usize, tasks: usize) -> Result<Self, Box<dyn Error>> {
        let watch = Watch::begin(&stage.sandbox);
        let executor = ServeExecutor::new(stage.lean_launch().await?)?;
        let began = Instant::now();
        let mut done = Vec::new();
        let mut turns = futures_util::stream::iter(0..tasks).map(|_| task(stage, &executor)).buffer_unordered(at_once);
        while let Some(finished) = turns.next().await {
            finished?;
            done.push(Instant::now());
        }
        let took = began.elapsed();
        let memory = watch.end();
        drop(turns);
        executor.shutdown().await;
        Ok(Self { took, done, memory })
    }
}

async fn task(stage: &Stage, executor: &ServeExecutor) -> Result<(), Box<dyn Error>> {
    let directory = TaskDir::create(&stage.sandbox.workspace(), "benchmark").await?;
    let runner = runner(executor, directory.path());
    turn(&runner, stage.prompt()).await?;
    let task = Task::new("benchmark", directory.path());
    executor.release(&task, runner.session_id().as_ref(), false).await?;
    Ok(())
}
