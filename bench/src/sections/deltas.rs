//! A flood of text deltas.

use crate::figures::{mib, ms, per_second};
use crate::processes::{own_cpu, own_memory, own_peak};
use crate::report::Report;
use crate::stage::{LIMIT, launch, runner};
use opencode_run_bench::programs::Programs;
use opencode_run_core::{Event, EventItem, RunState};
use opencode_run_process::ServeExecutor;
use opencode_run_tests::serve_script::{Serving, TurnAct};
use opencode_run_tests::{FakeScript, Sandbox};
use std::error::Error;
use std::time::{Instant, SystemTime};

const DELTA: &str = "word ";

/// Measures the rate of deltas with a lossless reader, and their memory.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let count: u64 = if quick { 100_000 } else { 1_000_000 };
    let sandbox = Sandbox::new();
    let act = TurnAct::Speak { delta: DELTA.to_owned(), count, at_once: 200, pause_ms: 0 };
    let fake = FakeScript::new(&sandbox, &programs.fake).on("serve", [Serving::doing([act]).act()]).write();
    let executor = ServeExecutor::new(launch(fake.executable(), &sandbox).await?)?;
    let runner = runner(&executor, &sandbox.workspace());

    let before = own_memory();
    let cpu = own_cpu();
    let began = Instant::now();
    runner.start("flood".into(), SystemTime::now()).await?;
    let mut events = runner.lossless_events();
    let mut seen = 0;
    while let Some(item) = tokio::time::timeout(LIMIT, events.next()).await? {
        let EventItem::Event(event) = item else { return Err("events were missed".into()) };
        seen += u64::from(matches!(event.observed.event, Event::TextDelta { .. }));
    }
    let record = runner.wait().await.ok_or("no record")?;
    let took = began.elapsed();
    let cpu = own_cpu().saturating_sub(cpu);
    let peak = own_peak();
    let text = count * DELTA.len() as u64;
    if record.state != RunState::Completed || record.output_len() as u64 != text {
        return Err(format!("{} of {text} bytes, {:?}", record.output_len(), record.failure).into());
    }
    drop((record, events, runner));
    executor.shutdown().await;

    report.detail(&format!("{count} text deltas, wall clock"), &format!("{:.0} ms", ms(took)));
    report.detail("the same per second of wall clock", &format!("{:.0}", per_second(count, took)));
    // If a turn is too slow for the deltas, it gets the whole text instead.
    report.row("deltas that were delivered one by one", &format!("{count}"), &format!("{seen}"), seen == count);
    let rate = per_second(seen, cpu);
    report.row(
        &format!("{count} text deltas, per second of one core"),
        ">= 200,000",
        &format!("{rate:.0}"),
        rate >= 200_000.0,
    );
    let grown = peak.saturating_sub(before);
    let what = format!("memory for them, with {:.1} MiB of text", mib(text));
    // The text exists in the turn's record, in the event with the whole text, in the answer, and in the buffers of
    // both.
    let bound = 8 * text + (32 << 20);
    report.row(&what, &format!("<= {:.0} MiB", mib(bound)), &format!("{:.0} MiB", mib(grown)), grown <= bound);
    Ok(())
}
