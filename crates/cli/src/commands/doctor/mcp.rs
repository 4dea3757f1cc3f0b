//! Checks the programs of MCP servers.

use super::finding::Finding;
use super::programs::find_program;
use etcetera::BaseStrategy;
use opencode_run_process::{McpServer, mcp_servers};
use std::path::Path;

const CHECK: &str = "mcp";

/// Checks that the programs of the MCP servers exist. Servers are neither started nor connected to.
pub(super) fn check() -> Vec<Finding> {
    let (Ok(places), Ok(directory)) = (etcetera::choose_base_strategy(), std::env::current_dir()) else {
        return Vec::new();
    };
    judge(&mcp_servers(&places.config_dir(), &directory, |name| std::env::var_os(name)), |program| {
        if program.contains('/') { Path::new(program).is_file() } else { find_program(program).is_some() }
    })
}

fn judge(servers: &[McpServer], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let is_missing = |server: &&McpServer| server.program.as_deref().is_some_and(|program| !exists(program));
    let missing: Vec<_> = servers.iter().filter(is_missing).collect();
    if missing.is_empty() {
        let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        let found = || Finding::ok(CHECK, format!("{} (not started here)", names.join(", ")));
        return if names.is_empty() { Vec::new() } else { vec![found()] };
    }
    let finding = |server: &McpServer| {
        let McpServer { name, place, program, .. } = server;
        let program = program.as_deref().unwrap_or_default();
        Finding::warning(
            CHECK,
            format!("the MCP server `{name}` cannot start: there is no program `{program}`"),
            format!("install it, or remove `mcp.{name}` from {place}"),
        )
    };
    missing.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingStatus;
    use super::*;

    #[test]
    fn missing_program_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("opencode")).unwrap();
        let text = r#"{"mcp": {"a": {"command": ["here"]}, "b": {"command": ["gone"]}, "c": {"url": "https://x"}}}"#;
        std::fs::write(folder.path().join("opencode/opencode.json"), text).unwrap();
        let servers = mcp_servers(folder.path(), folder.path(), |_| None);
        let findings = judge(&servers, |program| program == "here");
        assert_eq!((findings.len(), findings[0].status), (1, FindingStatus::Warning));
        assert!(findings[0].message.contains("`b` cannot start: there is no program `gone`"), "{findings:?}");
        assert!(findings[0].fix.as_ref().unwrap().contains("opencode/opencode.json"), "{findings:?}");
        assert_eq!(judge(&servers, |_| true)[0].message, "a, b, c (not started here)");
        assert!(judge(&[], |_| true).is_empty());
    }
}
