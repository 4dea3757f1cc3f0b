//! Model sources: the requests to the provider, and the visibility for opencode and its tools.

use crate::stage;
use opencode_run_scripted_model::{Answer, Part, RecordedRequest, Script, Usage, When};
use serde_json::{Value, json};
use std::time::Duration;

const KEY: &str = "sk-only-the-gateway-knows";

fn source(package: &str) -> String {
    format!(
        "MODEL_CODE_PROVIDER={package}\nMODEL_CODE_BASEURL={{url}}\nMODEL_CODE_APIKEY={KEY}\nMODEL_CODE_MODEL=some-model\n\
         MODEL_CODE_TEMPERATURE=0.3\nMODEL_CODE_TOP_P=0.85\nMODEL_CODE_MAX_TOKENS=999\nMODEL_CODE_PRICE_INPUT=3\n\
         MODEL_CODE_PRICE_OUTPUT=15\n"
    )
}

const ARGUMENTS: [&str; 5] = ["--model-source-type", "code", "--output-format", "json", "hello"];

fn parameters(request: &RecordedRequest, names: [&str; 3]) -> [Option<f64>; 3] {
    let body: &Value = &request.body;
    let sent = if body["generationConfig"].is_object() { &body["generationConfig"] } else { body };
    names.map(|name| sent[name].as_f64())
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn parameters_reach_every_provider() {
    for gateway in [true, false] {
        for (package, header, names) in [
            ("@ai-sdk/openai-compatible", "authorization", ["temperature", "top_p", "max_tokens"]),
            ("@ai-sdk/anthropic", "x-api-key", ["temperature", "top_p", "max_tokens"]),
            ("@ai-sdk/google", "x-goog-api-key", ["temperature", "topP", "maxOutputTokens"]),
        ] {
            let stage = stage(Script::always(Answer::text("Done.").usage(Usage::new(1000, 100))));
            let url = if package.ends_with("google") { stage.model.google_base_url() } else { stage.model.base_url() };
            stage.dot_env(&source(package).replace("{url}", &url));
            let more = if gateway { &[][..] } else { &["--no-gateway"][..] };
            let result = stage.run(more.iter().copied().chain(ARGUMENTS)).with_code(0).json();
            let context = format!("{package}, gateway: {gateway}");
            let request = stage.request();
            assert!(request.header(header).unwrap().ends_with(KEY), "{context}");
            assert_eq!(parameters(&request, names), [0.3, 0.85, 999.0].map(Some), "{context}: {}", request.body);
            let cost = result["cost"].as_f64().unwrap();
            assert!((cost - 0.0045).abs() < 1e-9, "{context}: {cost}");
            stage.end();
        }
    }
}

/// The key is in no environment, command line or file that the agent can read, and a key that it finds in a file of the
/// user is redacted in everything that we print or write.
#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn key_reaches_the_provider_and_no_tool() {
    // The command does not contain the key itself, or it would find itself.
    let look = "printenv | grep -c OPENCODE_CONFIG_CONTENT; { printenv; cat /proc/*/environ /proc/*/cmdline; \
                grep -ra 'only-the-[g]ateway-knows' $HOME . $TMPDIR; } 2>/dev/null | grep -ac 'only-the-[g]ateway-knows'; \
                cat ../../keys/named.env";
    let shell = |command: &str| Part::tool_call("shell", json!({ "command": command }));
    let pieces = Part::chunked_text(format!("It is {KEY}, I think."), 3, Duration::from_millis(1));
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(shell(look)))
        .rule(When::agent().after_tools(1).reply(vec![pieces]));
    let stage = stage(script);
    let url = stage.model.base_url();
    let text = source("@ai-sdk/openai-compatible").replace("{url}", &url);
    let file = stage.write("keys/named.env", &text);
    let named = ["--config", file.to_str().unwrap(), "-vvv", "--save-markdown=../talk.md", "--permission", "allow"];
    let arguments = ["--model-source-type", "code", "--output-format", "stream-json", "hello"];
    let done = stage.run(named.into_iter().chain(arguments)).with_code(0);
    let requests = stage.requests();
    assert_eq!((requests.len(), requests[0].header("authorization")), (2, Some(&*format!("Bearer {KEY}"))));
    let seen = requests[1].messages_text();
    assert!(seen.contains("1\\n0\\n") || seen.contains("1\n0\n"), "the tool did not look, or found the key: {seen}");
    assert!(seen.contains(KEY), "the agent read the file that holds it");
    let result: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    assert!(result.to_string().contains("It is [redacted], I think."), "{result}");
    let talk = std::fs::read_to_string(stage.sandbox.path("talk.md")).unwrap();
    assert!(talk.contains("MODEL_CODE_APIKEY=[redacted]"), "{talk}");
    for text in [&done.stdout, &done.stderr, &talk] {
        assert!(!text.contains(KEY), "{text}");
    }
    stage.end();
}

/// A PNG of one pixel.
const PIXEL: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x0d\
                       IDATx\xdacd\xf8\xcfP\x0f\x00\x03\x86\x01\x80Z4}k\x00\x00\x00\x00IEND\xaeB`\x82";

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn image_needs_a_capable_model() {
    let stage = stage(Script::always("I see."));
    std::fs::write(stage.sandbox.path("workspace/a.png"), PIXEL).unwrap();
    for (input, is_sent) in [("", false), ("MODEL_CODE_INPUT=text,image\n", true)] {
        stage.dot_env(&format!("{}{input}", source("@ai-sdk/openai-compatible")));
        let result = stage.run(["--file", "a.png"].into_iter().chain(ARGUMENTS)).with_code(0).json();
        assert_eq!(result["warnings"].as_array().unwrap().is_empty(), is_sent, "{input}: {result}");
        let request = stage.requests().pop().unwrap();
        assert_eq!(request.body.to_string().contains("data:image/png"), is_sent, "{input}: {}", request.body);
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn budget_ends_a_turn() {
    let script = Script::always(
        Answer::new([Part::tool_call("shell", json!({"command": "true"}))]).usage(Usage::new(1000, 100)),
    );
    let stage = stage(script);
    stage.dot_env(&source("@ai-sdk/openai-compatible"));
    let error = stage.run(["--max-requests", "3"].into_iter().chain(ARGUMENTS)).with_code(1).json()["error"].take();
    assert_eq!((&error["kind"], stage.requests().len()), (&json!("limit"), 3), "{error}");
    stage.end();
}
