//! A turn without a model continues with the model of the session's previous turn.
//!
//! The two transports differ only if opencode itself is asked for that model, in a session without a journal. With a
//! journal, the fake plays most cases.

use crate::stage::{Done, Running, Stage};
use opencode_run_scripted_model::{Script, When};
use opencode_runner::{
    FailureKind, ModelConfig, ModelSource, ModelSourceType, Prompt, RunState, Runner, RunnerBuilder, RunnerError,
    Transport,
};
use serde_json::Value;
use std::process::Stdio;

const SOURCES: &str = "
MODEL_CODE_BASEURL={url}
MODEL_CODE_APIKEY=sk-of-code
MODEL_CODE_MODEL=meta/coder
MODEL_WRITE_BASEURL={url}
MODEL_WRITE_APIKEY=sk-of-write
MODEL_WRITE_MODEL=writer
";

fn stage() -> Stage {
    let stage = Stage::new(Script::new().rule(When::agent().reply("Answer {turn}.")));
    stage.write("models.env", &SOURCES.replace("{url}", &stage.model.base_url()));
    stage
}

fn sources(stage: &Stage) -> ModelSource {
    ModelSource::from_env_file(stage.sandbox.path("models.env")).unwrap()
}

/// Returns a builder for a task in a new directory.
fn builder(stage: &Stage, transport: Transport) -> RunnerBuilder {
    anywhere(stage, transport).workspace(stage.sandbox.workspace())
}

/// Returns a builder without a directory, for a session that has one.
fn anywhere(stage: &Stage, transport: Transport) -> RunnerBuilder {
    let variables = stage.sandbox.env().iter().map(|(name, value)| (name.clone(), value.clone()));
    Runner::builder().environment(variables).opencode(&stage.opencode).transport(transport)
}

/// Returns the models of the requests so far.
fn models(stage: &Stage) -> Vec<String> {
    stage.requests().iter().map(|request| request.model().to_owned()).collect()
}

