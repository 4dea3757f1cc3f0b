//! A server of opencode 1 that is used directly.

use super::PASSWORD;
use crate::stage::{MODEL, Stage};
use opencode_run_core::ModelName;
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// A server.
pub(crate) struct Raw {
    child: Child,
    pub(crate) url: String,
    client: reqwest::Client,
    model: ModelName,
}

/// A session, and the directory in which it is.
pub(crate) struct Session {
    id: String,
    directory: PathBuf,
}

impl Raw {
    /// Starts a server.
    pub(crate) async fn start(stage: &Stage) -> Result<Self, Box<dyn Error>> {
        let mut command = stage.command(&stage.opencode, &stage.sandbox.workspace());
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
        Ok(Self { child, url, client, model: MODEL.parse()? })
    }

    async fn post(&self, route: &str, directory: &Path, body: &Value) -> Result<Value, Box<dyn Error>> {
        let directory = directory.to_string_lossy();
        let request = self.client.post(format!("{}{route}", self.url)).query(&[("directory", &directory)]);
        Ok(request.basic_auth("opencode", Some(PASSWORD)).json(body).send().await?.error_for_status()?.json().await?)
    }

    /// Creates a session.
    pub(crate) async fn session(&self, directory: &Path) -> Result<Session, Box<dyn Error>> {
        let made = self.post("/session", directory, &json!({"title": "raw"})).await?;
        let id = made["id"].as_str().ok_or("the server created no session")?.to_owned();
        Ok(Session { id, directory: directory.to_owned() })
    }

    /// Runs a turn. Returns its duration.
    pub(crate) async fn turn(&self, session: &Session) -> Result<Duration, Box<dyn Error>> {
        let model = json!({"providerID": self.model.provider(), "modelID": self.model.model()});
        let body = json!({"model": model, "parts": [{"type": "text", "text": "Say hello."}]});
        let began = Instant::now();
        let answer = self.post(&format!("/session/{}/message", session.id), &session.directory, &body).await?;
        let took = began.elapsed();
        if answer["info"]["finish"] == "stop" { Ok(took) } else { Err(answer.to_string().into()) }
    }

    /// Evicts a directory.
    pub(crate) async fn evict(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        self.post("/instance/dispose", directory, &json!({})).await.map(drop)
    }

    /// Kills the server.
    pub(crate) async fn end(mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill().await?;
        Ok(())
    }
}
