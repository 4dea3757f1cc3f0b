//! Spans in the log: one for each task and one for each turn.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use opencode_run_core::mock::ScriptedExecutor;
use opencode_runner::{Host, TurnFailure};
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::format::FmtSpan;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn task_and_turn_have_a_span_each() {
    let folder = tempfile::tempdir().unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_span_events(FmtSpan::CLOSE);
    let _log = tracing::subscriber::set_default(log.with_writer(move || writer.clone()).finish());
    let failure = TurnFailure::Opencode { message: "no luck".to_owned() };
    let executor = ScriptedExecutor::new().answers(["one"]).fails(failure);
    let host = Host::with_executor(Arc::new(executor));
    let runner = host.runner().task_name("spans").dir(folder.path()).build().await.unwrap();
    runner.ask("first").await.unwrap();
    runner.run("second").await.unwrap();
    runner.close().await.unwrap();
    drop(runner);
    tokio::task::yield_now().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let directory = folder.path().canonicalize().unwrap();
    let task = format!("task{{name=spans directory={}}}", directory.display());
    for span in [
        format!("{task}:turn{{number=1 session=ses_1 outcome=\"completed\"}}"),
        format!("{task}:turn{{number=2 session=ses_1 outcome=\"error\"}}"),
        format!("{task}: opencode_runner"),
    ] {
        assert!(text.contains(&span), "{span}\n{text}");
    }
}
