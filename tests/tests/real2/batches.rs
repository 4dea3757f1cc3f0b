//! A batch of tasks.

use crate::stage;
use crate::stage::{Running, until};
use opencode_run_scripted_model::{Answer, ErrorReply, Part, Script, When};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each numbered task writes a file with its number. The first request of "flaky" is refused, and that of "slow" is answered
/// only after ten minutes.
fn script() -> Script {
    let said = |text: &str| When::agent().said(text);
    let refusal = ErrorReply::new(400).message("the model is being moved");
    let script = Script::new()
        .rule(said("flaky").reply(refusal).times(1))
        .rule(said("slow").reply(Answer::text("Late.").delay(std::time::Duration::from_mins(10))).times(1));
    let script = (1..=3).fold(script, |script, number| {
        let write = Part::tool_call("shell", json!({"command": format!("echo {number} > fix.txt")}));
        let prompt = format!("number {number}.");
        script.rule(said(&prompt).after_tools(0).reply(write)).rule(said(&prompt).reply("Written."))
    });
    script.rule(When::agent().reply("Done."))
}

fn lines(results: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(results).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn killed_batch_of_repositories_is_resumed() {
    let stage = stage(script());
    let repository = stage.sandbox.path("repository");
    let git = |line: &str| {
        let mut command = stage.sandbox.command("sh");
        let done = command.current_dir(stage.sandbox.root()).args(["-c", line]).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let commit = "git -c user.name=t -c user.email=t@example.com commit --allow-empty -qm one";
    git(&format!("git init -q repository && cd repository && {commit}"));
    stage.dot_env("MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_MODEL=m\nMODEL_DEFAULT_APIKEY=sk-12345678\n");
    let numbered = (1..=3).map(|number| {
        // The third task writes another number than its check wants.
        let check = format!("grep -qx {} fix.txt", number % 3);
        json!({"id": format!("n{number}"), "prompt": format!("number {number}."), "repo": repository, "check": check})
    });
    let others = ["flaky", "slow"].map(|id| json!({"id": id, "prompt": id}));
    let tasks = numbered.chain(others).map(|task| format!("{task}\n")).collect::<Vec<_>>().concat();
    stage.write("workspace/tasks.jsonl", &tasks);
    let arguments = ["batch", "tasks.jsonl", "--results", "r.jsonl", "--jobs", "3", "--retry-delay", "1s", "--resume"];
    let results = stage.sandbox.workspace().join("r.jsonl");

    let mut killed = stage.command(arguments).spawn().unwrap();
    // Three numbered tasks, and two attempts at the flaky one; the slow one is running.
    until("the other tasks end", || lines(&results).len() == 5 && stage.model.request_count() >= 9);
    killed.kill().unwrap();
    killed.wait().unwrap();
    stage.sandbox.assert_nothing_alive();
    let done = Running::start(stage.command(arguments)).end().with_code(1);
    assert!(done.stderr.contains("4 done, 1 to run"), "{}", done.stderr);

    let lines = lines(&results);
    let of = |line: &Value| (line["id"].as_str().unwrap().to_owned(), line["attempt"].as_u64().unwrap());
    let mut attempts: Vec<_> = lines.iter().map(of).collect();
    attempts.sort();
    let expected = [("flaky", 1), ("flaky", 2), ("n1", 1), ("n2", 1), ("n3", 1), ("slow", 1)];
    assert_eq!(attempts, expected.map(|(id, attempt)| (id.to_owned(), attempt)), "{}", done.stderr);
    let find = |id: &str| lines.iter().rfind(|line| line["id"] == id).unwrap();
    assert!(["n1", "n2", "slow", "flaky"].iter().all(|id| find(id)["state"] == "completed"), "{lines:#?}");
    assert_eq!((&find("n1")["check"]["passed"], &find("n3")["check"]["passed"]), (&json!(true), &json!(false)));
    let failed = find("n3")["task_dir"].as_str().unwrap();
    assert!(Path::new(failed).join("fix.txt").exists(), "the clone of a failed task is kept");
    // Kept: that clone, and the directories of all attempts without a repository; the killed attempt's is removed.
    let found = std::fs::read_dir(Path::new(failed).parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let found: BTreeSet<_> = found.filter(|path| path.join(".git").exists()).collect();
    let named: BTreeSet<PathBuf> = lines.iter().filter_map(|line| Some(line["task_dir"].as_str()?.into())).collect();
    assert_eq!(found, named);
    assert_eq!(found.len(), 4);
    let patch = stage.sandbox.workspace().join(find("n2")["patch"]["path"].as_str().unwrap());
    git(&format!("git clone -q repository fresh && git -C fresh apply {}", patch.display()));
    assert_eq!(std::fs::read_to_string(stage.sandbox.path("fresh/fix.txt")).unwrap(), "2\n");
    assert!(!std::fs::read_to_string(&results).unwrap().contains("sk-12345678"));
    let listed = stage.run(["batch", "export", "r.jsonl", "--format", "csv"]).with_code(0);
    assert_eq!(listed.stdout.lines().count(), 6, "{}", listed.stdout);
    stage.end();
}
