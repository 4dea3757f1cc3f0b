//! Tasks with a clone, a patch and a check.

use super::command::{Batch, tasks_file};
use super::{REAL_AT_ONCE, ROUNDS, Report, compare, each};
use crate::raw::{Generation, Raw};
use crate::stage::Stage;
use opencode_run_bench::programs::Programs;
use opencode_run_scripted_model::{Answer, Part, Script, Usage, When};
use serde_json::json;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The number of files of the repository.
const FILES: usize = 400;
/// The part of the throughput of a raw loop that a batch has to reach.
const TARGET: f64 = 0.8;
const CHECK: &str = "grep -q changed changed.txt";

/// Measures a batch against a loop that does the same git steps on one bare server, and against a shell loop.
pub(super) async fn measure(
    programs: &Programs,
    opencode: &Path,
    generation: Generation,
    quick: bool,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let command = json!({"command": "echo changed > changed.txt", "description": "Change a file"});
    let change = Answer::new([Part::tool_call(generation.shell(), command)]).usage(Usage::new(100, 10));
    let script = Script::new().rule(When::any().after_tools(0).reply(change));
    let stage =
        Stage::answering(opencode, script.rule(When::any().reply(Answer::text("Done.").usage(Usage::new(100, 10)))))?;
    let repository = repository(&stage).await?;
    let tasks = if quick { 16 } else { 100 };
    let task = |number| json!({"id": format!("t{number}"), "prompt": "Change it.", "repo": repository, "check": CHECK});
    let file = tasks_file(&stage.sandbox, tasks, |number| task(number).to_string())?;
    let mut alone = Duration::ZERO;
    let mut batch = Duration::ZERO;
    let number = AtomicUsize::new(0);
    for round in 0..ROUNDS {
        let server = generation.start(&stage).await?;
        let next = || raw(&stage, &server, &repository, number.fetch_add(1, Ordering::Relaxed));
        alone += each(tasks, REAL_AT_ONCE, next).await?;
        server.end().await?;
        let command = Batch::new(programs, &stage.sandbox, &stage.opencode, &file).source(&stage)?.jobs(REAL_AT_ONCE);
        batch += command.run(round).await?.took;
    }
    let batch_tasks = tasks * ROUNDS;
    let what = format!("{batch_tasks} tasks with repository, patch and check ({})", generation.shell());
    compare(report, &what, tasks, alone, batch, TARGET);
    if matches!(generation, Generation::First) {
        let tasks = if quick { 1 } else { 4 };
        let began = Instant::now();
        for number in 0..tasks {
            by_shell(&stage, &repository, number).await?;
        }
        let each = began.elapsed().as_secs_f64() / f64::from(tasks);
        let ours = batch.as_secs_f64() / f64::from(u32::try_from(batch_tasks)?);
        report.detail("against a shell loop: clone, `opencode run`, diff", &format!("{:.1} times", each / ours));
    }
    Ok(())
}

/// Makes a repository.
async fn repository(stage: &Stage) -> Result<PathBuf, Box<dyn Error>> {
    let repository = stage.sandbox.path("repository");
    std::fs::create_dir_all(repository.join("src"))?;
    for number in 0..FILES {
        std::fs::write(repository.join(format!("src/file-{number}.txt")), format!("{number}\n").repeat(50))?;
    }
    let commit = "git init -q -b main && git add -A && git -c user.name=b -c user.email=b@example.com commit -qm one";
    sh(stage, &repository, commit).await?;
    Ok(repository)
}

/// Runs a command line in a directory; it has to succeed.
async fn sh(stage: &Stage, directory: &Path, line: &str) -> Result<(), Box<dyn Error>> {
    let done = stage.command(Path::new("/bin/sh"), directory).args(["-c", line]).output().await?;
    if done.status.success() { Ok(()) } else { Err(format!("{line}: {done:?}").into()) }
}

/// Does the steps of a task with as little as possible.
async fn raw(stage: &Stage, server: &Raw, repository: &Path, number: usize) -> Result<(), Box<dyn Error>> {
    let above = stage.sandbox.workspace();
    let directory = above.join(format!("raw-{number}"));
    sh(stage, &above, &format!("git clone -q --shared '{}' raw-{number}", repository.display())).await?;
    server.task(&directory).await?;
    sh(stage, &directory, &format!("git add -A && git diff --cached --binary > ../raw-{number}.diff")).await?;
    sh(stage, &directory, CHECK).await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Does the steps of a task as a user's script would.
async fn by_shell(stage: &Stage, repository: &Path, number: u32) -> Result<(), Box<dyn Error>> {
    let opencode = stage.opencode.display();
    let model = crate::stage::MODEL;
    let line = format!(
        "git clone -q '{}' loop-{number} && cd loop-{number} && '{opencode}' run --model {model} 'Change it.' && git add -A && \
         git diff --cached --binary > ../loop-{number}.diff && {CHECK}",
        repository.display()
    );
    sh(stage, &stage.sandbox.workspace(), &line).await
}
