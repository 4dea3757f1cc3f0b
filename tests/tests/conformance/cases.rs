//! The conformance cases.

use crate::case::{Case, Deed};
use crate::stage::{Opencode, Stage, Transport};
use opencode_run_core::{Event, ModelChoice, ModelConfig, ModelSourceType, Prompt, SecretString};
use opencode_run_scripted_model::ScriptedModel;
use std::sync::Arc;

/// Six tests per case: both executors on the fake and on opencode 1, and the server of opencode 2, fake and real.
/// Attributes of a case apply to its tests on the real opencode.
macro_rules! cases {
    ($($(#[$real:meta])* $name:ident: $case:expr;)*) => {
        /// The names of all cases.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
        mod $name {
            use super::*;

            #[test]
            fn run_fake() {
                $case.play(stringify!($name), Opencode::Fake, Transport::Run);
            }

            #[test]
            fn serve_fake() {
                $case.play(stringify!($name), Opencode::Fake, Transport::Serve);
            }

            #[test]
            #[cfg_attr(not(real_opencode), ignore = "no real opencode")]
            $(#[$real])*
            fn run_real() {
                $case.play(stringify!($name), Opencode::Real, Transport::Run);
            }

            #[test]
            #[cfg_attr(not(real_opencode), ignore = "no real opencode")]
            $(#[$real])*
            fn serve_real() {
                $case.play(stringify!($name), Opencode::Real, Transport::Serve);
            }

            #[test]
            fn serve_fake2() {
                $case.play(stringify!($name), Opencode::Fake2, Transport::Serve);
            }

            #[test]
            #[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
            fn serve_real2() {
                $case.play(stringify!($name), Opencode::Real2, Transport::Serve);
            }
        }
        )*
    };
}

const AT_A_TOOL: &str = "a process that is ended never writes the call that it was at; a server completes it";
const REFUSAL: &str = "on `run` a refusal ends the turn; a server is told why, and the agent goes on";
const ABANDONED: &str =
    "a turn that failed keeps what its attempts said, and `run` does not write what was not finished";
const IN_FLIGHT: &str = "a process that is interrupted loses the part that it was writing; a server finishes it";

cases! {
    plain_text: Case::new("plain-text");
    priced: Case::new("plain-text-priced");
    reasoning: Case::new("reasoning");
    tool_then_text: Case::new("tool-then-text");
    several_tools: Case::new("several-tools");
    failed_tool: Case::new("failed-tool");
    failed_command: Case::new("failed-command");
    subagent: Case::new("subagent");
    subagent_with_tool: Case::new("subagent-with-tool");
    attached_file: Case::new("file").prompt(|prompt, stage| prompt.file(stage.sandbox.workspace().join("a.txt")));
    context: Case::new("context")
        .run_recordings(&["plain-text"])
        .prompt(|prompt, _| prompt.context("BE-BRIEF"))
        .check(the_context_arrived);
    model_source: Case::new("plain-text").prompt(with_source).check(the_parameters_arrived);
    second_turn: Case::new("second-turn")
        .run_recordings(&["plain-text", "second-turn"])
        .messages(&["my first question", "my second question"]);
    finish_length: Case::new("finish-length");
    finish_missing: Case::new("finish-missing");
    empty_answer: Case::new("empty-answer");
    error_400: Case::new("error-400");
    error_401: Case::new("error-401");
    error_404: Case::new("error-404");
    error_429_recovered: Case::new("error-429-recovered");
    #[cfg_attr(real_opencode, ignore = "opencode retries for more than a minute")]
    error_500: Case::new("error-500");
    error_after_tool: Case::new("error-after-tool");
    #[cfg_attr(real_opencode, ignore = "opencode retries for more than a minute")]
    stream_cut: Case::new("stream-cut").differs(ABANDONED);
    stream_cut_once: Case::new("stream-cut-once");
    #[cfg_attr(real_opencode, ignore = "opencode retries for more than a minute")]
    stream_error: Case::new("stream-error").differs(ABANDONED);
    refused: Case::new("refused").differs(REFUSAL);
    refused_beside_another: Case::new("refused-beside-another").differs(REFUSAL);
    denied_by_rule: Case::new("denied-by-rule");
    question: Case::new("question").differs("`run` does not offer the tool; a server's question is rejected, and the agent goes on");
    #[cfg_attr(real_opencode, ignore = "only a server that somebody else runs ends the turn")]
    question_ends: Case::new("question-ends")
        .run_recordings(&["question"])
        .differs("`run` does not offer the tool");
    unknown_model: Case::new("unknown-model")
        .differs("`run` makes a session and fails in it; a server is asked for its models first")
        .prompt(|prompt, _| prompt.model(ModelChoice::Named("stub/nope".parse().unwrap())))
        .check(no_session_was_made);
    unknown_session: Case::new("unknown-session").session("ses_000000000000000000000000");
    interrupt_text: Case::new("abort-text")
        .run_recordings(&["sigint-text"])
        .ended_by(Deed::Interrupt, |event| matches!(event, Event::StepStart))
        .differs(IN_FLIGHT);
    interrupt_tool: Case::new("abort-tool")
        .run_recordings(&["sigint-tool"])
        .ended_by(Deed::Interrupt, |event| matches!(event, Event::Text { .. }))
        .differs(AT_A_TOOL);
    kill_tool: Case::new("abort-tool")
        .run_recordings(&["sigint-tool"])
        .ended_by(Deed::Kill, |event| matches!(event, Event::Text { .. }))
        .differs(AT_A_TOOL);
    unknown_agent: Case::new("unknown-agent").warned().prompt(|prompt, _| prompt.agent("nope"));
    time_limit: Case::new("abort-silence")
        .run_recordings(&["sigint-silence"])
        .limited(Deed::TimeOut)
        .differs(IN_FLIGHT);
    idle_limit: Case::new("abort-silence").run_recordings(&["sigint-silence"]).limited(Deed::Starve).differs(IN_FLIGHT);
    drop_tool: Case::new("abort-tool")
        .run_recordings(&["sigint-tool"])
        .ended_by(Deed::Drop, |event| matches!(event, Event::Text { .. }));
}

fn no_session_was_made(stage: &Stage) {
    for serve in stage.fake.iter().flat_map(|fake| fake.log_of("serve")) {
        let lists = ["GET /config/providers", "GET /api/model"].map(|route| !serve.requests_of(route).is_empty());
        assert_eq!(lists.iter().filter(|is_requested| **is_requested).count(), 1);
        assert!(["POST /session", "POST /api/session"].iter().all(|route| serve.requests_of(route).is_empty()));
    }
}

fn the_context_arrived(stage: &Stage) {
    if let Some(model) = &stage.model {
        // Some versions request a title in parallel.
        let asked: Vec<_> = model.requests().into_iter().filter(|request| request.has_tools()).collect();
        assert!(asked[0].system_text().contains("BE-BRIEF"));
    }
    // `run` reads it from a file.
    for run in stage.fake.iter().flat_map(|fake| fake.log_of("run")) {
        let configuration: serde_json::Value = serde_json::from_str(&run.env["OPENCODE_CONFIG_CONTENT"]).unwrap();
        let file = configuration["instructions"][0].as_str().unwrap();
        assert!(!std::path::Path::new(file).exists(), "{file} is left");
    }
}

fn with_source(prompt: Prompt, stage: &Stage) -> Prompt {
    let config = ModelConfig {
        base_url: Some(
            stage.model.as_ref().map_or_else(|| "http://127.0.0.1:1/v1".to_owned(), ScriptedModel::base_url),
        ),
        api_key: Some(SecretString::from("sk-of-the-source")),
        temperature: Some(0.3),
        max_tokens: Some(512),
        top_p: Some(0.9),
        ..ModelConfig::new("sourced")
    };
    prompt.model(ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) })
}

fn the_parameters_arrived(stage: &Stage) {
    let Some(model) = &stage.model else { return };
    let request = &model.requests()[0];
    assert_eq!((request.model(), request.header("authorization")), ("sourced", Some("Bearer sk-of-the-source")));
    assert_eq!((&request.body["temperature"], &request.body["top_p"]), (&0.3.into(), &0.9.into()));
    assert_eq!(request.body["max_tokens"], 512);
}
