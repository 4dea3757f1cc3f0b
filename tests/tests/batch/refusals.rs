//! Batches that are refused before a task starts.

use crate::stage::{Stage, assert_code};
use std::time::Duration;

#[test]
fn unknown_model_starts_nothing() {
    let stage = Stage::new(2, Duration::ZERO);
    let results = stage.path("results.jsonl");
    for more in [&[][..], &["--dry-run"]] {
        let refused = stage.run(&results, &[&["--model", "stub/gpt-4,stub/gpt-44"], more].concat());
        assert_code(&refused, 3);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains("task `t0@stub/gpt-44`: opencode does not know the model `stub/gpt-44`"), "{text}");
        assert!(text.contains("did you mean stub/gpt-4?") && text.contains("opencode-run models"), "{text}");
        assert!(!results.exists());
    }
    // The configuration of the directory may define it.
    let line = format!("{{\"id\":\"x\",\"prompt\":\"m\",\"dir\":\"{}\"}}\n", stage.sandbox.workspace().display());
    std::fs::write(stage.path("tasks.jsonl"), line).unwrap();
    let arguments = ["--model", "own/model", "--dry-run"];
    assert_code(&stage.run(&results, &arguments), 0);
    assert_code(&stage.run(&results, &[&arguments[..], &["--no-project-config"]].concat()), 3);
    stage.sandbox.assert_nothing_alive();
}
