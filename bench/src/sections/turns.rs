//! Later turns of a session.

use crate::figures::{median, ms, ratio};
use crate::raw::{PASSWORD, v1};
use crate::report::Report;
use crate::stage::{MODEL, Stage, runner, turn};
use opencode_run_bench::programs::Programs;
use opencode_run_core::{ModelChoice, ModelName, Prompt};
use opencode_run_process::ServeExecutor;
use serde_json::Value;
use std::error::Error;

/// The number of turns on a server for each one of bare opencode.
const TURNS_PER_ROUND: usize = 5;

/// Measures later turns compared with bare `opencode run` and with the raw request.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let Some(opencode) = &programs.opencode else {
        report.skip("turns");
        return Ok(());
    };
    let stage = Stage::new(opencode)?;
    let bare_directory = stage.directory("bare")?;
    let (_, first) = stage.bare(&bare_directory, &[]).await?;
    let session = serde_json::from_str::<Value>(first.lines().next().unwrap_or_default())?["sessionID"].clone();
    let session = session.as_str().ok_or("opencode does not name its session")?.to_owned();

    let warm = ServeExecutor::new(stage.launch().await?)?;
    let own = runner(&warm, &stage.directory("own")?);
    turn(&own, stage.prompt()).await?;

    let raw = v1::Raw::start(&stage).await?;
    let attached = ServeExecutor::attach(&raw.url, None, Some(PASSWORD.to_owned())).await?;
    let directory = stage.directory("raw")?;
    let through = runner(&attached, &directory);
    let model: ModelName = MODEL.parse()?;
    let prompt = || Prompt::new("Say hello.").model(ModelChoice::Named(model.clone())).title("benchmark");
    turn(&through, prompt()).await?;
    let raw_session = raw.session(&directory).await?;
    raw.turn(&raw_session).await?;

    let mut bare = Vec::new();
    let mut own_turns = Vec::new();
    let mut through_turns = Vec::new();
    let mut raw_turns = Vec::new();
    for _ in 0..if quick { 2 } else { 8 } {
        bare.push(stage.bare(&bare_directory, &["--session", &session]).await?.0);
        for _ in 0..TURNS_PER_ROUND {
            own_turns.push(turn(&own, stage.prompt()).await?);
            through_turns.push(turn(&through, prompt()).await?);
            raw_turns.push(raw.turn(&raw_session).await?);
        }
    }
    let bare = median(&bare);
    let own_turns = median(&own_turns);
    let through_turns = median(&through_turns);
    let raw_turns = median(&raw_turns);
    report.detail("bare `opencode run --session`", &format!("{:.0} ms", ms(bare)));
    report.detail("a turn on our server", &format!("{:.0} ms", ms(own_turns)));
    report.detail("a turn through us, on an attached server", &format!("{:.1} ms", ms(through_turns)));
    report.detail("the raw request to that server", &format!("{:.1} ms", ms(raw_turns)));
    let faster = ratio(bare, own_turns);
    report.row(
        "later turns, against bare `opencode run`",
        ">= 25 times faster",
        &format!("{faster:.1}"),
        faster >= 25.0,
    );
    let more = ms(through_turns) - ms(raw_turns);
    report.row("later turns, against the raw request", "<= 5 ms more", &format!("{more:.1} ms"), more <= 5.0);
    drop((own, through));
    warm.shutdown().await;
    raw.end().await
}
