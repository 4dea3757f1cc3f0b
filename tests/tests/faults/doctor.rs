//! What `doctor` finds around opencode.

use crate::support::{Case, PLAIN, Running};
use opencode_run_tests::opencode_run_bin;
use serde_json::Value;
use std::process::Stdio;

#[test]
fn missing_programs_are_found_with_fixes() {
    let mut case = Case::replaying(PLAIN);
    let config = case.sandbox.path("home/.config/opencode/opencode.json");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, r#"{"mcp": {"docs": {"type": "local", "command": ["no-such-server"]}}}"#).unwrap();
    case.sandbox.set("PATH", case.fake.bin_dir());
    case.sandbox.set("SHELL", "/nowhere/shell");
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["doctor", "--offline", "--output-format", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = Running::spawn(&mut command).wait();
    outcome.assert_code(0);
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let finding = |check: &str| {
        let findings = json["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {json}"))
    };
    for (check, status, message) in [
        ("opencode", "ok", "1.18.33"),
        ("git", "warning", "not found"),
        ("rg", "ok", "not found"),
        ("shell", "warning", "/nowhere/shell"),
        ("mcp", "warning", "the MCP server `docs` cannot start: there is no program `no-such-server`"),
        ("disk", "ok", "are free for"),
    ] {
        assert_eq!(finding(check)["status"], status, "{check}: {json}");
        assert!(finding(check)["message"].as_str().unwrap().contains(message), "{check}: {json}");
    }
    assert!(finding("mcp")["fix"].as_str().unwrap().contains(config.to_str().unwrap()), "{json}");
    case.sandbox.assert_nothing_alive();
}
