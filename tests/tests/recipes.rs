//! The recipes in `docs/recipes` fit the command and the engines.

#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

use opencode_run_batch::Shard;
use serde_json::Value;
use std::path::Path;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recipes").join(name)).unwrap()
}

/// Returns the first code block of a language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, block) = page.split_once(&format!("```{language}\n")).unwrap();
    block.split("```").next().unwrap()
}

fn yaml(page: &str) -> Value {
    serde_norway::from_str(block(page, "yaml")).unwrap()
}

#[test]
fn kubernetes_job_is_an_indexed_job() {
    let job = yaml(&page("clusters.md"));
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    let pod = &spec["template"]["spec"];
    // Required by `podFailurePolicy` and `backoffLimitPerIndex`.
    assert_eq!(pod["restartPolicy"], "Never");
    let codes = &spec["podFailurePolicy"]["rules"][0]["onExitCodes"];
    assert_eq!((&codes["operator"], &codes["values"]), (&"In".into(), &serde_json::json!([1, 2, 3, 4])));
    let container = &pod["containers"][0];
    let variable = &container["env"][0];
    assert_eq!(variable["name"], "OPENCODE_RUN_SHARDS");
    let shards: u64 = variable["value"].as_str().unwrap().parse().unwrap();
    assert_eq!((spec["completions"].as_u64(), spec["parallelism"].as_u64()), (Some(shards), Some(shards)));
    let of_pod = |name: &str| match name {
        "JOB_COMPLETION_INDEX" => Some("2".to_owned()),
        name if variable["name"] == name => variable["value"].as_str().map(ToOwned::to_owned),
        _ => None,
    };
    assert_eq!(Shard::of_environment(of_pod).unwrap().to_string(), format!("3/{shards}"));
    let mount = &container["volumeMounts"][0];
    let volume = &pod["volumes"][0];
    assert_eq!(mount["name"], volume["name"]);
    let path = mount["mountPath"].as_str().unwrap();
    assert!(
        container["args"][0].as_str().unwrap().contains(&format!("--results \"{path}/results-$JOB_COMPLETION_INDEX"))
    );
}

#[test]
fn slurm_array_finds_its_shard() {
    let page = page("clusters.md");
    let script = block(&page, "sh");
    let array = script.lines().find_map(|line| line.strip_prefix("#SBATCH --array=")).unwrap();
    let (first, last) = array.split_once('-').unwrap();
    let of_slurm = |name: &str| match name {
        "SLURM_ARRAY_TASK_ID" => Some("5".to_owned()),
        "SLURM_ARRAY_TASK_MIN" => Some(first.to_owned()),
        "SLURM_ARRAY_TASK_MAX" => Some(last.to_owned()),
        "SLURM_ARRAY_TASK_STEP" => Some("1".to_owned()),
        _ => None,
    };
    assert_eq!(Shard::of_environment(of_slurm).unwrap().to_string(), format!("5/{last}"));
    assert!(script.contains("--shard auto --resume") && script.starts_with("#!/bin/sh\n"));
}

#[test]
fn nightly_workflow_has_valid_steps() {
    let workflow = yaml(&page("nightly.md"));
    assert!(workflow["on"]["schedule"][0]["cron"].is_string(), "{workflow}");
    let job = &workflow["jobs"]["batch"];
    assert!(job["runs-on"].is_string());
    let steps = job["steps"].as_array().unwrap();
    for step in steps {
        assert!(step["run"].is_string() != step["uses"].is_string(), "{step}");
    }
    // The summary and the results are kept if tasks failed.
    assert_eq!(steps.iter().filter(|step| step["if"] == "always()").count(), 2);
}
