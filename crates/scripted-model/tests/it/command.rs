//! The `scripted-model` command.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

const COMMAND: &str = env!("CARGO_BIN_EXE_scripted-model");

/// Kills the command when the test ends, even if it fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn command_serves_script_and_logs() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.json");
    let log = folder.path().join("log.jsonl");
    let rules = r#"{"models": ["from-the-file"]}"#;
    fs::write(&script, rules).unwrap();
    let command = Command::new(COMMAND)
        .args(["--script".as_ref(), script.as_os_str()])
        .args(["--log".as_ref(), log.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut running = Running(command.unwrap());
    let mut line = String::new();
    let stdout = running.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let base_url = line.trim_end().strip_prefix("listening on ").unwrap();

    let url = format!("{base_url}/models");
    let models = crate::client::client().get(url).send().await.unwrap();
    assert!(models.text().await.unwrap().contains("from-the-file"));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains(r#""path":"/v1/models""#), "{log}");
}

#[test]
fn command_reports_invalid_script() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.json");
    fs::write(&script, r#"{"rulez": []}"#).unwrap();
    let output = Command::new(COMMAND).arg("--script").arg(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("scripted-model: failed to read the script: unknown field `rulez`"), "{stderr}");
    assert!(output.stdout.is_empty());
}
