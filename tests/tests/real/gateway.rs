//! The gateway between the real opencode and the model: measures the assumptions of the gateway that a release could
//! change.

use crate::stage::{Stage, bash};
use opencode_run_gateway::{
    Gateway, Lease, LimitReached, Parameters, Protocol, Route, Upstream, UsageBudget, UsageLimits,
};
use opencode_run_scripted_model::{Answer, Part, RecordedRequest, Script, Usage, When};
use serde_json::{Value, json};

const KEY: &str = "sk-only-the-gateway-knows";

/// The headers in which opencode names the session, for any provider, and for one whose id has opencode's own prefix.
const PROVIDERS: [(&str, &str); 2] = [("somewhere", "x-session-id"), ("opencode-run-code", "x-opencode-session")];

/// Returns a gateway before the stage's model, and configures opencode to use it as this provider.
struct Behind {
    path: Route,
    account: UsageBudget,
    _admission: Lease,
}

impl Behind {
    fn new(stage: &mut Stage, provider: &str, limits: UsageLimits) -> Self {
        let upstream = Upstream::new(stage.model.base_url(), Protocol::OpenAiCompatible);
        Self::of_package(stage, provider, "@ai-sdk/openai-compatible", upstream, limits)
    }

    fn of_package(stage: &mut Stage, provider: &str, package: &str, upstream: Upstream, limits: UsageLimits) -> Self {
        let gateway = Gateway::start().unwrap();
        let upstream = Upstream { credential: Some(KEY.into()), ..upstream };
        let path = gateway.open(&upstream).unwrap();
        let account = UsageBudget::new(limits).unwrap();
        let admission = path.lease_to_anyone(&account).unwrap();
        stage.configure(&json!({"provider": {provider: {
            "npm": package,
            "options": {"baseURL": path.base_url(), "apiKey": path.placeholder()},
            "models": {"gpt-4": {"name": "gpt-4"}},
        }}}));
        Self { path, account, _admission: admission }
    }
}

