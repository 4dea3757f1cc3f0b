//! Checks the endpoints of the model sources: connection, key, model.

use super::finding::Finding;
use opencode_run_core::{ModelConfig, ModelSourceType};
use opencode_run_process::{ModelList, ProbeError, listed_models, suggestions};
use opencode_runner::ModelSource;
use std::sync::Arc;
use std::time::Duration;

const CHECK: &str = "endpoints";
/// The timeout of a probe.
const LIMIT: Duration = Duration::from_secs(10);

/// Probes all endpoints concurrently, or reports that none was probed.
pub(super) async fn check(sources: &ModelSource, offline: bool) -> Vec<Finding> {
    let reached: Vec<_> = sources.iter().filter(|(_, config)| config.base_url.is_some()).collect();
    if offline && !reached.is_empty() {
        return vec![Finding::ok(CHECK, "not probed because of --offline")];
    }
    let asked: Vec<_> = reached
        .into_iter()
        .map(|(source_type, config)| {
            let config = Arc::clone(config);
            tokio::spawn(async move { judge(source_type, &config, &listed_models(&config, LIMIT).await) })
        })
        .collect();
    let mut findings = Vec::new();
    for finding in asked {
        findings.extend(finding.await.ok());
    }
    findings
}

/// Returns the finding for a probe. It never contains the key, which is redacted in the list and absent from
/// errors.
fn judge(source_type: ModelSourceType, config: &ModelConfig, answer: &Result<ModelList, ProbeError>) -> Finding {
    let place = format!("{source_type}: {}", config.host().unwrap_or("the endpoint"));
    let key = |name: &str| format!("MODEL_{}_{name}", source_type.as_str().to_uppercase());
    let base_url = key("BASEURL");
    let error = match answer {
        Ok(list) => return judge_list(&place, config, list, &key("MODEL")),
        Err(error) => error,
    };
    let fix = match error {
        ProbeError::Unusable(_) => "correct the source".to_owned(),
        ProbeError::Proxy => "correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY".to_owned(),
        ProbeError::UnknownHost(_) => format!("correct {base_url}, or check the network"),
        ProbeError::Refused => format!("start the server, or correct the port in {base_url}"),
        ProbeError::NoConnection { by_proxy: true } => {
            "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY; hosts in NO_PROXY are reached directly".to_owned()
        }
        ProbeError::NoConnection { .. } | ProbeError::Broken => {
            format!("check the network, and the scheme and port of {base_url}")
        }
        ProbeError::TimedOut => "check the network, or try again later".to_owned(),
        ProbeError::Certificate(_) => {
            "if you trust it, set NODE_EXTRA_CA_CERTS or SSL_CERT_FILE to a file with its CA certificate".to_owned()
        }
        ProbeError::Redirect => format!("set {base_url} to the target of the redirect"),
        ProbeError::Key(status) => {
            let (message, fix) = if config.api_key.is_some() {
                (
                    format!("{place} rejects the key (status {status})"),
                    format!(
                        "correct {}, or set {} if the endpoint expects another header",
                        key("APIKEY"),
                        key("APIKEY_HEADER")
                    ),
                )
            } else {
                (format!("{place} requires a key (status {status})"), format!("set {}", key("APIKEY")))
            };
            return Finding::error(CHECK, message, fix);
        }
        ProbeError::NoList(status) => {
            let message =
                format!("{place} was reached; it lists no models (status {status}), so key and model were not checked");
            return Finding::note(CHECK, message, format!("if turns fail, check the path in {base_url} first"));
        }
        ProbeError::Status(status) => {
            let message = format!("{place} was reached, but answers with the status {status}");
            return Finding::warning(CHECK, message, "try again later, or ask its operator");
        }
        _ => "check the message".to_owned(),
    };
    Finding::error(CHECK, format!("{place}: {error}"), fix)
}

