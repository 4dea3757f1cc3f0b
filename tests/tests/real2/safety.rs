//! Only the requested model is used: opencode 2 falls back to a model that it hosts itself if a configuration is
//! broken.

use crate::stage;
use crate::stage::Stage;
use opencode_run_scripted_model::Script;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A proxy that records requests, and connects to no host.
struct Network {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Network {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).ok();
                record.lock().unwrap().push(line);
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").ok();
            }
        });
        Self { address, asked }
    }

    /// Returns the requests for models that opencode hosts.
    fn hosted(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|line| line.contains("opencode.ai")).cloned().collect()
    }
}

/// Returns a stage with the bundled catalog and a network that only records.
fn recorded() -> (Stage, Network) {
    let mut stage = stage(Script::always("Hello."));
    let network = Network::new();
    stage.sandbox.unset("OPENCODE_MODELS_PATH");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        stage.sandbox.set(name, network.address.clone());
    }
    (stage, network)
}

const STUB: &str = r#""provider": {"stub": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "{url}", "apiKey": "sk"}, "models": {"gpt-4": {}}}}"#;

/// Breaks the configuration in one way.
fn break_it(stage: &mut Stage, way: &str) {
    let stub = STUB.replace("{url}", &stage.model.base_url());
    let with = |more: &str| format!("{{{stub}{more}}}");
    match way {
        "text that is not JSON" => stage.sandbox.set("OPENCODE_CONFIG_CONTENT", "this is no json"),
        "a list" => stage.sandbox.set("OPENCODE_CONFIG_CONTENT", "[]"),
        "a malformed provider" => stage.sandbox.set("OPENCODE_CONFIG_CONTENT", r#"{"provider": {"stub": 7}}"#),
        "provider beside providers" => {
            stage.sandbox.set("OPENCODE_CONFIG_CONTENT", with(r#", "providers": {"x": {}}"#));
        }
        "a model that does not exist" => {
            stage.sandbox.set("OPENCODE_CONFIG_CONTENT", with(r#", "model": "stub/nope""#));
        }
        "no model" => stage.sandbox.set("OPENCODE_CONFIG_CONTENT", with("")),
        "a file that is not JSON" => {
            stage.sandbox.set("OPENCODE_CONFIG_CONTENT", with(""));
            stage.write("config/opencode.json", "{{{");
            let directory = stage.sandbox.path("config");
            stage.sandbox.set("OPENCODE_CONFIG_DIR", directory);
        }
        "a file with a model of another type" => {
            stage.sandbox.set("OPENCODE_CONFIG_CONTENT", with(""));
            stage.write("config/opencode.json", r#"{"model": 7}"#);
            let directory = stage.sandbox.path("config");
            stage.sandbox.set("OPENCODE_CONFIG_DIR", directory);
        }
        other => panic!("{other}"),
    }
}

const WAYS: [&str; 8] = [
    "text that is not JSON",
    "a list",
    "a malformed provider",
    "provider beside providers",
    "a model that does not exist",
    "no model",
    "a file that is not JSON",
    "a file with a model of another type",
];

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn prompt_is_not_sent_with_broken_configuration() {
    for way in WAYS {
        let (mut stage, network) = recorded();
        break_it(&mut stage, way);
        let done = stage.run(["--output-format", "json", "SECRET"]).with_code(3);
        let error = done.json()["error"].take();
        assert_eq!(error["kind"], "config", "{way}: {error}");
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains("--model") || hint.contains("correct the variable"), "{way}: {error}");
        assert_eq!((network.hosted(), stage.requests().len()), (Vec::new(), 0), "{way}");
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn only_the_named_model_is_requested() {
    for way in WAYS {
        let (mut stage, network) = recorded();
        break_it(&mut stage, way);
        let done = stage.run(["-m", "stub/gpt-4", "--output-format", "json", "SECRET"]);
        let asked = stage.requests().iter().filter(|request| request.model() == "gpt-4").count();
        assert_eq!(asked, usize::from(done.code == 0), "{way}: {done:?}");
        assert_eq!(network.hosted(), Vec::<String>::new(), "{way}");
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn source_is_used_despite_broken_configuration() {
    for way in ["no model", "a file that is not JSON", "a model that does not exist"] {
        let (mut stage, network) = recorded();
        break_it(&mut stage, way);
        stage.dot_env("MODEL_CODE_BASEURL={url}\nMODEL_CODE_APIKEY=sk-1\nMODEL_CODE_MODEL=some-model\n");
        let result =
            stage.run(["--model-source-type", "code", "--output-format", "json", "SECRET"]).with_code(0).json();
        assert_eq!(result["output"], json!("Hello."), "{way}");
        assert_eq!((stage.request().model(), network.hosted().len()), ("some-model", 0), "{way}");
        stage.end();
    }
}

/// Proves that the recording works: a hosted model that is requested by name is requested.
#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn named_hosted_model_is_requested() {
    let (mut stage, network) = recorded();
    break_it(&mut stage, "no model");
    let models = stage.run(["models"]).with_code(0).stdout;
    let hosted = models.split_whitespace().find(|word| word.starts_with("opencode/")).unwrap();
    stage.run(["-m", hosted, "--timeout", "12s", "hello"]);
    assert!(!network.hosted().is_empty());
    stage.end();
}
