//! A tasks file of a million lines.

use super::command::{Batch, tasks_file};
use super::{MAX_BYTES, Report};
use crate::figures::mib;
use opencode_run_bench::programs::Programs;
use opencode_run_tests::serve_script::Serving;
use opencode_run_tests::{FakeScript, Sandbox};
use std::error::Error;

/// The maximum time until the first task starts, in seconds.
const MAX_SECONDS: f64 = 3.0;

pub(super) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let tasks = if quick { 100_000 } else { 1_000_000 };
    let sandbox = Sandbox::new();
    let serving = Serving::replaying("1.18.33/plain-text");
    let fake = FakeScript::new(&sandbox, &programs.fake).on("serve", [serving.act()]).write();
    let filler = "Port this module to the new interface, and keep its tests. ".repeat(3);
    let line = |number| format!("{{\"id\":\"task-{number:07}\",\"prompt\":\"{filler}\"}}");
    let file = tasks_file(&sandbox, tasks, line)?;
    let bytes = file.metadata()?.len();
    let ran = Batch::new(programs, &sandbox, fake.executable(), &file).jobs(1).until_first_task().await?;
    let seconds = ran.took.as_secs_f64();
    let what = format!("{tasks} tasks in {:.0} MiB", mib(bytes));
    let measured = format!("{seconds:.2} s");
    report.row(&format!("{what}: checked, first task started"), "<= 3 s", &measured, seconds <= MAX_SECONDS);
    let measured = format!("{:.1} MiB", mib(ran.peak));
    report.row(&format!("our own memory, {what}"), "<= 100 MiB", &measured, ran.peak <= MAX_BYTES);
    Ok(())
}
