//! A server of opencode 2 that is used directly.

use super::PASSWORD;
use crate::stage::{LIMIT, MODEL, Stage};
use opencode_run_core::ModelName;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::oneshot;

/// The sessions whose execution is awaited, and whether it succeeded.
type Awaited = Arc<Mutex<HashMap<String, oneshot::Sender<bool>>>>;

/// A server.
pub(crate) struct Raw {
    child: Child,
    pub(crate) url: String,
    client: reqwest::Client,
    awaited: Awaited,
}

impl Raw {
    /// Starts a server with an empty catalog, and opens its stream of events.
    pub(crate) async fn start(stage: &Stage) -> Result<Self, Box<dyn Error>> {
        let catalog = stage.sandbox.path("no-models.json");
        std::fs::write(&catalog, "{}")?;
        let mut command = stage.command(&stage.opencode, &stage.sandbox.workspace());
        command.args(["serve", "--stdio", "--port", "0"]).env("OPENCODE_PASSWORD", PASSWORD);
        command.env("OPENCODE_MODELS_PATH", catalog).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line).await?;
        let url = serde_json::from_str::<Value>(&line)?["url"].as_str().ok_or("no address")?.to_owned();
        let client = reqwest::Client::builder().no_proxy().build()?;
        let raw = Self { child, url, client, awaited: Awaited::default() };
        let stream = raw.request(Method::GET, "/api/event").send().await?.error_for_status()?;
        tokio::spawn(read(stream, Arc::clone(&raw.awaited)));
        Ok(raw)
    }

    fn request(&self, method: Method, route: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{route}", self.url)).basic_auth("opencode", Some(PASSWORD))
    }

    /// Creates a session.
    pub(crate) async fn session(&self, directory: &Path) -> Result<String, Box<dyn Error>> {
        let body = json!({"title": "raw", "model": model()?, "location": {"directory": directory}});
        let answer = self.request(Method::POST, "/api/session").json(&body).send().await?.error_for_status()?;
        let made: Value = answer.json().await?;
        Ok(made["data"]["id"].as_str().ok_or("the server created no session")?.to_owned())
    }

    /// Runs a turn. Returns its duration, with that of the request for the model: without it, opencode 2 could use another.
    pub(crate) async fn turn(&self, session: &str) -> Result<Duration, Box<dyn Error>> {
        let (sender, ended) = oneshot::channel();
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(session.to_owned(), sender);
        let began = Instant::now();
        let bodies = [("model", json!({ "model": model()? })), ("prompt", json!({"text": "Say hello."}))];
        for (what, body) in bodies {
            let route = format!("/api/session/{session}/{what}");
            self.request(Method::POST, &route).json(&body).send().await?.error_for_status()?;
        }
        if tokio::time::timeout(LIMIT, ended).await?? { Ok(began.elapsed()) } else { Err("a raw turn failed".into()) }
    }

    /// Evicts a directory.
    pub(crate) async fn evict(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        let query = [("location[directory]", directory.to_string_lossy())];
        self.request(Method::DELETE, "/api/debug/location").query(&query).send().await?.error_for_status()?;
        Ok(())
    }

    /// Kills the server.
    pub(crate) async fn end(mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill().await?;
        Ok(())
    }
}

fn model() -> Result<Value, Box<dyn Error>> {
    let model: ModelName = MODEL.parse()?;
    Ok(json!({"providerID": model.provider(), "id": model.model()}))
}

/// Reads the stream of events, and reports the ends of executions.
async fn read(mut stream: Response, awaited: Awaited) {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = stream.chunk().await {
        text.extend_from_slice(&piece);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.strip_prefix("data:") else { continue };
            if !data.contains("session.execution.") {
                continue;
            }
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            let session = event["data"]["sessionID"].as_str().unwrap_or_default();
            if event["type"] != "session.execution.started"
                && let Some(sender) = awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(session)
            {
                sender.send(event["type"] == "session.execution.succeeded").ok();
            }
        }
    }
}
