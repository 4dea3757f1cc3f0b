//! The servers of a runner with several model sources.

use crate::support::{Case, PLAIN, PLAIN2};
use opencode_run_tests::serve_script::Serving;
use opencode_runner::{ModelConfig, ModelSource, ModelSourceType, Prompt, RunState, Runner};
use std::path::Path;

/// Runs a turn on `code`, one on `write`, and one on `code` in one session, and returns how many turns completed on how many servers.
async fn servers(gateway: bool, write: ModelConfig) -> (usize, usize) {
    let case = Case::new(|script, _| script.on("serve", [Serving::replaying(PLAIN).act()]));
    servers_of(&case, case.fake.executable(), gateway, write).await
}

async fn servers_of(case: &Case, opencode: &Path, gateway: bool, write: ModelConfig) -> (usize, usize) {
    let mut sources = ModelSource::new();
    sources.set_model(ModelSourceType::Code, config("coder"));
    sources.set_model(ModelSourceType::Write, write);
    let environment = case.sandbox.env().iter().map(|(name, value)| (name.clone(), value.clone()));
    let builder = Runner::builder().workspace(case.sandbox.workspace()).opencode(opencode);
    let runner = builder.environment(environment).gateway(gateway).model_source(sources).build().await.unwrap();
    let mut completed = 0;
    for source in [ModelSourceType::Code, ModelSourceType::Write, ModelSourceType::Code] {
        let turn = runner.run(Prompt::new("hello").source_type(source)).await;
        completed += usize::from(turn.is_ok_and(|turn| turn.state == RunState::Completed));
    }
    runner.close().await.unwrap();
    case.sandbox.assert_nothing_alive();
    (completed, case.fake.log_of("serve").len())
}

fn config(model: &str) -> ModelConfig {
    ModelConfig {
        base_url: Some("http://127.0.0.1:1/v1".to_owned()),
        api_key: Some(format!("sk-of-{model}-0123").into()),
        ..ModelConfig::new(model)
    }
}

#[tokio::test]
async fn sources_of_a_runner_share_one_server() {
    assert_eq!(servers(true, config("writer")).await, (3, 1));
}

#[tokio::test]
async fn sources_share_one_server_of_opencode_2() {
    let second = Case::serving2(Serving::replaying(PLAIN2));
    // The cached version is that of the link's target, which other tests have as another version.
    let copy = second.sandbox.path("copy/opencode");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    for name in ["opencode", "opencode.script"] {
        std::fs::copy(second.fake.bin_dir().join(name), copy.with_file_name(name)).unwrap();
    }
    assert_eq!(servers_of(&second, &copy, true, config("writer")).await, (3, 1));
    let models = second.fake.log_of("serve")[0].requests_of("POST /api/session/*/model").len();
    assert_eq!(models, 2, "each further turn names its model");
}

#[tokio::test]
async fn sources_without_gateway_have_a_server_each() {
    let (_, servers) = servers(false, config("writer")).await;
    assert_eq!(servers, 2);
}

#[tokio::test]
async fn unusable_source_leaves_the_other_working() {
    let unusable = ModelConfig { base_url: Some("ftp://x/v1".to_owned()), ..config("writer") };
    assert_eq!(servers(true, unusable).await, (2, 1));
}
