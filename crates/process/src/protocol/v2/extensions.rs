//! The MCP servers and plugins of a directory.

use crate::protocol::extensions::{Extensions, FailedServer};
use serde::Deserialize;
use serde_json::Value;

/// The route for the states of MCP servers.
pub(crate) const MCP: &str = "/api/mcp";
/// The route for the states of plugins.
pub(crate) const PLUGINS: &str = "/api/plugin";

/// An MCP server.
#[derive(Deserialize)]
pub(crate) struct Server {
    name: String,
    status: State,
}

/// A plugin.
#[derive(Deserialize)]
pub(crate) struct Plugin {
    #[serde(default)]
    source: Value,
    state: State,
}

#[derive(Deserialize)]
struct State {
    status: String,
    #[serde(default)]
    error: Option<String>,
}

/// Returns the servers and plugins that cannot be used.
pub(crate) fn extensions(servers: Vec<Server>, plugins: Vec<Plugin>) -> Extensions {
    let mut extensions = Extensions::default();
    for Server { name, status: State { status, error } } in servers {
        let needs_login = status == "needs_auth";
        match status.as_str() {
            "pending" => extensions.pending_servers.push(name),
            "failed" | "needs_auth" | "needs_client_registration" => {
                let error = error.unwrap_or_else(|| status.replace('_', " "));
                extensions.failed_servers.push(FailedServer { name, error, needs_login });
            }
            _ => {}
        }
    }
    for Plugin { source, state } in plugins {
        if state.status == "failed" {
            let name = source["path"].as_str().or(source["target"].as_str()).unwrap_or("a plugin");
            let error = state.error.as_deref().unwrap_or("it failed");
            extensions.failed_plugins.push(format!("{name}: {error}"));
        }
    }
    extensions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unusable_extensions_are_listed() {
        let servers = json!([
            {"name": "a", "status": {"status": "failed", "error": "closed"}}, {"name": "b", "status": {"status": "pending"}},
            {"name": "c", "status": {"status": "connected"}}, {"name": "d", "status": {"status": "needs_auth"}},
        ]);
        let plugins = json!([
            {"id": "x", "source": {"type": "builtin"}, "state": {"status": "active"}},
            {"source": {"type": "local", "path": "/p.js"}, "state": {"status": "failed", "error": "broken"}},
        ]);
        let found = extensions(serde_json::from_value(servers).unwrap(), serde_json::from_value(plugins).unwrap());
        assert_eq!(
            (found.pending_servers, found.failed_plugins),
            (vec!["b".to_owned()], vec!["/p.js: broken".to_owned()])
        );
        let failed: Vec<_> =
            found.failed_servers.iter().map(|server| (server.name.as_str(), server.error.as_str())).collect();
        assert_eq!(failed, [("a", "closed"), ("d", "needs auth")]);
    }
}
