//! Model sources with other provider packages, and models that opencode knows by itself.

use crate::stage::Stage;
use opencode_run_scripted_model::{Answer, Protocol, Script, Usage};
use serde_json::json;

fn answering() -> Script {
    Script::always(Answer::text("Done.").usage(Usage::new(1000, 100)))
}

fn source(package: &str) -> String {
    format!(
        "MODEL_CODE_PROVIDER={package}\nMODEL_CODE_BASEURL={{url}}\nMODEL_CODE_APIKEY=sk-of-code\n\
         MODEL_CODE_MODEL=some-model\nMODEL_CODE_TEMPERATURE=0.3\nMODEL_CODE_TOP_P=0.85\nMODEL_CODE_MAX_TOKENS=40000\n\
         MODEL_CODE_CONTEXT=200000\nMODEL_CODE_PRICE_INPUT=3\nMODEL_CODE_PRICE_OUTPUT=15\n"
    )
}

const COST: f64 = (1000.0 * 3.0 + 100.0 * 15.0) / 1e6;

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn anthropic_source_reaches_the_model() {
    let stage = Stage::new(answering());
    stage.dot_env(&source("@ai-sdk/anthropic"));
    let arguments = ["--model-source-type", "code", "--output-format", "json", "--context", "CONTEXT", "hello"];
    let done = stage.run(arguments).with_code(0);
    let request = stage.request();
    assert_eq!((request.protocol, request.model()), (Some(Protocol::Anthropic), "some-model"));
    assert_eq!(request.header("x-api-key"), Some("sk-of-code"));
    for (parameter, value) in [("temperature", 0.3), ("top_p", 0.85), ("max_tokens", 40_000.0)] {
        assert_eq!(request.body[parameter].as_f64(), Some(value), "{parameter} in {}", request.body);
    }
    assert!(request.system_text().contains("CONTEXT"));
    let cost = done.json()["cost"].as_f64().unwrap();
    assert!((cost - COST).abs() < 1e-9, "{cost}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn google_source_reaches_the_model() {
    let stage = Stage::new(answering());
    stage.dot_env(&source("@ai-sdk/google").replace("{url}", &stage.model.google_base_url()));
    let done = stage.run(["--model-source-type", "code", "--output-format", "json", "hello"]).with_code(0);
    let request = stage.request();
    assert_eq!((request.protocol, request.model()), (Some(Protocol::Google), "some-model"));
    assert_eq!(request.header("x-goog-api-key"), Some("sk-of-code"));
    let body = &request.body["generationConfig"];
    for (parameter, value) in [("temperature", 0.3), ("topP", 0.85), ("maxOutputTokens", 40_000.0)] {
        assert_eq!(body[parameter].as_f64(), Some(value), "{parameter} in {body}");
    }
    let cost = done.json()["cost"].as_f64().unwrap();
    assert!((cost - COST).abs() < 1e-9, "{cost}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn gateway_restores_dropped_parameters() {
    let stage = Stage::new(answering());
    for package in ["@ai-sdk/anthropic", "@ai-sdk/google"] {
        let url = if package.ends_with("google") { stage.model.google_base_url() } else { stage.model.base_url() };
        stage.write("named.env", &(source(package).replace("{url}", &url) + "MODEL_CODE_TOP_K=5\n"));
        let arguments = ["--config", "../named.env", "--model-source-type", "code", "hello"];
        let refused = stage.run(arguments.into_iter().chain(["--no-gateway"])).with_code(3);
        assert!(refused.stderr.contains("TOP_K") && refused.stderr.contains("--no-gateway"), "{}", refused.stderr);
        stage.run(arguments).with_code(0);
    }
    let requests = stage.requests();
    assert_eq!((requests[0].body["top_k"].as_f64(), requests.len()), (Some(5.0), 2));
    assert_eq!(requests[1].body["generationConfig"]["topK"].as_f64(), Some(5.0));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn source_without_url_configures_known_model() {
    let mut stage = Stage::new(answering());
    stage.with_catalogue();
    stage.configure(&json!({"provider": {"deepseek": {"options": {"baseURL": stage.model.base_url()}}}}));
    stage.sandbox.set("DEEPSEEK_API_KEY", "sk-of-deepseek");
    let models = stage.sandbox.command(&stage.opencode).args(["models", "deepseek"]).output().unwrap();
    let models = String::from_utf8(models.stdout).unwrap();
    let model = models.lines().find(|line| line.starts_with("deepseek/")).expect("opencode knows deepseek");
    stage.dot_env(&format!("MODEL_CODE_MODEL={model}\nMODEL_CODE_TEMPERATURE=0.3\nMODEL_CODE_MAX_TOKENS=1234\n"));
    let done = stage.run(["--model-source-type", "code", "--output-format", "json", "hello"]).with_code(0);
    let request = stage.request();
    assert_eq!(format!("deepseek/{}", request.model()), model);
    assert_eq!(request.header("authorization"), Some("Bearer sk-of-deepseek"));
    assert_eq!(request.body["temperature"].as_f64(), Some(0.3), "{}", request.body);
    assert_eq!(request.body["max_tokens"], 1234, "{}", request.body);
    assert!(done.json()["cost"].as_f64().unwrap() > 0.0, "opencode knows the price");
    stage.end();
}
