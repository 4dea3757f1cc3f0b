//! One command from its start to its end.

use crate::figures::{median, mib, ms, ratio};
use crate::processes::{Taken, watch_one};
use crate::report::Report;
use crate::stage::{LIMIT, Stage};
use opencode_run_bench::programs::Programs;
use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Measures `opencode-run MESSAGE` against bare `opencode run`, and what our own process takes in it.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let Some(opencode) = &programs.opencode else {
        report.skip("cold");
        return Ok(());
    };
    let stage = Stage::new(opencode)?;
    let directory = stage.directory("cold")?;
    let dot_env = format!(
        "MODEL_DEFAULT_BASEURL={}\nMODEL_DEFAULT_APIKEY=sk-stub\nMODEL_DEFAULT_MODEL=gpt-4\n",
        stage.model.base_url()
    );
    std::fs::write(directory.join(".env"), dot_env)?;
    // The first start in a home makes its database.
    stage.bare(&directory, &[]).await?;
    let transports = ["run", "serve"];
    for transport in transports {
        ours(programs, &stage, &directory, transport).await?;
    }

    let mut bare = Vec::new();
    let mut turns: [Vec<(Duration, Taken)>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..if quick { 2 } else { 10 } {
        bare.push(stage.bare(&directory, &[]).await?.0);
        for (transport, turns) in transports.iter().zip(&mut turns) {
            turns.push(ours(programs, &stage, &directory, transport).await?);
        }
    }
    let bare = median(&bare);
    report.detail("bare `opencode run MESSAGE`", &format!("{:.0} ms", ms(bare)));
    for (transport, turns) in transports.iter().zip(&turns) {
        let took = median(&turns.iter().map(|(took, _)| *took).collect::<Vec<_>>());
        let part = ratio(took, bare);
        report.detail(&format!("`opencode-run --transport {transport} MESSAGE`"), &format!("{:.0} ms", ms(took)));
        let what = format!("cold `opencode-run MESSAGE` by {transport}, against bare `opencode run`");
        report.row(&what, "<= 0.70 of its time", &format!("{part:.2}"), part <= 0.7);
        let cpu = ms(median(&turns.iter().map(|(_, taken)| taken.cpu).collect::<Vec<_>>()));
        report.row(
            &format!("our own process, one turn by {transport}: CPU"),
            "<= 15 ms",
            &format!("{cpu:.1} ms"),
            cpu <= 15.0,
        );
        let peak = mib(turns.iter().map(|(_, taken)| taken.peak).max().unwrap_or(0));
        report.row(
            &format!("our own process, one turn by {transport}: memory"),
            "<= 15 MiB",
            &format!("{peak:.1} MiB"),
            peak <= 15.0,
        );
    }
    Ok(())
}

async fn ours(
    programs: &Programs,
    stage: &Stage,
    directory: &Path,
    transport: &str,
) -> Result<(Duration, Taken), Box<dyn Error>> {
    let mut command = stage.command(&programs.opencode_run, directory);
    command.arg("--opencode").arg(&stage.opencode).args(["--transport", transport, "Say hello."]);
    let began = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let watch = watch_one(child.id().unwrap_or_default());
    let done = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    let took = began.elapsed();
    let taken = watch.join().map_err(|_| "the watch of a process panicked")?;
    if done.status.success() { Ok((took, taken)) } else { Err(format!("{done:?}").into()) }
}
