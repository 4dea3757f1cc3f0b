//! The public interface of the library.

use crate::stage::{LIMIT, Stage, bash, entries};
use opencode_run_scripted_model::{Answer, Part, Script, Usage, When};
use opencode_runner::{
    Event, EventItem, FailureKind, ModelConfig, ModelSource, ModelSourceType, Prompt, RunState, Runner, RunnerBuilder,
    RunnerError, TurnRecord, Undo,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn builder(stage: &Stage) -> RunnerBuilder {
    let variables = stage.sandbox.env().iter().map(|(name, value)| (name.clone(), value.clone()));
    Runner::builder().workspace(stage.sandbox.workspace()).environment(variables).opencode(&stage.opencode)
}

/// Returns the command lines of all living processes except the warm server.
fn alive_but_servers(stage: &Stage) -> Vec<String> {
    let alive = stage.sandbox.suspects().alive();
    alive.into_iter().map(|(_, command)| command).filter(|command| !command.contains(" serve ")).collect()
}

/// Waits for the running turn, with a time limit.
async fn end(runner: &Runner) -> TurnRecord {
    Arc::unwrap_or_clone(runner.wait_timeout(LIMIT).await.unwrap().unwrap())
}

#[tokio::test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
async fn turns_have_own_context_and_model() {
    let script = Script::new()
        .rule(When::agent().said("write").after_tools(0).reply(bash("echo new > made.txt")))
        .rule(When::agent().reply(Answer::text("Answer {turn}.").usage(Usage::new(100, 10))));
    let stage = Stage::new(script);
    let mut sources = ModelSource::new();
    let url = Some(stage.model.base_url());
    sources.set_model(
        ModelSourceType::Plan,
        ModelConfig { base_url: url, temperature: Some(0.7), ..ModelConfig::new("planner") },
    );
    let runner = builder(&stage).task_name("many").model("stub/gpt-4").model_source(sources).context("CONTEXT-OF-ALL");
    let runner = runner.build().await.unwrap();
    assert_eq!((runner.state(), runner.session_id()), (RunState::Idle, None));

    let first = runner.run("first").await.unwrap();
    let session = runner.session_id().unwrap();
    assert_eq!((first.state, first.output().as_str()), (RunState::Completed, "Answer 1."));
    let second =
        runner.run(Prompt::new("second").source_type(ModelSourceType::Plan).context("CONTEXT-OF-ONE")).await.unwrap();
    let third = runner.run("third").await.unwrap();
    assert_eq!((second.output().as_str(), third.output().as_str()), ("Answer 2.", "Answer 3."));
    assert_eq!(runner.session_id(), Some(session));

    let requests = stage.requests();
    assert_eq!(requests.iter().map(|request| request.model()).collect::<Vec<_>>(), ["gpt-4", "planner", "gpt-4"]);
    assert_eq!(requests[1].body["temperature"], 0.7);
    for (request, own, other) in [
        (&requests[0], "CONTEXT-OF-ALL", "CONTEXT-OF-ONE"),
        (&requests[1], "CONTEXT-OF-ONE", "CONTEXT-OF-ALL"),
        (&requests[2], "CONTEXT-OF-ALL", "CONTEXT-OF-ONE"),
    ] {
        let told = request.system_text();
        assert!(told.contains(own) && !told.contains(other), "{told}");
    }
    assert_eq!(requests[2].messages_text(), "first\nAnswer 1.\nsecond\nAnswer 2.\nthird");
    let conversation = runner.conversation();
    assert_eq!((conversation.turns.len(), conversation.usage().input), (3, 300));
    let transcript = runner.save_markdown(None).await.unwrap();
    assert_eq!(transcript, runner.task_dir().path().join("conversation.md"));
    assert_eq!(std::fs::read_to_string(transcript).unwrap(), runner.conversation_markdown());

    let made = runner.task_dir().path().join("made.txt");
    assert_eq!(runner.run("write it").await.unwrap().state, RunState::Completed);
    assert!(made.exists());
    let Undo::Done { files } = runner.undo().await.unwrap() else { panic!("there is a snapshot") };
    assert_eq!((files, made.exists()), (vec![made], false));
    runner.run("fourth").await.unwrap();
    let forgotten = stage.requests().last().unwrap().messages_text();
    assert!(forgotten.ends_with("third\nAnswer 3.\nfourth"), "{forgotten}");
    runner.close().await.unwrap();
    stage.end();
}

#[tokio::test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
async fn watching_a_turn_loses_no_output() {
    let wait = "until [ -e ../go ]; do sleep 0.1; done; echo out";
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(vec![Part::text("I wait."), bash(wait)]))
        .rule(When::agent().after_tools(1).reply("Done."));
    let stage = Stage::new(script);
    let runner = builder(&stage).model("stub/gpt-4").build().await.unwrap();
    assert!(!runner.interrupt() && !runner.kill() && runner.wait().await.is_none());
    runner.start("wait").await.unwrap();
    assert!(runner.is_running());
    let busy = runner.run("another").await.unwrap_err();
    assert!(matches!(&busy, RunnerError::Run(_)) && busy.kind() == FailureKind::Busy);
    assert!(runner.wait_timeout(Duration::from_millis(50)).await.is_err());

    let mut events = runner.events();
    let mut seen = Vec::new();
    while let Some(EventItem::Event(event)) = events.next().await {
        // A text is finished at about the time when the following tool begins.
        if !matches!(event.observed.event, Event::Text { .. } | Event::Unknown { .. }) {
            seen.push(event.observed.event.kind());
        }
        if let Event::Text { text, .. } = &event.observed.event
            && text == "I wait."
        {
            for _ in 0..2 {
                assert_eq!((runner.state(), runner.current_output().as_str()), (RunState::Running, "I wait."));
            }
            stage.write("workspace/go", "");
        }
    }
    seen.dedup();
    let steps = ["step_start", "text_delta", "tool", "step_finish", "step_start", "text_delta", "step_finish"];
    assert_eq!(seen, steps);
    let turn = end(&runner).await;
    assert_eq!((turn.state, turn.output().as_str(), turn.steps), (RunState::Completed, "I wait.\n\nDone.", 2));
    assert_eq!(runner.current_output(), turn.output());
    assert_eq!(runner.recent_events(2).len(), 2);
    runner.close().await.unwrap();
    stage.end();
}

