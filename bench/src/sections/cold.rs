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

/// How `opencode-run` is called.
struct Call {
    transport: &'static str,
    /// It makes a directory of its own for the task.
    own_directory: bool,
}

/// The calls that are measured.
///
/// In the directory where bare opencode works, both do the same. In a directory of its own, which is a repository, opencode
/// keeps snapshots to undo changes by; bare opencode where it is called here does not. By `run`, it is bare opencode itself that
/// works, with what we add.
const CALLS: [Call; 3] = [
    Call { transport: "serve", own_directory: false },
    Call { transport: "serve", own_directory: true },
    Call { transport: "run", own_directory: false },
];

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
    for call in &CALLS {
        ours(programs, &stage, &directory, call).await?;
    }

    let mut bare = Vec::new();
    let mut turns: [Vec<(Duration, Taken)>; CALLS.len()] = Default::default();
    for _ in 0..if quick { 2 } else { 10 } {
        bare.push(stage.bare(&directory, &[]).await?.0);
        for (call, turns) in CALLS.iter().zip(&mut turns) {
            turns.push(ours(programs, &stage, &directory, call).await?);
        }
    }
    let bare = median(&bare);
    report.detail("bare `opencode run MESSAGE`", &format!("{:.0} ms", ms(bare)));
    for (Call { transport, own_directory }, turns) in CALLS.iter().zip(&turns) {
        let took = median(&turns.iter().map(|(took, _)| *took).collect::<Vec<_>>());
        let part = ratio(took, bare);
        let place = if *own_directory { ", in a directory of its own" } else { "" };
        let what = format!("cold `opencode-run MESSAGE` by {transport}{place}");
        report.detail(&what, &format!("{:.0} ms", ms(took)));
        report.row(&format!("{what}, against bare"), "<= 0.70 of its time", &format!("{part:.2}"), part <= 0.7);
        let cpu = ms(median(&turns.iter().map(|(_, taken)| taken.cpu).collect::<Vec<_>>()));
        report.row(
            &format!("our own process, one turn by {transport}{place}: CPU"),
            "<= 15 ms",
            &format!("{cpu:.1} ms"),
            cpu <= 15.0,
        );
        let peak = mib(turns.iter().map(|(_, taken)| taken.peak).max().unwrap_or(0));
        report.row(
            &format!("our own process, one turn by {transport}{place}: memory"),
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
    call: &Call,
) -> Result<(Duration, Taken), Box<dyn Error>> {
    let mut command = stage.command(&programs.opencode_run, directory);
    command.arg("--opencode").arg(&stage.opencode).args(["--transport", call.transport]);
    if !call.own_directory {
        command.arg("--dir").arg(directory);
    }
    command.arg("Say hello.");
    let began = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let watch = watch_one(child.id().unwrap_or_default());
    let done = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    let took = began.elapsed();
    let taken = watch.join().map_err(|_| "the watch of a process panicked")?;
    if done.status.success() { Ok((took, taken)) } else { Err(format!("{done:?}").into()) }
}
