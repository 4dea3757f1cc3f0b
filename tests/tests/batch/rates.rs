//! Providers that refuse requests for now, and rates.

use crate::stage::{Stage, assert_code, completed, lines};
use opencode_run_scripted_model::{ErrorReply, Script, ScriptedModel, When};
use opencode_run_tests::serve_script::TurnAct;
use std::time::Duration;

/// The tasks of a batch on a model source: each asks the model once.
fn stage(tasks: usize, model: &ScriptedModel) -> Stage {
    let acts = [TurnAct::AskModel {}, TurnAct::replay("1.18.33/plain-text")];
    let stage = Stage::doing(tasks, acts);
    let url = model.base_url();
    let source = format!("MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY=sk-12345678\n");
    std::fs::write(stage.path("models.env"), source).unwrap();
    stage
}

/// Returns the time of each request to the model, since the first.
fn arrivals(model: &ScriptedModel) -> Vec<Duration> {
    let log = model.requests();
    log.iter().map(|request| request.elapsed.saturating_sub(log[0].elapsed)).collect()
}

#[test]
fn refusing_provider_is_left_alone() {
    let pause = Duration::from_secs(4);
    let refusal = ErrorReply::new(429).header("retry-after", "4");
    let script = Script::new().rule(When::any().reply(refusal).times(1)).rule(When::any().reply("Done."));
    let model = ScriptedModel::start(script).unwrap();
    let stage = stage(12, &model);
    let results = stage.path("results.jsonl");
    let config = stage.path("models.env");
    let config = config.to_str().unwrap();
    let output =
        stage.run(&results, &["--config", config, "--jobs", "4", "--max-attempts", "1", "--idle-timeout", "3s"]);
    assert_code(&output, 0);
    assert!(completed(&results).len() == 12 && lines(&results).iter().all(|line| line["attempt"] == 1));
    let arrivals = arrivals(&model);
    assert_eq!(arrivals.len(), 13, "one was refused");
    // Others may have been on their way when it was refused.
    let late = arrivals.iter().filter(|arrival| **arrival > Duration::from_millis(500));
    assert!(late.clone().count() >= 8 && late.clone().all(|arrival| *arrival >= pause), "{arrivals:?}");
    stage.sandbox.assert_nothing_alive();
}

#[test]
fn rate_of_a_source_is_kept() {
    let model = ScriptedModel::start(Script::always("Done.")).unwrap();
    let stage = stage(8, &model);
    let results = stage.path("results.jsonl");
    let config = stage.path("models.env");
    let config = config.to_str().unwrap();
    let arguments = ["--config", config, "--jobs", "8", "--rate", "default=5/s"];
    assert_code(&stage.run(&results, &arguments), 0);
    let arrivals = arrivals(&model);
    // The gateway releases them 200 ms apart; they arrive with some jitter.
    assert!(arrivals.len() == 8 && arrivals[7] >= Duration::from_millis(1300), "{arrivals:?}");
    for more in [&[][..], &["--dry-run"]] {
        let arguments = [&["--config", config, "--rate", "code=5/s"], more].concat();
        let none = stage.run(&stage.path("none.jsonl"), &arguments);
        assert_code(&none, 3);
        assert!(String::from_utf8_lossy(&none.stderr).contains("no model source `code` is configured"));
        assert!(!stage.path("none.jsonl").exists(), "nothing is begun");
    }
    stage.sandbox.assert_nothing_alive();
}