#[tokio::test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
async fn next_turn_works_after_any_end() {
    let wait = vec![Part::text("I wait."), bash("touch at-work; setsid sleep 300 & sleep 300")];
    let script =
        Script::new().rule(When::agent().said("wait").reply(wait)).rule(When::agent().reply("You said: {last_user}"));
    let stage = Stage::new(script);
    let runner = builder(&stage).model("stub/gpt-4").build().await.unwrap();
    let at_work = runner.task_dir().path().join("at-work");
    let start = async || {
        std::fs::remove_file(&at_work).ok();
        runner.start("wait").await.unwrap();
        tokio::time::timeout(LIMIT, async {
            while !at_work.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the tool is at work");
    };
    start().await;
    assert!(runner.interrupt());
    let turn = end(&runner).await;
    assert_eq!((turn.state, turn.output().as_str()), (RunState::Interrupted, "I wait."));
    assert_eq!(alive_but_servers(&stage), Vec::<String>::new());

    start().await;
    assert!(runner.kill());
    assert_eq!(end(&runner).await.state, RunState::Interrupted);
    assert_eq!(alive_but_servers(&stage), Vec::<String>::new());

    let turn = runner.run("go on").await.unwrap();
    assert_eq!((turn.state, turn.output().as_str()), (RunState::Completed, "You said: go on"));
    assert!(stage.requests().last().unwrap().messages_text().contains("I wait."));

    start().await;
    drop(runner);
    tokio::time::timeout(LIMIT, async {
        while !stage.sandbox.suspects().alive().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the turn and its server have ended");
    assert_eq!(entries(&stage.sandbox.workspace()).len(), 1);
    stage.end();
}

/// The original's example: one turn writes code, the next one describes it.
#[tokio::test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
async fn sources_of_a_runner_share_one_server() {
    let stage = Stage::new(Script::new().rule(When::agent().reply(Answer::text("Answer {turn}."))));
    let mut sources = ModelSource::new();
    for (source, temperature, max_tokens) in [(ModelSourceType::Code, 0.2, 1000), (ModelSourceType::Write, 0.9, 40_000)]
    {
        let config = ModelConfig {
            base_url: Some(stage.model.base_url()),
            api_key: Some(format!("sk-of-{source}-0123").into()),
            temperature: Some(temperature),
            max_tokens: Some(max_tokens),
            ..ModelConfig::new(format!("model-{source}"))
        };
        sources.set_model(source, config);
    }
    let runner = builder(&stage).model_source(sources).build().await.unwrap();
    let servers = || -> Vec<_> {
        let alive = stage.sandbox.suspects().alive();
        alive.into_iter().filter(|(_, command)| command.contains(" serve ")).map(|(process, _)| process).collect()
    };
    let mut seen = Vec::new();
    for source in [ModelSourceType::Code, ModelSourceType::Write, ModelSourceType::Code] {
        let turn = runner.run(Prompt::new("hello").source_type(source)).await.unwrap();
        assert_eq!(turn.state, RunState::Completed, "{:?}", turn.failure);
        seen.push(servers());
    }
    assert!(!seen[0].is_empty() && seen.iter().all(|servers| *servers == seen[0]), "{seen:?}");
    let requests = stage.requests();
    let asked: Vec<_> = requests
        .iter()
        .map(|request| {
            let key = request.header("authorization").unwrap().to_owned();
            (request.model().to_owned(), key, request.body["temperature"].clone(), request.body["max_tokens"].clone())
        })
        .collect();
    let of = |source: &str, temperature: f64, max_tokens: u32| {
        (format!("model-{source}"), format!("Bearer sk-of-{source}-0123"), temperature.into(), max_tokens.into())
    };
    assert_eq!(asked, [of("code", 0.2, 1000), of("write", 0.9, 40_000), of("code", 0.2, 1000)]);
    assert!(requests[1].messages_text().contains("Answer 1."), "in the same session");
    runner.close().await.unwrap();
    stage.end();
}
