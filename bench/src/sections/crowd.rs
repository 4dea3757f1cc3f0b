//! Many live sessions on one connection.

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

/// The pause of a session after each event, similar to a model's pace.
const PAUSE: Duration = Duration::from_millis(100);
/// The total event rate per second of all sessions, if it is the same for few and many sessions.
const TOTAL_PER_SECOND: usize = 20_000;

/// Measures the cost of an event with few and with many sessions, and that each event reaches its own turn.
///
/// The cost depends on how many events arrive at the same time, and on how long ago the turn had its last one, because
/// memory that was not touched for long is no longer in the processor's caches. So the sessions are compared in two
/// ways: each sends at the same pace, however many there are; and all send without pauses, so that the processor is
/// never idle. In a third way all sessions together have the same rate, so that each of many sends a hundred times
/// less often than each of few. That is printed as a detail, because it mostly shows the effect of the caches.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let sizes: &[usize] = if quick { &[20, 200] } else { &[20, 200, 2000] };
    let mut paced = Vec::new();
    let mut floods = Vec::new();
    for &sessions in sizes {
        // The beginning and end of a turn cost the same with one delta, so they are subtracted.
        let one = crowd(programs, sessions, 1, Duration::ZERO).await?;
        let cost = async |deltas: usize, pause: Duration| -> Result<Duration, Box<dyn Error>> {
            let many = crowd(programs, sessions, deltas, pause).await?;
            Ok(many.saturating_sub(one) / u32::try_from(sessions * (deltas - 1))?)
        };
        let own_pace = cost(if quick { 20 } else { 100 }, PAUSE).await?;
        report
            .detail(&format!("an event of a session with ten events a second, {sessions} in parallel"), &us(own_pace));
        let flood = cost(if quick { 20_000 } else { 1_000_000 } / sessions, Duration::ZERO).await?;
        report.detail(&format!("an event of a flood, {sessions} sessions in parallel"), &us(flood));
        let pause = Duration::from_secs(1) * u32::try_from(sessions)? / u32::try_from(TOTAL_PER_SECOND)?;
        let together = cost(if quick { 20_000 } else { 200_000 } / sessions, pause).await?;
        let what = format!("an event of {TOTAL_PER_SECOND} a second of all together, {sessions} sessions in parallel");
        report.detail(&what, &us(together));
        let turn = ms(one / u32::try_from(sessions)?);
        report.detail(&format!("the end of a turn, {sessions} in parallel"), &format!("{turn:.2} ms"));
        paced.push(own_pace);
        floods.push(flood);
    }
    let few = sizes[0];
    let many = sizes[sizes.len() - 1];
    for (how, costs) in [("at each one's pace", paced), ("of a flood", floods)] {
        let growth = ratio(costs[costs.len() - 1], costs[0]);
        let what = format!("{many} sessions on one connection, an event {how} against one of {few}");
        // This point is reached only if every event reached its own turn.
        report.row(&what, "flat: <= 1.5 times", &format!("{growth:.2}"), growth <= 1.5);
    }
    Ok(())
}

fn us(time: Duration) -> String {
    format!("{:.2} us", ms(time) * 1000.0)
}

/// Returns the CPU time of `sessions` sessions with `deltas` deltas each, and a pause after each delta.
async fn crowd(
    programs: &Programs,
    sessions: usize,
    deltas: usize,
    pause: Duration,
) -> Result<Duration, Box<dyn Error>> {
    let sandbox = Sandbox::new();
    let go = sandbox.path("go");
    // The message names the turn and the answer repeats the name, so that a misdelivered event is noticed.
    let rule = |n: usize| {
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let speak = TurnAct::Speak { delta: format!("<{n}>"), count: deltas as u64, at_once: 1, pause_ms };
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
    // Waits until all messages have arrived.
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
