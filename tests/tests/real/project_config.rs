//! opencode's configuration in a cloned repository, and the option that ignores it.

use crate::stage::Stage;
use opencode_run_scripted_model::Script;

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn project_configuration_is_ignored_on_request() {
    for (transport, ignored) in [("serve", false), ("serve", true), ("run", true)] {
        let stage = Stage::new(Script::always("Done."));
        let proof = stage.sandbox.path("mcp");
        stage.write("workspace/clone/advice.md", "THE-CLONES-ADVICE");
        stage.write("workspace/clone/AGENTS.md", "THE-CLONES-AGENTS");
        let settings = serde_json::json!({
            "instructions": ["advice.md"],
            "mcp": {"m": {"type": "local", "command": ["touch", proof]}},
        });
        stage.write("workspace/clone/opencode.json", &settings.to_string());
        let mut git = std::process::Command::new("git");
        git.args(["init", "-q"]).arg(stage.sandbox.workspace().join("clone"));
        assert!(git.status().unwrap().success());
        let option: &[&str] = if ignored { &["--no-project-config"] } else { &[] };
        let arguments = [&["--transport", transport, "--dir", "clone"], option, &["hello"]].concat();
        let done = stage.turn(arguments).with_code(0);
        let told = stage.request().system_text();
        for text in ["THE-CLONES-ADVICE", "THE-CLONES-AGENTS"] {
            assert_eq!(told.contains(text), !ignored, "{transport}, ignored: {ignored}, {text}: {told}");
        }
        assert_eq!(proof.exists(), !ignored, "{transport}, ignored: {ignored}: {}", done.stderr);
        assert_eq!(done.stderr.contains("which starts programs"), !ignored, "{}", done.stderr);
        stage.end();
    }
}
