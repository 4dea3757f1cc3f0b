//! Many live sessions through one connection.

use crate::figures::{ms, ratio};
use crate::processes::own_cpu;
use crate::report::Report;
use crate::stage::{LIMIT, launch, runner};
use opencode_run_bench::programs::Programs;
use opencode_run_core::{RunState, TurnRunner};
use opencode_run_process::ServeExecutor;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use opencode_run_tests::{FakeScript, Sandbox};
use std::error::Error;
use std::time::{Duration, SystemTime};

/// Measures what an event costs with few and with many sessions, and that each reaches its own turn.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let events = if quick { 20_000 } else { 1_000_000 };
    let sizes: &[usize] = if quick { &[20, 200] } else { &[20, 200, 2000] };
    let mut costs = Vec::new();
    for &sessions in sizes {
        let deltas = events / sessions;
        // A turn's beginning and end cost the same with one delta, and are no part of an event.
        let (many, one) = (crowd(programs, sessions, deltas).await?, crowd(programs, sessions, 1).await?);
        let cost = many.saturating_sub(one) / u32::try_from(sessions * (deltas - 1))?;
        report.detail(&format!("an event, {sessions} live sessions"), &format!("{:.2} us", ms(cost) * 1000.0));
        let turn = ms(one / u32::try_from(sessions)?);
        report.detail(&format!("the end of a turn, {sessions} at once"), &format!("{turn:.2} ms"));
        costs.push(cost);
    }
    let (few, many) = (costs[0], costs[costs.len() - 1]);
    let growth = ratio(many, few);
    let what = format!("{} sessions on one connection, an event against one of {}", sizes[sizes.len() - 1], sizes[0]);
    // Each reached its own turn, or this would not be reached.
    report.row(&what, "flat: <= 1.5 times", &format!("{growth:.2}"), growth <= 1.5);
    Ok(())
}

/// Returns the processor time that so many sessions take for so many deltas each.
async fn crowd(programs: &Programs, sessions: usize, deltas: usize) -> Result<Duration, Box<dyn Error>> {
    let sandbox = Sandbox::new();
    let go = sandbox.path("go");
    // The message names the turn, and the turn says its own name: what reached another is seen.
    let rule = |n: usize| {
        let speak = TurnAct::Speak { delta: format!("<{n}>"), count: deltas as u64, at_once: 1, pause_ms: 0 };
        TurnRule::every([Act::WaitForFile { path: go.clone() }.into(), speak]).said(format!("say {n}."))
    };
    let serving = (0..sessions).fold(Serving::default(), |serving, n| serving.turn(rule(n)));
    let fake = FakeScript::new(&sandbox, &programs.fake).on("serve", [serving.act()]).write();
    let executor = ServeExecutor::new(launch(fake.executable(), &sandbox).await?)?;
    let mut runners: Vec<TurnRunner> = Vec::new();
    for n in 0..sessions {
        let directory = sandbox.workspace().join(format!("task{n}"));
        std::fs::create_dir(&directory)?;
        let runner = runner(&executor, &directory);
        runner.start(format!("say {n}.").into(), SystemTime::now()).await?;
        runners.push(runner);
    }
    // Until all messages have arrived.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cpu = own_cpu();
    std::fs::write(&go, "")?;
    for (n, runner) in runners.iter().enumerate() {
        let record = tokio::time::timeout(LIMIT, runner.wait()).await?.ok_or("no record")?;
        if record.state != RunState::Completed || record.output() != format!("<{n}>").repeat(deltas) {
            return Err(format!("session {n} of {sessions}: {:?}", record.failure).into());
        }
    }
    let taken = own_cpu().saturating_sub(cpu);
    drop(runners);
    executor.shutdown().await;
    Ok(taken)
}
