//! The command in a git hook, to which git passes its repository by variables.

use crate::support::{Case, PLAIN};
use std::path::Path;
use std::process::{Command, Output};

/// Creates a repository whose `pre-commit` hook runs this command, and returns the output of a commit.
fn commit_with_hook(case: &Case, repository: &Path, hook: &Command) -> Output {
    let git = |arguments: &[&str]| {
        let mut git = case.sandbox.command("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(arguments).current_dir(repository);
        git.output().unwrap()
    };
    std::fs::create_dir_all(repository).unwrap();
    assert!(git(&["init", "--quiet"]).status.success());
    let words = std::iter::once(hook.get_program()).chain(hook.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let file = repository.join(".git/hooks/pre-commit");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, format!("#!/bin/sh\nexec {}\n", words.join(" "))).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(repository.join("wanted"), "wanted").unwrap();
    std::fs::write(repository.join("unwanted"), "unwanted").unwrap();
    assert!(git(&["add", "wanted"]).status.success());
    // With a path and an index: git passes both to the hook.
    let committed = git(&["commit", "--quiet", "-m", "x", "wanted"]);
    let tree = git(&["ls-tree", "--name-only", "HEAD"]);
    assert_eq!(String::from_utf8_lossy(&tree.stdout), "wanted\n", "{committed:?}");
    committed
}

#[test]
fn hooks_repository_is_hidden_from_opencode() {
    let mut case = Case::replaying(PLAIN);
    case.sandbox.set("GIT_CONFIG_COUNT", "1");
    case.sandbox.set("GIT_CONFIG_KEY_0", "safe.directory");
    case.sandbox.set("GIT_CONFIG_VALUE_0", "*");
    let repository = case.sandbox.path("repository");
    let workspace = case.sandbox.workspace();
    let hook = case.command(&["--workspace", workspace.to_str().unwrap(), "hello"]);
    let committed = commit_with_hook(&case, &repository, &hook);
    assert!(committed.status.success(), "{committed:?}");
    let run = &case.fake.log_of("run")[0];
    let git: Vec<_> = run.env.keys().filter(|name| name.starts_with("GIT_")).map(String::as_str).collect();
    assert!(!git.contains(&"GIT_DIR") && !git.contains(&"GIT_INDEX_FILE") && !git.contains(&"GIT_PREFIX"), "{git:?}");
    assert_eq!(run.env["GIT_CONFIG_VALUE_0"], "*", "what containers pass stays");
    assert!(run.cwd.join(".git").is_dir(), "the task's directory is a repository of its own");
    case.sandbox.assert_nothing_alive();
}
