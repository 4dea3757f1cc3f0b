//! Reports the secrets that the agent can read: its shell commands run as the user, with opencode's environment.

use super::finding::Finding;
use super::sources::CheckedSources;
use crate::surroundings::others_can_enter;
use etcetera::BaseStrategy;
use opencode_run_core::ExposeSecret;
use opencode_run_process::{holds_credentials, is_inherited};
use opencode_runner::ModelSource;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const CHECK: &str = "what the agent can see";
/// The minimum length of a key: shorter ones would match unrelated text.
const MIN_KEY_CHARS: usize = 8;

/// Reports the secrets that the agent could read, each only by its location.
pub(super) fn check(sources: &CheckedSources, no_gateway: bool) -> Vec<Finding> {
    let variables = std::env::vars_os()
        .filter(|(name, _)| is_inherited(name))
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    let mut findings = Vec::new();
    findings.extend(in_environment(variables, &sources.source));
    findings.extend(in_files_of_keys(&sources.key_files.0));
    if let Ok(places) = etcetera::choose_base_strategy() {
        findings.extend(in_logins(&places.data_dir().join("opencode")));
        findings.extend(in_data(&places.data_dir().join("opencode")));
        findings.extend(in_configuration(&[places.config_dir().join("opencode"), PathBuf::from(".")]));
    }
    let seen_nothing = findings.is_empty();
    findings.extend(by_opencode(&sources.source, no_gateway));
    if seen_nothing {
        findings
            .push(Finding::ok(CHECK, "no secret in the environment, no login of opencode's own, no file with a key"));
    }
    findings
}

/// Returns a finding for secrets in the environment that opencode inherits.
fn in_environment(variables: impl Iterator<Item = (String, String)>, sources: &ModelSource) -> Option<Finding> {
    let keys: Vec<&str> = sources
        .iter()
        .filter_map(|(_, config)| config.api_key.as_ref())
        .map(ExposeSecret::expose_secret)
        .filter(|key| key.len() >= MIN_KEY_CHARS)
        .collect();
    let is_secret = |name: &str, value: &str| {
        !value.is_empty()
            && (names_a_secret(name) || holds_a_password(value) || keys.iter().any(|key| value.contains(key)))
    };
    let mut names: Vec<_> = variables.filter(|(name, value)| is_secret(name, value)).map(|(name, _)| name).collect();
    names.sort();
    (!names.is_empty()).then(|| {
        Finding::warning(
            CHECK,
            format!(
                "these variables of the environment, which opencode inherits, look like secrets: {}",
                names.join(", ")
            ),
            "unset those that the task does not need; keep the key of a model in a model source, where the agent cannot read it",
        )
    })
}

/// Returns a finding for files that contain keys of model sources.
fn in_files_of_keys(files: &[PathBuf]) -> Option<Finding> {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    (!files.is_empty()).then(|| {
        Finding::warning(
            CHECK,
            format!("keys of model sources, in {}: the agent runs as you, and can read what you can read", files.join(", ")),
            "let a password manager print them (MODEL_<TYPE>_APIKEY_COMMAND), or run tasks that you do not trust as another user",
        )
    })
}

/// Returns findings for the credentials that opencode stores after `opencode auth login` and logins to MCP servers.
fn in_logins(data: &Path) -> Vec<Finding> {
    let logins = ["auth.json", "mcp-auth.json"].map(|name| data.join(name));
    let found = logins.iter().filter(|file| file.is_file()).map(|file| {
        let whose = std::fs::read(file).ok();
        let whose = whose.and_then(|text| serde_json::from_slice::<Map<String, Value>>(&text).ok());
        let whose: Vec<_> = whose.into_iter().flatten().map(|(name, _)| name).collect();
        let whose = if whose.is_empty() { String::new() } else { format!(" for {}", whose.join(", ")) };
        Finding::warning(
            CHECK,
            format!("the keys that opencode itself stores{whose}, in {}", file.display()),
            "use a model source instead, or run tasks that you do not trust as another user",
        )
    });
    found.collect()
}

/// Returns a finding if other users can enter opencode's data directory, because opencode makes its files readable
/// for all.
fn in_data(data: &Path) -> Option<Finding> {
    (data.is_dir() && others_can_enter(data)).then(|| {
        Finding::warning(
            "what other users can see",
            format!("opencode's sessions, in {}", data.display()),
            format!("chmod 700 {}", data.display()),
        )
    })
}

/// Returns findings for opencode's configuration files that contain a key or a reference to one. The agent can read
/// a key in a referenced variable or file.
fn in_configuration(folders: &[PathBuf]) -> Vec<Finding> {
    let names = ["opencode.json", "opencode.jsonc", "config.json"];
    let files = folders.iter().flat_map(|folder| names.map(|name| folder.join(name)));
    let speaks_of_a_key = |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|text| text.contains("\"apiKey\""));
    let finding = |file: PathBuf| {
        Finding::warning(
            CHECK,
            format!("a key in opencode's own configuration, {}", file.display()),
            "use a model source instead, or run tasks that you do not trust as another user",
        )
    };
    files.filter(speaks_of_a_key).map(finding).collect()
}

