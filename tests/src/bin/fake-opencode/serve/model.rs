//! Requests of a turn to its model.

use super::turn::Turn;
use serde_json::Value;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

/// The pause before a retry. The real opencode waits for seconds; a short pause is the harder test of the gateway.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Turn {
    /// Asks the model of the configuration, again after each 429. An answer with another status than 200 is an error.
    pub(super) fn ask_model(&self) -> Result<(), Box<dyn Error>> {
        let configuration: Value = serde_json::from_str(&std::env::var("OPENCODE_CONFIG_CONTENT")?)?;
        let provider =
            configuration["provider"].as_object().and_then(|all| all.values().next()).ok_or("find a provider")?;
        let base = provider["options"]["baseURL"].as_str().and_then(|url| url.strip_prefix("http://"));
        let (host, path) = base.and_then(|url| url.split_once('/')).ok_or("find the model's address")?;
        let model = provider["models"].as_object().and_then(|all| all.keys().next()).ok_or("find a model")?;
        let body = format!("{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}");
        let session = &self.session;
        let request = format!(
            "POST /{path}/chat/completions HTTP/1.1\r\nhost: {host}\r\nx-session-id: {session}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        loop {
            let mut stream = TcpStream::connect(host)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            match answer.split(' ').nth(1) {
                Some("200") => return Ok(()),
                Some("429") => sleep(RETRY_PAUSE),
                _ => return Err(format!("use the model's answer: {answer}").into()),
            }
        }
    }
}