/// Runs the command with these model sources and further arguments.
#[track_caller]
fn run(stage: &Stage, transport: &str, arguments: &[&str]) -> Done {
    let json = ["--transport", transport, "--output-format", "json"];
    stage.run(arguments.iter().copied().chain(json))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The full example of the original runner: `code`, then `write`, then no model.
#[tokio::test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
async fn runner_continues_with_previous_source() {
    let stage = stage();
    let runner = builder(&stage, Transport::Serve).model_source(sources(&stage)).build().await.unwrap();
    for role in [Some(ModelSourceType::Code), Some(ModelSourceType::Write), None] {
        let prompt = Prompt::new("Go on.");
        let turn = runner.run(role.into_iter().fold(prompt, Prompt::source_type)).await.unwrap();
        assert_eq!(turn.state, RunState::Completed, "{role:?}: {:?}", turn.failure);
    }
    assert_eq!(models(&stage), ["meta/coder", "writer", "writer"]);
    assert_eq!(stage.requests()[2].header("authorization"), Some("Bearer sk-of-write"));

    // The source of a single turn is continued too, and so is a named model.
    let own = ModelConfig { base_url: Some(stage.model.base_url()), ..ModelConfig::new("own") };
    let own = opencode_runner::ModelChoice::Source { source: ModelSourceType::Think, config: own.into() };
    runner.run(Prompt::new("Go on.").model(own)).await.unwrap();
    assert_eq!(runner.run("Go on.").await.unwrap().source_type, Some(ModelSourceType::Think));
    let named = "stub/gpt-5".parse::<opencode_runner::ModelName>().unwrap();
    runner.run(Prompt::new("Go on.").model(named)).await.unwrap();
    let last = runner.run("Go on.").await.unwrap();
    assert_eq!((last.state, last.model.as_deref()), (RunState::Completed, Some("stub/gpt-5")));
    assert_eq!(models(&stage)[3..], ["own", "own", "gpt-5", "gpt-5"]);
    runner.close().await.unwrap();
    stage.end();
}

#[tokio::test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
async fn unjournalled_session_continues_with_source() {
    for transport in [Transport::Run, Transport::Serve] {
        let stage = stage();
        let first = builder(&stage, transport).model_source(sources(&stage)).build().await.unwrap();
        first.run(Prompt::new("First.").source_type(ModelSourceType::Code)).await.unwrap();
        let session = first.session_id().unwrap();
        first.close().await.unwrap();

        let second = anywhere(&stage, transport).session(session.clone()).model_source(sources(&stage));
        let second = second.build().await.unwrap();
        let turn = second.run("Second.").await.unwrap();
        assert_eq!(turn.state, RunState::Completed, "{transport:?}: {:?}", turn.failure);
        second.close().await.unwrap();

        let third = anywhere(&stage, transport).session(session).build().await.unwrap();
        let error = third.run("Third.").await.unwrap_err();
        assert!(matches!(error, RunnerError::Model(_)) && error.kind() == FailureKind::Config, "{error:?}");
        assert!(error.to_string().contains("`code`"), "{error}");
        // The refused turn has changed nothing. A server is already running.
        let mut expected = vec!["meta/coder"; 2];
        if transport == Transport::Serve {
            let named = Prompt::new("Fourth.").model("stub/gpt-4".parse::<opencode_runner::ModelName>().unwrap());
            assert_eq!(third.run(named).await.unwrap().state, RunState::Completed);
            assert_eq!(third.run("Fifth.").await.unwrap().state, RunState::Completed);
            expected.extend(["gpt-4"; 2]);
        }
        third.close().await.unwrap();
        assert_eq!(models(&stage), expected);
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn command_continues_with_previous_source() {
    let stage = stage();
    let with = ["--config", "../models.env"];
    let first = run(&stage, "serve", &[&with[..], &["--model-source-type", "code", "First."]].concat());
    let first = first.with_code(0).json();
    let session = text(&first["session_id"]);
    let dir = text(&first["task_dir"]);

    let unjournalled = ["--session", &session, "--no-journal"];
    let by_session = |more: &[&str]| run(&stage, "serve", &[&unjournalled[..], more, &["More."]].concat());
    let second = run(&stage, "serve", &[&["resume", &dir][..], &with, &["More."]].concat()).with_code(0).json();
    assert_eq!((&second["session_id"], text(&second["model"])), (&first["session_id"], "meta/coder".to_owned()));
    by_session(&with).with_code(0);
    assert_eq!(models(&stage), ["meta/coder"; 3]);

    // Without the source the turn is refused, and never runs on another model.
    let refused = by_session(&["--no-env"]).with_code(3);
    assert_eq!(refused.json()["error"]["kind"], "config");
    for told in ["model source `code`", "--config", "--model"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("opencode-run-code"), "{}", refused.stderr);
    assert_eq!(stage.requests().len(), 3);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn chat_continues_with_previous_source() {
    let stage = stage();
    let first = ["--config", "../models.env", "--model-source-type", "write", "First."];
    let session = text(&run(&stage, "run", &first).with_code(0).json()["session_id"]);
    let mut command = stage.command(["chat", "--transport", "run", "--session", &session, "--config", "../models.env"]);
    command.stdin(Stdio::piped());
    let mut chat = Running::start(command);
    chat.say("Second.\nThird.\n");
    assert_eq!(chat.end().with_code(0).stdout, "Answer 2.\nAnswer 3.\n");
    assert_eq!(models(&stage), ["writer"; 3]);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn changed_source_is_used_with_warning() {
    let stage = stage();
    let first = ["--config", "../models.env", "--model-source-type", "write", "First."];
    let dir = text(&run(&stage, "serve", &first).with_code(0).json()["task_dir"]);
    let url = stage.model.base_url();
    stage.write("models.env", &format!("MODEL_WRITE_BASEURL={url}\nMODEL_WRITE_MODEL=better\n"));
    let done = run(&stage, "serve", &["resume", &dir, "--config", "../models.env", "-q", "Second."]).with_code(0);
    assert!(done.stderr.contains("`write`") && done.stderr.contains("better"), "{}", done.stderr);
    assert_eq!(models(&stage), ["writer", "better"]);
    stage.end();
}
