//! One command from its start to its end.

use crate::figures::{median, mib, ms, ratio};
use crate::processes::{ResourceUsage, sample_until_exit};
use crate::report::Report;
use crate::stage::{LIMIT, Stage};
use opencode_run_bench::programs::Programs;
use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The directory of a task.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Place {
    /// The current directory of the command.
    Called,
    /// A new directory with its own repository. `opencode-run` creates it; for bare opencode it is created.
    Own,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Called => "",
            Self::Own => ", in its own directory",
        }
    }
}

/// A variant of calling `opencode-run`.
pub(crate) struct Call {
    pub(crate) transport: &'static str,
    pub(crate) place: Place,
    /// The maximum time relative to bare opencode.
    pub(crate) most: f64,
}

/// The measured calls, each compared with bare opencode in such a directory.
///
/// In a repository, opencode keeps undo snapshots, which takes about thirty git processes; the current directory
/// here is not a repository. With `run`, bare opencode itself does the work, so only our overhead can be required
/// to be small.
const CALLS: [Call; 3] = [
    Call { transport: "serve", place: Place::Called, most: 0.7 },
    Call { transport: "serve", place: Place::Own, most: 0.7 },
    Call { transport: "run", place: Place::Called, most: 1.1 },
];

/// Measures `opencode-run MESSAGE` compared with bare `opencode run`, and the cost of our own process.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let Some(opencode) = &programs.opencode else {
        report.skip("cold");
        return Ok(());
    };
    let stage = Stage::new(opencode)?;
    let directory = stage.directory("cold")?;
    stage.write_source(&directory)?;
    // The first start in a home directory creates opencode's database.
    stage.bare(&directory, &[]).await?;
    for call in &CALLS {
        ours(programs, &stage, &directory, call).await?;
    }

    let mut called = Vec::new();
    let mut own = Vec::new();
    let mut turns: [Vec<(Duration, ResourceUsage)>; CALLS.len()] = Default::default();
    for round in 0..if quick { 2 } else { 10 } {
        called.push(stage.bare(&directory, &[]).await?.0);
        own.push(bare_in_its_own(&stage, round).await?);
        for (call, turns) in CALLS.iter().zip(&mut turns) {
            turns.push(ours(programs, &stage, &directory, call).await?);
        }
    }
    let called = median(&called);
    let own = median(&own);
    for (place, bare) in [(Place::Called, called), (Place::Own, own)] {
        report.detail(&format!("bare `opencode run MESSAGE`{}", place.name()), &format!("{:.0} ms", ms(bare)));
    }
    for (Call { transport, place, most }, turns) in CALLS.iter().zip(&turns) {
        let took = median(&turns.iter().map(|(took, _)| *took).collect::<Vec<_>>());
        let what = format!("cold `opencode-run MESSAGE` by {transport}{}", place.name());
        report.detail(&what, &format!("{:.0} ms", ms(took)));
        let part = match place {
            Place::Called => ratio(took, called),
            Place::Own => {
                let unlike = ratio(took, called);
                report.detail(&format!("{what}, against bare in the current directory"), &format!("{unlike:.2}"));
                ratio(took, own)
            }
        };
        let target = format!("<= {most:.2} of its time");
        report.row(&format!("{what}, against bare"), &target, &format!("{part:.2}"), part <= *most);
        let cpu = ms(median(&turns.iter().map(|(_, taken)| taken.cpu).collect::<Vec<_>>()));
        let own_process = format!("our own process, one turn by {transport}{}", place.name());
        report.row(&format!("{own_process}: CPU"), "<= 15 ms", &format!("{cpu:.1} ms"), cpu <= 15.0);
        let peak = mib(turns.iter().map(|(_, taken)| taken.peak).max().unwrap_or(0));
        report.row(&format!("{own_process}: memory"), "<= 15 MiB", &format!("{peak:.1} MiB"), peak <= 15.0);
    }
    Ok(())
}

/// Runs bare opencode in a directory that is created like `opencode-run` creates it. Returns the time of both.
async fn bare_in_its_own(stage: &Stage, round: usize) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let directory = stage.directory(&format!("own-{round}"))?;
    let done = stage.command(Path::new("git"), &directory).args(["init", "--quiet", "--template="]).status().await?;
    if !done.success() {
        return Err(format!("git init: {done}").into());
    }
    stage.bare(&directory, &[]).await?;
    Ok(began.elapsed())
}

/// Runs `opencode-run MESSAGE`. Returns its duration, and the resources of our own process.
pub(crate) async fn ours(
    programs: &Programs,
    stage: &Stage,
    directory: &Path,
    call: &Call,
) -> Result<(Duration, ResourceUsage), Box<dyn Error>> {
    let mut command = stage.command(&programs.opencode_run, directory);
    command.arg("--opencode").arg(&stage.opencode).args(["--transport", call.transport]);
    if call.place == Place::Called {
        command.arg("--dir").arg(directory);
    }
    command.arg("Say hello.");
    let began = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let watch = sample_until_exit(child.id().unwrap_or_default());
    let done = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    let took = began.elapsed();
    let taken = watch.join().map_err(|_| "the sampling thread panicked")?;
    if done.status.success() { Ok((took, taken)) } else { Err(format!("{done:?}").into()) }
}
