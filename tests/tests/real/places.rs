//! opencode's working directory, and the instructions that it reads there.

use crate::stage::{Running, Stage, entries, name, shell};
use std::path::Path;
use std::process::Command;

fn git(folder: &Path, arguments: &[&str]) {
    assert!(Command::new("git").args(arguments).current_dir(folder).status().unwrap().success());
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn task_in_repository_has_own_directory() {
    let stage = Stage::new(shell("pwd; git rev-parse --show-toplevel", "Done."));
    git(&stage.sandbox.workspace(), &["init", "--quiet"]);
    stage.write("workspace/AGENTS.md", "INSTRUCTIONS-OF-THE-REPOSITORY");
    let elsewhere = stage.write("elsewhere/AGENTS.md", "INSTRUCTIONS-OF-ANOTHER");

    let mut command = stage.command(["-m", "stub/gpt-4", "--task-name", "fix_1", "--output-format", "json", "where?"]);
    command.env("PWD", elsewhere.parent().unwrap());
    let done = Running::start(command).end().with_code(0);

    let json = done.json();
    let directory = json["task_dir"].as_str().unwrap();
    assert_eq!(json["task_name"], "fix_1");
    assert_eq!(stage.task_dirs(), [Path::new(directory)]);
    let hex = name(Path::new(directory)).strip_prefix("task_fix_1_").unwrap().to_owned();
    assert!(hex.len() == 8 && hex.chars().all(|c| c.is_ascii_hexdigit()), "{directory}");
    let requests = stage.requests();
    assert_eq!(requests.len(), 2);
    let printed = &requests[1].tool_results()[0].text;
    assert_eq!(printed.lines().take(2).collect::<Vec<_>>(), [directory, directory], "{printed}");
    for request in &requests {
        assert!(!request.system_text().contains("INSTRUCTIONS-OF"), "{}", request.system_text());
    }
    assert_eq!(entries(Path::new(directory)).iter().map(|path| name(path)).collect::<Vec<_>>(), [".git"]);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn task_directories_are_in_workspace() {
    let stage = Stage::new(shell("pwd", "Done."));
    let done = stage.turn(["--workspace", "new/place", "where?"]).with_code(0);
    let directory = stage.sandbox.workspace().join("new/place");
    assert_eq!(Path::new(done.json()["task_dir"].as_str().unwrap()).parent(), Some(directory.as_path()));
    let requests = stage.requests();
    let printed = &requests[1].tool_results()[0].text;
    assert!(printed.starts_with(directory.to_str().unwrap()), "{printed}");
    assert_eq!(entries(&stage.sandbox.workspace()), [stage.sandbox.workspace().join("new")]);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn named_directory_keeps_its_instructions() {
    let stage = Stage::new(shell("pwd; echo made > made.txt", "Done."));
    stage.write("project/AGENTS.md", "INSTRUCTIONS-OF-THE-PROJECT");
    let project = stage.sandbox.path("project");
    let mut command =
        stage.command(["-m", "stub/gpt-4", "--dir", "../project", "--context", "CONTEXT-OF-THE-TASK", "x"]);
    command.env("PWD", "/");
    let done = Running::start(command).end().with_code(0);
    assert_eq!(done.stdout, "Done.\n");
    let requests = stage.requests();
    let printed = &requests[1].tool_results()[0].text;
    assert_eq!(printed.lines().next(), project.to_str(), "{printed}");
    for request in &requests {
        let told = request.system_text();
        assert!(told.contains("INSTRUCTIONS-OF-THE-PROJECT") && told.contains("CONTEXT-OF-THE-TASK"), "{told}");
    }
    assert_eq!(entries(&project), [project.join("AGENTS.md"), project.join("made.txt")]);
    assert_eq!(stage.task_dirs().len(), 0);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn invalid_task_leaves_nothing_behind() {
    let stage = Stage::new(shell("pwd", "Done."));
    let long = "x".repeat(300);
    let file = stage.write("file", "");
    let file = file.to_str().unwrap();
    for (arguments, code, kind) in [
        (["--task-name", "../x"], 3, "config"),
        (["--task-name", "a/b"], 3, "config"),
        (["--task-name", &long], 3, "config"),
        (["--task-name=-x", "--quiet"], 3, "config"),
        (["--workspace", file], 3, "config"),
        (["--dir", "no/such"], 2, "usage"),
        (["--dir", file], 2, "usage"),
        (["--file", "missing.txt"], 2, "usage"),
        (["--save-markdown=no/such/t.md", "--quiet"], 2, "usage"),
        (["--context-file", "missing.md"], 2, "usage"),
        (["--config", "missing.env"], 3, "config"),
        (["--opencode", "missing"], 4, "opencode"),
        (["--opencode", "."], 4, "opencode"),
    ] {
        let done = stage.turn(arguments.into_iter().chain(["hello"])).with_code(code);
        let json = done.json();
        assert_eq!((&json["state"], &json["error"]["kind"]), (&"error".into(), &kind.into()), "{arguments:?}");
        assert_eq!(json["task_dir"], serde_json::Value::Null);
        assert!(done.stderr.contains("error: "), "{}", done.stderr);
    }
    assert_eq!(entries(&stage.sandbox.workspace()).len(), 0);
    assert_eq!(stage.requests().len(), 0);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn agents_git_ignores_the_hooks_repository() {
    let stage = Stage::new(shell("echo x > made && git add -A && git status --short", "Done."));
    let repository = stage.sandbox.path("repository");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet"]);
    std::fs::write(repository.join("wanted"), "x").unwrap();
    git(&repository, &["add", "wanted"]);
    let hook = repository.join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let workspace = stage.sandbox.workspace();
    let program = stage.command([]);
    let command =
        format!("'{}' -m stub/gpt-4 --workspace '{}' go", program.get_program().display(), workspace.display());
    std::fs::write(&hook, format!("#!/bin/sh\nexec {command}\n")).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut commit = stage.sandbox.command("git");
    commit.args(["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "x"]);
    Running::start({
        commit.current_dir(&repository);
        commit
    })
    .end()
    .with_code(0);
    let tree = Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(&repository).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tree.stdout), "wanted\n");
    let printed = &stage.requests()[1].tool_results()[0].text;
    assert!(printed.contains("A  made"), "{printed}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn commands_run_despite_unusable_shell() {
    let mut stage = Stage::new(shell("echo ran", "Done."));
    stage.sandbox.set("SHELL", "/usr/sbin/nologin");
    let done = stage.turn(["go"]).with_code(0);
    assert!(done.stderr.contains("SHELL is /usr/sbin/nologin"), "{}", done.stderr);
    let requests = stage.requests();
    assert!(requests[1].tool_results()[0].text.contains("ran"), "{:?}", requests[1].tool_results());
    stage.end();
}
