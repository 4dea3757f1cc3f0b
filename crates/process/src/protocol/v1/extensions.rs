//! The MCP servers and plugins of a directory: statuses, settings, and events of failed plugins.

use crate::json_text::parse_repaired;
use crate::protocol::extensions::{Extensions, FailedServer};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The route for the states of MCP servers. It answers when all of them have started or failed.
pub(crate) const MCP: &str = "/mcp";
/// The route for the configuration.
pub(crate) const CONFIG: &str = "/config";
/// The beginnings of the errors that opencode reports about plugins.
const PLUGIN_ERRORS: [&str; 3] = ["Failed to load plugin ", "Failed to install plugin ", "Plugin "];

/// The answer to [`MCP`]: the state of each server.
pub(crate) type Servers = BTreeMap<String, Value>;

/// Returns the servers that cannot be used.
pub(crate) fn extensions(servers: Servers) -> Extensions {
    let failed = servers.into_iter().filter_map(|(name, state)| {
        let error = state["error"].as_str();
        let (error, needs_login) = match state["status"].as_str()? {
            "failed" => (error.unwrap_or("it failed"), false),
            "needs_auth" => ("it needs a login", true),
            "needs_client_registration" => (error.unwrap_or("it needs a client registration"), false),
            _ => return None,
        };
        Some(FailedServer { name, error: error.to_owned(), needs_login })
    });
    Extensions { failed_servers: failed.collect(), ..Extensions::default() }
}

/// The answer to [`CONFIG`], with the fields that are needed here.
#[derive(Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    mcp: Map<String, Value>,
}

impl Config {
    /// Returns the names of the MCP servers that opencode starts.
    pub(crate) fn started_servers(self) -> Vec<String> {
        let is_started = |settings: &Value| settings["type"].is_string() && settings["enabled"] != Value::Bool(false);
        self.mcp.into_iter().filter(|(_, settings)| is_started(settings)).map(|(name, _)| name).collect()
    }
}

/// Returns the directory and the message of an event about a failed plugin. It belongs to no session.
pub(crate) fn plugin_failure(data: &str) -> Option<(PathBuf, String)> {
    // Few events are errors, and this is called for each that belongs to no session.
    if !data.contains("\"session.error\"") {
        return None;
    }
    let event: Value = parse_repaired(data).ok()?;
    let payload = &event["payload"];
    let directory = event["directory"].as_str()?;
    let properties = &payload["properties"];
    if payload["type"] != "session.error" || properties["sessionID"].is_string() {
        return None;
    }
    let message = properties["error"]["data"]["message"].as_str()?;
    let is_of_plugin = PLUGIN_ERRORS.iter().any(|start| message.starts_with(start));
    is_of_plugin.then(|| (directory.into(), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unusable_servers_are_failures() {
        let states = json!({
            "a": {"status": "connected"}, "b": {"status": "failed", "error": "ENOENT"}, "c": {"status": "disabled"},
            "d": {"status": "needs_auth"}, "e": {"status": "of a later version"},
        });
        let failed = extensions(serde_json::from_value(states).unwrap()).failed_servers;
        let failed: Vec<_> = failed.iter().map(|server| (server.name.as_str(), server.needs_login)).collect();
        assert_eq!(failed, [("b", false), ("d", true)]);
    }

    #[test]
    fn enabled_servers_are_started() {
        let config = json!({"mcp": {
            "a": {"type": "local", "command": ["x"]}, "b": {"type": "local", "enabled": false}, "c": {"enabled": true},
        }});
        assert_eq!(serde_json::from_value::<Config>(config).unwrap().started_servers(), ["a"]);
        assert!(serde_json::from_value::<Config>(json!({})).unwrap().started_servers().is_empty());
    }

    #[test]
    fn error_of_plugin_names_its_directory() {
        let event = |properties: Value| {
            json!({"directory": "/d", "payload": {"type": "session.error", "properties": properties}}).to_string()
        };
        let error = |message: &str| json!({"name": "UnknownError", "data": {"message": message}});
        let failed = plugin_failure(&event(json!({"error": error("Failed to load plugin x: y")})));
        assert_eq!(failed, Some(("/d".into(), "Failed to load plugin x: y".to_owned())));
        assert_eq!(plugin_failure(&event(json!({"error": error("other")}))), None);
        let of_session = json!({"sessionID": "ses_1", "error": error("Plugin x skipped: y")});
        assert_eq!(plugin_failure(&event(of_session)), None);
    }
}
