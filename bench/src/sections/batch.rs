//! Batches of many tasks, compared with the executor alone.

mod command;
mod million;
mod repositories;

use crate::figures::{mib, per_second};
use crate::processes::Watch;
use crate::raw::Generation;
use crate::report::Report;
use crate::stage::{Stage, launch, runner, turn};
use command::{Batch, tasks_file};
use futures_util::StreamExt;
use opencode_run_bench::programs::Programs;
use opencode_run_core::{Executor, Prompt, Task};
use opencode_run_process::{ServeExecutor, TaskDir};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use opencode_run_tests::{FakeScript, Sandbox};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The part of the throughput of the executor alone that a batch has to reach.
const TARGET: f64 = 0.9;
/// The maximum memory of our own process in bytes.
const MAX_BYTES: u64 = 100 << 20;
/// How often each variant is measured, alternately.
const ROUNDS: usize = 2;
/// The number of tasks at once on the real opencode.
const REAL_AT_ONCE: usize = 8;

/// Measures batches: on the fake, on the real opencode, with repositories, and from a file of a million tasks.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    million::measure(programs, quick, report).await?;
    on_the_fake(programs, quick, report).await?;
    let Some(opencode) = &programs.opencode else {
        report.skip("batch");
        return Ok(());
    };
    in_new_directories(programs, &Stage::new(opencode)?, quick, report).await?;
    repositories::measure(programs, opencode, Generation::First, quick, report).await?;
    if let Some(second) = &programs.opencode2 {
        repositories::measure(programs, second, Generation::Second, quick, report).await?;
    }
    Ok(())
}

/// Measures many short tasks at once on the fake, whose turns take half a second.
async fn on_the_fake(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let tasks = if quick { 200 } else { 1000 };
    let at_once = 64;
    let sandbox = Sandbox::new();
    let acts = [Act::Pause { ms: 500 }.into(), TurnAct::replay("1.18.33/plain-text")];
    let fake = FakeScript::new(&sandbox, &programs.fake).on("serve", [Serving::doing(acts).act()]).write();
    let file = tasks_file(&sandbox, tasks, |number| format!("{{\"id\":\"t{number}\",\"prompt\":\"Say hello.\"}}"))?;
    let mut alone = Duration::ZERO;
    let mut batch = Duration::ZERO;
    let mut peak = 0;
    for round in 0..ROUNDS {
        let executor = ServeExecutor::new(launch(fake.executable(), &sandbox).await?)?;
        alone += each(tasks, at_once, || task(&executor, sandbox.workspace(), "Say hello.".into())).await?;
        executor.shutdown().await;
        let ran = Batch::new(programs, &sandbox, fake.executable(), &file).jobs(at_once).run(round).await?;
        batch += ran.took;
        peak = peak.max(ran.peak);
    }
    let what = format!("{tasks} tasks on the fake, {at_once} at a time");
    compare(report, &what, tasks, alone, batch, TARGET);
    report.row(&format!("our own memory, {what}"), "<= 100 MiB", &format!("{:.1} MiB", mib(peak)), peak <= MAX_BYTES);
    Ok(())
}

async fn in_new_directories(
    programs: &Programs,
    stage: &Stage,
    quick: bool,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let tasks = if quick { 16 } else { 100 };
    let file =
        tasks_file(&stage.sandbox, tasks, |number| format!("{{\"id\":\"t{number}\",\"prompt\":\"Say hello.\"}}"))?;
    let mut alone = Duration::ZERO;
    let mut batch = Duration::ZERO;
    let mut memory = 0;
    for round in 0..ROUNDS {
        let executor = ServeExecutor::new(stage.lean_launch().await?)?;
        alone += each(tasks, REAL_AT_ONCE, || task(&executor, stage.sandbox.workspace(), stage.prompt())).await?;
        executor.shutdown().await;
        let watch = Watch::begin(&stage.sandbox);
        let command = Batch::new(programs, &stage.sandbox, &stage.opencode, &file).source(stage)?.jobs(REAL_AT_ONCE);
        batch += command.run(round).await?.took;
        memory = memory.max(watch.end());
    }
    let what = format!("{} tasks in new directories, {REAL_AT_ONCE} at a time", tasks * ROUNDS);
    compare(report, &what, tasks, alone, batch, TARGET);
    let measured = format!("{:.0} MiB", mib(memory));
    report.row(&format!("memory of all processes, {what}"), "<= 1024 MiB", &measured, memory <= 1 << 30);
    Ok(())
}

/// Reports the throughput of the executor alone and of a batch.
fn compare(report: &mut Report, what: &str, tasks: usize, alone: Duration, batch: Duration, target: f64) {
    let tasks = (tasks * ROUNDS) as u64;
    report.detail("alone", &format!("{:.2} tasks/s", per_second(tasks, alone)));
    report.detail("batch", &format!("{:.2} tasks/s", per_second(tasks, batch)));
    let part = alone.as_secs_f64() / batch.as_secs_f64();
    report.row(
        &format!("{what}, against the same alone"),
        &format!(">= {target}"),
        &format!("{part:.2}"),
        part >= target,
    );
}

/// Runs so many tasks, some at once. Returns the time that they took.
async fn each<F>(tasks: usize, at_once: usize, task: impl Fn() -> F) -> Result<Duration, Box<dyn Error>>
where
    F: Future<Output = Result<(), Box<dyn Error>>>,
{
    let began = Instant::now();
    let mut running = futures_util::stream::iter(0..tasks).map(|_| task()).buffer_unordered(at_once);
    while let Some(ended) = running.next().await {
        ended?;
    }
    Ok(began.elapsed())
}

/// Runs a turn in a new directory.
async fn task(executor: &ServeExecutor, workspace: PathBuf, prompt: Prompt) -> Result<(), Box<dyn Error>> {
    let directory = TaskDir::create(&workspace, "benchmark").await?;
    let runner = runner(executor, directory.path());
    turn(&runner, prompt).await?;
    let task = Task::new("benchmark", directory.path());
    executor.release(&task, runner.session_id().as_ref(), false).await?;
    Ok(())
}
