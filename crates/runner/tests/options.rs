//! The options of a turn override the defaults of its runner.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use opencode_run_core::mock::ScriptedExecutor;
use opencode_run_core::{Ending, Signal, TurnOptions};
use opencode_runner::{Budget, Limit, Limits, ModelName, PermissionPolicy, Prompt, Runner, RunnerBuilder};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Returns the options that an executor receives for this prompt from a runner with these settings.
async fn given(build: impl FnOnce(RunnerBuilder) -> RunnerBuilder, prompt: Prompt) -> TurnOptions {
    let folder = tempfile::tempdir().unwrap();
    let executor = ScriptedExecutor::new().signals([Signal::Ended(Ending::Stopped)]);
    let builder = build(Runner::builder().dir(folder.path()));
    let runner = builder.build_with(Arc::new(executor.clone())).await.unwrap();
    runner.run(prompt).await.unwrap();
    executor.requests().remove(0).prompt.options
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn hello() -> Prompt {
    Prompt::new("hello")
}

#[tokio::test]
async fn turn_deny_overrides_runner_allow() {
    use PermissionPolicy::{Allow, Deny};
    let shown = |options: TurnOptions| format!("{:?}", options.permission_policy());
    assert_eq!(shown(given(|b| b.permissions(Allow), hello().permissions(Deny)).await), "Deny");
    assert_eq!(shown(given(|b| b.permissions(Deny), hello().permissions(Allow)).await), "Allow");
    assert_eq!(shown(given(|b| b.permissions(Allow), hello()).await), "Allow");
    assert_eq!(shown(given(|b| b, hello()).await), "Deny");
}

#[tokio::test]
async fn turn_limits_override_runner_limits() {
    let runners = |b: RunnerBuilder| b.limits(Limits { total: Some(HOUR), idle: Some(MINUTE) });
    let limits = async |prompt| {
        let Limits { total, idle } = given(runners, prompt).await.limits();
        (total, idle)
    };
    assert_eq!(limits(hello()).await, (Some(HOUR), Some(MINUTE)));
    assert_eq!(limits(hello().timeout(MINUTE)).await, (Some(MINUTE), Some(MINUTE)));
    assert_eq!(limits(hello().timeout(Limit::Off)).await, (None, Some(MINUTE)));
    assert_eq!(limits(hello().idle_timeout(Limit::Off)).await, (Some(HOUR), None));
    assert_eq!(limits(hello().limits(Limits { idle: Some(HOUR), total: None })).await, (Some(HOUR), Some(HOUR)));
}

#[tokio::test]
async fn default_idle_limit_can_be_off() {
    let idle = |options: TurnOptions| options.limits().idle;
    let total_alone = Limits { total: Some(HOUR), ..Limits::default() };
    assert_eq!(idle(given(|b| b, hello()).await), Some(Limits::DEFAULT_IDLE));
    assert_eq!(idle(given(|b| b.limits(total_alone), hello()).await), Some(Limits::DEFAULT_IDLE));
    assert_eq!(idle(given(|b| b.limits(Limits::default()), hello()).await), Some(Limits::DEFAULT_IDLE));
    assert_eq!(idle(given(|b| b.options(TurnOptions::default()), hello()).await), Some(Limits::DEFAULT_IDLE));
    assert_eq!(idle(given(|b| b.idle_timeout(Limit::Off), hello()).await), None);
    assert_eq!(idle(given(|b| b.idle_timeout(Limit::Off), hello().idle_timeout(MINUTE)).await), Some(MINUTE));
}

#[tokio::test]
async fn turn_budget_overrides_runner_budget() {
    let cost = Budget { max_cost_usd: Some(1.0), ..Budget::default() };
    let requests = Budget { max_requests: Some(3), ..Budget::default() };
    let budget = async |prompt| given(|b| b.budget(cost), prompt).await.budget();
    assert_eq!(budget(hello()).await, cost);
    assert_eq!(budget(hello().budget(Budget::default())).await, cost);
    // A limit on requests does not remove the one on the cost.
    assert_eq!(budget(hello().budget(requests)).await, Budget { max_cost_usd: Some(1.0), ..requests });
    assert!(budget(hello().without_budget()).await.is_unlimited());
    assert_eq!(budget(hello().without_budget().budget(requests)).await, requests);
}

#[tokio::test]
async fn turn_texts_override_runner_texts() {
    let runners = |b: RunnerBuilder| b.context("be brief").agent("plan").variant("high").title("runner's");
    let texts = async |prompt| {
        let TurnOptions { context, agent, variant, title, .. } = given(runners, prompt).await;
        [context, agent, variant, title].map(Option::unwrap_or_default)
    };
    assert_eq!(texts(hello()).await, ["be brief", "plan", "high", "runner's"]);
    // An empty system prompt means none, and does not fall back to the runner's.
    assert_eq!(texts(hello().context("").agent("build").title("turn's")).await, ["", "build", "high", "turn's"]);
}

#[tokio::test]
async fn last_set_model_wins() {
    let model = async |build: fn(RunnerBuilder) -> RunnerBuilder| {
        given(build, hello()).await.model.map(|model| model.to_string()).unwrap_or_default()
    };
    assert_eq!(model(|b| b.model("a/text")).await, "a/text");
    assert_eq!(model(|b| b.model("a/text").model_choice(name("a/choice"))).await, "a/choice");
    assert_eq!(model(|b| b.model_choice(name("a/choice")).model("a/text")).await, "a/text");
}