fn judge_list(place: &str, config: &ModelConfig, list: &ModelList, variable: &str) -> Finding {
    let model = config.model.strip_prefix("models/").unwrap_or(&config.model);
    if list.names().iter().any(|name| name == model) {
        return Finding::ok(CHECK, format!("{place} answers, accepts the key, and lists {model}"));
    }
    let near = suggestions(model, list.names().iter().map(String::as_str));
    let near = if near.is_empty() { String::new() } else { format!("; similar: {}", near.join(", ")) };
    if list.is_complete() {
        let fix = format!("correct {variable}, unless the provider accepts names that it does not list");
        Finding::warning(CHECK, format!("{place} answers, but does not list {model}{near}"), fix)
    } else {
        Finding::ok(
            CHECK,
            format!("{place} answers and accepts the key; {model} is not on the first page of its list{near}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingStatus;
    use super::*;
    use opencode_run_core::ProviderPackage;
    use opencode_run_scripted_model::{Script, ScriptedModel};

    const KEY: &str = "sk-endpoint-1234567890";

    fn config(base_url: &str, model: &str) -> ModelConfig {
        ModelConfig { base_url: Some(base_url.to_owned()), api_key: Some(KEY.into()), ..ModelConfig::new(model) }
    }

    async fn finding(config: ModelConfig) -> Finding {
        let sources = [(ModelSourceType::Code, config)].into_iter().collect();
        let findings = check(&sources, false).await;
        assert_eq!(findings.len(), 1);
        assert!(!format!("{findings:?}").contains(KEY));
        findings[0].clone()
    }

    #[tokio::test]
    async fn model_is_looked_up_in_each_list() {
        let script = Script::new().model("large").model("large-2");
        let server = ScriptedModel::start(script).unwrap();
        for (url, provider) in [
            (server.base_url(), "@ai-sdk/openai-compatible"),
            (server.base_url(), "@ai-sdk/anthropic"),
            (server.google_base_url(), "@ai-sdk/google"),
        ] {
            let of = |model: &str| ModelConfig { provider: ProviderPackage::new(provider), ..config(&url, model) };
            let there = finding(of("large")).await;
            assert_eq!((there.status, there.fix.as_deref()), (FindingStatus::Ok, None), "{there:?}");
            assert!(there.message.ends_with("answers, accepts the key, and lists large"), "{}", there.message);
            let missing = finding(of("larg")).await;
            assert_eq!(missing.status, FindingStatus::Warning);
            assert!(missing.message.ends_with("does not list larg; similar: large, large-2"), "{}", missing.message);
            assert!(missing.fix.unwrap().contains("MODEL_CODE_MODEL"));
        }
    }

    #[tokio::test]
    async fn unreachable_endpoint_is_an_error() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let finding = finding(config(&format!("http://{nobody}/v1"), "m")).await;
        assert_eq!(finding.status, FindingStatus::Error);
        assert!(
            finding.message.starts_with(&format!("code: {nobody}: the connection was refused")),
            "{}",
            finding.message
        );
        assert!(finding.fix.unwrap().contains("MODEL_CODE_BASEURL"));
    }

    #[test]
    fn each_error_has_a_fix() {
        let config = config("https://api.example.com/v1", "m");
        let judged = |error| judge(ModelSourceType::Plan, &config, &Err(error));
        for (error, status, fix) in [
            (ProbeError::UnknownHost("api.example.com".to_owned()), FindingStatus::Error, "MODEL_PLAN_BASEURL"),
            (ProbeError::NoConnection { by_proxy: false }, FindingStatus::Error, "MODEL_PLAN_BASEURL"),
            (ProbeError::NoConnection { by_proxy: true }, FindingStatus::Error, "HTTPS_PROXY"),
            (ProbeError::Certificate("it has expired"), FindingStatus::Error, "NODE_EXTRA_CA_CERTS"),
            (ProbeError::TimedOut, FindingStatus::Error, "later"),
            (ProbeError::Redirect, FindingStatus::Error, "MODEL_PLAN_BASEURL"),
            (ProbeError::Key(401), FindingStatus::Error, "MODEL_PLAN_APIKEY,"),
            (ProbeError::NoList(404), FindingStatus::Ok, "MODEL_PLAN_BASEURL"),
            (ProbeError::Status(429), FindingStatus::Warning, "later"),
        ] {
            let finding = judged(error);
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.message.starts_with("plan: api.example.com"), "{finding:?}");
            assert!(finding.fix.as_ref().is_some_and(|text| text.contains(fix)), "{finding:?}");
        }
    }

    #[test]
    fn missing_key_is_reported() {
        let config = ModelConfig { api_key: None, ..config("https://api.example.com/v1", "m") };
        let finding = judge(ModelSourceType::Plan, &config, &Err(ProbeError::Key(401)));
        assert_eq!(finding.fix.as_deref(), Some("set MODEL_PLAN_APIKEY"));
    }

    #[tokio::test]
    async fn offline_sends_no_request() {
        let sources: ModelSource =
            [(ModelSourceType::Code, config("http://127.0.0.1:1/v1", "m"))].into_iter().collect();
        let findings = check(&sources, true).await;
        assert_eq!(findings.len(), 1);
        assert!(findings[0].status == FindingStatus::Ok && findings[0].message.contains("--offline"), "{findings:?}");
        let known: ModelSource = [(ModelSourceType::Code, ModelConfig::new("a/b"))].into_iter().collect();
        assert_eq!(check(&known, false).await, []);
    }
}
