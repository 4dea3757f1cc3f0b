//! The MCP servers and plugins of a directory.

use opencode_run_core::{Warning, WarningCode};

/// The maximum number of failures of each kind that are reported.
const MAX_FAILURES: usize = 20;

/// The MCP servers and plugins of a directory that cannot be used.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) failed_servers: Vec<FailedServer>,
    /// The MCP servers that are starting.
    pub(crate) pending_servers: Vec<String>,
    /// The failures of plugins, each with the name of its plugin.
    pub(crate) failed_plugins: Vec<String>,
}

/// An MCP server that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedServer {
    pub(crate) name: String,
    pub(crate) error: String,
    /// It works after a login.
    pub(crate) needs_login: bool,
}

impl Extensions {
    /// Returns the warnings about failures.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let servers = self.failed_servers.iter().take(MAX_FAILURES).map(|FailedServer { name, error, needs_login }| {
            let message = format!("the MCP server `{name}` is not available: {}", one_line(error));
            let hint = if *needs_login {
                format!("log in with `opencode mcp auth {name}`")
            } else {
                format!("mend or remove `mcp.{name}` in opencode's configuration")
            };
            Warning::new(WarningCode::McpFailed, message).hint(hint)
        });
        let plugins = self.failed_plugins.iter().take(MAX_FAILURES).map(|failure| {
            let warning =
                Warning::new(WarningCode::PluginFailed, format!("a plugin could not be loaded: {}", one_line(failure)));
            warning.hint("mend or remove it in `plugin` in opencode's configuration")
        });
        servers.chain(plugins).collect()
    }
}

/// Returns the warning about MCP servers that are still starting.
pub(crate) fn pending_warning(names: &[String]) -> Warning {
    let names: Vec<_> = names.iter().take(MAX_FAILURES).map(|name| format!("`{name}`")).collect();
    let message = match names.as_slice() {
        [name] => format!("the MCP server {name} takes long to start"),
        names => format!("an MCP server takes long to start, one of {}", names.join(", ")),
    };
    Warning::new(WarningCode::McpPending, message)
        .hint("if the turn does not need it, set `\"enabled\": false` in opencode's configuration")
}

/// Returns an error message on one line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_a_warning() {
        let failed =
            |name: &str, needs_login| FailedServer { name: name.to_owned(), error: "a\nb".to_owned(), needs_login };
        let extensions = Extensions {
            failed_servers: vec![failed("x", false), failed("y", true)],
            failed_plugins: vec!["Failed to load plugin z".to_owned(); 30],
            ..Extensions::default()
        };
        let warnings = extensions.warnings();
        assert_eq!(warnings[0].message, "the MCP server `x` is not available: a b");
        assert_eq!(warnings[1].hint.as_deref(), Some("log in with `opencode mcp auth y`"));
        assert_eq!((warnings.len(), warnings[2].code), (2 + MAX_FAILURES, WarningCode::PluginFailed));
        let names = ["a", "b"].map(str::to_owned);
        assert!(pending_warning(&names[..1]).message.contains("the MCP server `a` takes long"));
        assert!(pending_warning(&names).message.contains("one of `a`, `b`"));
    }
}