/// Returns a finding about the keys that opencode itself receives.
fn by_opencode(sources: &ModelSource, no_gateway: bool) -> Option<Finding> {
    let names: Vec<&str> = sources
        .iter()
        .filter(|(_, config)| config.base_url.is_some() && config.api_key.is_some())
        .map(|(source_type, _)| source_type.as_str())
        .collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(if no_gateway {
        Finding::warning(
            CHECK,
            format!("with --no-gateway opencode has the key of the model source it uses: {names}"),
            "remove --no-gateway",
        )
    } else {
        Finding::ok(CHECK, format!("the gateway keeps the keys of model sources from opencode: {names}"))
    })
}

/// Returns whether a variable's name suggests a secret.
fn names_a_secret(name: &str) -> bool {
    const WORDS: [&str; 6] = ["KEY", "KEYS", "PAT", "PASSWD", "PASSPHRASE", "CREDENTIALS"];
    const ENDS: [&str; 4] = ["APIKEY", "PASSWORD", "SECRET", "TOKEN"];
    let name = name.to_ascii_uppercase();
    holds_credentials(&name)
        || name.split('_').any(|word| WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end)))
}

/// Returns whether a value is a URL with a password, or an opencode configuration with a key.
fn holds_a_password(value: &str) -> bool {
    let user = value.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':')) || value.contains("\"apiKey\"")
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingStatus;
    use super::*;
    use opencode_run_core::{ModelConfig, ModelSourceType};

    fn sources(key: &str) -> ModelSource {
        let config = ModelConfig {
            base_url: Some("https://api.example.com/v1".to_owned()),
            api_key: Some(key.into()),
            ..ModelConfig::new("m")
        };
        [(ModelSourceType::Code, config)].into_iter().collect()
    }

    #[test]
    fn secrets_are_recognised_by_name() {
        for name in [
            "OPENAI_API_KEY",
            "ANTHROPIC_API_KEY",
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "db_password",
            "PGPASSWORD",
            "OPENCODE_AUTH_CONTENT",
        ] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in ["PATH", "KEYBOARD", "TOKENIZERS_PARALLELISM", "XDG_SESSION_ID", "MONKEY"] {
            assert!(!names_a_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_recognised_by_value() {
        let of = |name: &str, value: &str| {
            let finding = in_environment([(name.to_owned(), value.to_owned())].into_iter(), &sources("sk-1234567890"));
            assert!(
                finding.as_ref().is_none_or(|finding| !format!("{finding:?}").contains("1234567890")),
                "{finding:?}"
            );
            finding.is_some_and(|finding| finding.message.ends_with(&format!(": {name}")))
        };
        assert!(of("ALIAS", "Bearer sk-1234567890"));
        assert!(of("DATABASE_URL", "postgres://me:1234567890@host/db"));
        assert!(of("OPENCODE_CONFIG_CONTENT", r#"{"provider":{"x":{"options":{"apiKey":"1234567890"}}}}"#));
        for (name, value) in
            [("API_KEY", ""), ("HOME", "/home/me"), ("URL", "https://me@host:80/a:b@c"), ("A", "b@c:d")]
        {
            assert!(!of(name, value), "{name}={value}");
        }
    }

    #[test]
    fn logins_are_reported_without_keys() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(in_logins(data.path()), []);
        let text = r#"{"openai":{"type":"api","key":"sk-1"},"anthropic":{"type":"oauth","refresh":"r"}}"#;
        std::fs::write(data.path().join("auth.json"), text).unwrap();
        std::fs::write(data.path().join("mcp-auth.json"), "broken").unwrap();
        let found = in_logins(data.path());
        assert_eq!(found.len(), 2);
        assert!(found[0].message.contains("for anthropic, openai, in "), "{found:?}");
        assert!(!format!("{found:?}").contains("sk-1"));
    }

    #[cfg(unix)]
    #[test]
    fn readable_sessions_are_reported() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("opencode");
        std::fs::create_dir(&data).unwrap();
        let found = |home_mode, data_mode| {
            std::fs::set_permissions(&data, PermissionsExt::from_mode(data_mode)).unwrap();
            std::fs::set_permissions(home.path(), PermissionsExt::from_mode(home_mode)).unwrap();
            in_data(&data).is_some()
        };
        assert_eq!((found(0o755, 0o700), found(0o700, 0o755), found(0o700, 0o700)), (false, false, false));
        // Provided that other users can enter the temp directory itself.
        assert_eq!(found(0o711, 0o711), others_can_enter(home.path()));
    }

    #[test]
    fn key_in_configuration_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        std::fs::write(folder.path().join("opencode.json"), "{}").unwrap();
        assert_eq!(in_configuration(&folders), []);
        std::fs::write(folder.path().join("opencode.jsonc"), r#"{"apiKey": "{env:X}"} // mine"#).unwrap();
        assert_eq!(in_configuration(&folders).len(), 1);
    }

    #[test]
    fn missing_gateway_exposes_keys() {
        let with = by_opencode(&sources("sk-1"), false).unwrap();
        let without = by_opencode(&sources("sk-1"), true).unwrap();
        assert_eq!((with.status, without.status), (FindingStatus::Ok, FindingStatus::Warning));
        assert!(without.message.ends_with(": code"), "{without:?}");
        assert_eq!(by_opencode(&ModelSource::new(), true), None);
    }
}
