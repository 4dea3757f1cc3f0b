//! Later turns of a session.

use crate::figures::{median, ms, ratio};
use crate::report::Report;
use crate::stage::{MODEL, Stage, runner, turn};
use opencode_run_bench::programs::Programs;
use opencode_run_core::{ModelChoice, Prompt};
use opencode_run_process::ServeExecutor;
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

const PASSWORD: &str = "benchmark";
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

    let raw = Raw::start(&stage).await?;
    let attached = ServeExecutor::attach(&raw.url, None, Some(PASSWORD.to_owned())).await?;
    let through = runner(&attached, &stage.directory("raw")?);
    let prompt = || Prompt::new("Say hello.").model(ModelChoice::Named(raw.model.clone())).title("benchmark");
    turn(&through, prompt()).await?;
    raw.turn().await?;

    let mut bare = Vec::new();
    let mut own_turns = Vec::new();
    let mut through_turns = Vec::new();
    let mut raw_turns = Vec::new();
    for _ in 0..if quick { 2 } else { 8 } {
        bare.push(stage.bare(&bare_directory, &["--session", &session]).await?.0);
        for _ in 0..TURNS_PER_ROUND {
            own_turns.push(turn(&own, stage.prompt()).await?);
            through_turns.push(turn(&through, prompt()).await?);
            raw_turns.push(raw.turn().await?);
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

/// A server that is used directly.
struct Raw {
    child: Child,
    url: String,
    client: reqwest::Client,
    session: String,
    directory: String,
    model: opencode_run_core::ModelName,
}

impl Raw {
    async fn start(stage: &Stage) -> Result<Self, Box<dyn Error>> {
        let directory = stage.directory("raw")?;
        let mut command = stage.command(&stage.opencode, &directory);
        command.args(["serve", "--hostname", "127.0.0.1", "--port", "0"]).env("OPENCODE_SERVER_PASSWORD", PASSWORD);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let url = loop {
            let line = lines.next_line().await?.ok_or("the server ended before it listened")?;
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.trim().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let client = reqwest::Client::builder().no_proxy().build()?;
        let session = String::new();
        let directory = path(&directory);
        let mut raw = Self { child, url, client, session, directory, model: MODEL.parse()? };
        let made: Value = raw.post("/session", &json!({"title": "raw"})).await?;
        made["id"].as_str().ok_or("the server created no session")?.clone_into(&mut raw.session);
        Ok(raw)
    }

    async fn post(&self, route: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        let request = self.client.post(format!("{}{route}", self.url)).query(&[("directory", &self.directory)]);
        Ok(request.basic_auth("opencode", Some(PASSWORD)).json(body).send().await?.error_for_status()?.json().await?)
    }

    async fn turn(&self) -> Result<Duration, Box<dyn Error>> {
        let model = json!({"providerID": self.model.provider(), "modelID": self.model.model()});
        let body = json!({"model": model, "parts": [{"type": "text", "text": "Say hello."}]});
        let began = Instant::now();
        let answer = self.post(&format!("/session/{}/message", self.session), &body).await?;
        let took = began.elapsed();
        if answer["info"]["finish"] == "stop" { Ok(took) } else { Err(answer.to_string().into()) }
    }

    async fn end(mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill().await?;
        Ok(())
    }
}

fn path(directory: &Path) -> String {
    directory.to_string_lossy().into_owned()
}