fn turn(stage: &Stage, provider: &str, code: i32) -> Value {
    let model = format!("{provider}/gpt-4");
    stage.run(["-m", &model, "--output-format", "json", "hello"]).with_code(code).json()
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn tools_do_not_see_the_key() {
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(bash("printenv; cat /proc/$PPID/environ /proc/$PPID/cmdline")))
        .rule(When::agent().after_tools(1).reply(Answer::text("Done.").usage(Usage::new(100, 10))));
    let mut stage = Stage::new(script);
    let behind = Behind::new(&mut stage, "somewhere", UsageLimits::default());
    let result = turn(&stage, "somewhere", 0);
    assert_eq!(result["output"], "Done.");
    let requests = stage.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {KEY}")));
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    let output = requests[1].messages_text();
    assert!(output.contains(behind.path.placeholder()) && !output.contains(KEY), "the tool did not look");
    let traffic = behind.account.traffic();
    assert_eq!((traffic.requests, traffic.failed, traffic.running, traffic.tokens.output), (2, 0, 0, 10));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn key_and_parameters_reach_other_providers() {
    let parameters = Parameters { temperature: Some(0.3), top_p: Some(0.85), top_k: Some(7), max_tokens: Some(999) };
    for (protocol, package, header) in [
        (Protocol::Anthropic, "@ai-sdk/anthropic", "x-api-key"),
        (Protocol::Google, "@ai-sdk/google", "x-goog-api-key"),
    ] {
        let script = Script::always(Answer::text("Done.").usage(Usage::new(100, 10)));
        let mut stage = Stage::new(script);
        let is_google = protocol == Protocol::Google;
        let url = if is_google { stage.model.google_base_url() } else { stage.model.base_url() };
        let upstream = Upstream { parameters, ..Upstream::new(url, protocol) };
        let behind = Behind::of_package(&mut stage, "somewhere", package, upstream, UsageLimits::default());
        assert_eq!(turn(&stage, "somewhere", 0)["output"], "Done.");
        let request = stage.request();
        assert_eq!(request.header(header), Some(KEY));
        let sent = if is_google { &request.body["generationConfig"] } else { &request.body };
        let names = if is_google {
            ["temperature", "topP", "topK", "maxOutputTokens"]
        } else {
            ["temperature", "top_p", "top_k", "max_tokens"]
        };
        assert_eq!(names.map(|name| sent[name].as_f64()), [0.3, 0.85, 7.0, 999.0].map(Some), "{}", request.body);
        let traffic = behind.account.traffic();
        assert_eq!((traffic.tokens.input, traffic.tokens.output, traffic.unreported), (100, 10, 0));
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn requests_name_session_and_parent() {
    let delegate =
        Part::tool_call("task", json!({"description": "Look", "prompt": "look around", "subagent_type": "general"}));
    let script = Script::new()
        .rule(When::agent().said("look around").reply("I have looked."))
        .rule(When::agent().after_tools(0).reply(delegate))
        .rule(When::agent().after_tools(1).reply("Done."));
    let mut is_older = false;
    for (provider, header) in PROVIDERS {
        let mut stage = Stage::new(script.clone());
        let _behind = Behind::new(&mut stage, provider, UsageLimits::default());
        let result = turn(&stage, provider, 0);
        let session = result["session_id"].as_str().unwrap();
        let requests = stage.requests();
        let named = |request: &RecordedRequest| {
            request.header(header).or(request.header("x-session-affinity")).map(str::to_owned)
        };
        let (children, own): (Vec<_>, Vec<_>) =
            requests.iter().partition(|request| request.last_user_text().contains("look around"));
        assert_eq!((children.len(), own.len()), (1, 2), "{requests:#?}");
        for request in own {
            assert_eq!((named(request).as_deref(), request.header("x-parent-session-id")), (Some(session), None));
        }
        // Before 1.18 the session is in the older header, and the parent is sent only to providers with other names.
        is_older |= named(children[0]).is_some() && children[0].header(header).is_none();
        let parent = (!is_older || provider == "somewhere").then_some(session);
        assert_eq!(children[0].header("x-parent-session-id"), parent, "{provider}");
        assert!(named(children[0]).is_some_and(|child| child.starts_with("ses_") && child != session));
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn reached_limit_is_not_retried() {
    // The value contains the text of a transient error, which opencode would retry if it were in the message.
    let usage = Usage::new(500, 3);
    let script = Script::new().rule(When::agent().reply(Answer::new([bash("true")]).usage(usage)));
    for (limits, reached) in [
        (UsageLimits { max_requests: Some(1), ..UsageLimits::default() }, LimitReached::Requests { max: 1, value: 1 }),
        (
            UsageLimits { max_tokens_total: Some(500), ..UsageLimits::default() },
            LimitReached::Tokens { max: 500, value: 503 },
        ),
    ] {
        let mut stage = Stage::new(script.clone());
        let behind = Behind::new(&mut stage, "somewhere", limits);
        let result = turn(&stage, "somewhere", 1);
        assert!(result["error"]["message"].as_str().unwrap().contains("the limit on the"), "{result}");
        assert_eq!(behind.account.limit_reached(), Some(reached));
        assert_eq!((stage.requests().len(), behind.account.traffic().refused), (1, 1));
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn redirect_is_not_retried() {
    let redirect = opencode_run_scripted_model::ErrorReply::new(307).header("location", "http://127.0.0.1:1/");
    let mut stage = Stage::new(Script::always(redirect));
    let behind = Behind::new(&mut stage, "somewhere", UsageLimits::default());
    let result = turn(&stage, "somewhere", 1);
    assert!(result["error"]["message"].as_str().unwrap().contains("redirect"), "{result}");
    assert_eq!((stage.requests().len(), behind.account.traffic().failed), (1, 1));
    stage.end();
}
