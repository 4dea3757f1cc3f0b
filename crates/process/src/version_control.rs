//! Determines whether a file came with a repository, by git commands that run nothing from the repository.

use opencode_run_containment::{GIT_REPOSITORY_VARIABLES, start_child};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The timeout of git. It reads an index, which a hostile directory can make a pipe without a writer.
const GIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The entries in a directory of other version control systems, which are not queried.
const OTHER_CONTROL: [&str; 8] = [".hg", ".svn", ".jj", ".bzr", ".pijul", "_darcs", "_FOSSIL_", ".fslckout"];
/// Settings that disable each program that a repository's configuration can make git start.
const HARMLESS: [&str; 6] =
    ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false"];
/// Settings against fetching: git fetches missing objects of a partial clone with a program that the repository names.
const NO_FETCH: [&str; 4] = ["-c", "core.sshCommand=false", "-c", "protocol.allow=never"];

/// Returns why a file may have come with a repository, or `None` if it lies in no work tree or is untracked in each.
///
/// A link is judged together with its target. No program of the repository is run, and nothing in it is changed.
/// Uncertainty is a reason as well: git is absent or fails, or another version control system is used.
pub async fn tracking_reason(file: &Path) -> Option<String> {
    let Ok(target) = file.canonicalize() else { return Some("it cannot be found".to_owned()) };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.canonicalize() else { return Some("its directory cannot be found".to_owned()) };
    let link = file.file_name().map(|name| folder.join(name));
    for path in link.into_iter().filter(|link| *link != target).chain([target.clone()]) {
        if let Some(reason) = reason_of(&path).await {
            return Some(reason);
        }
    }
    None
}

async fn reason_of(path: &Path) -> Option<String> {
    let mut is_nearest = true;
    for root in path.ancestors().skip(1) {
        if let Some(name) = OTHER_CONTROL.iter().find(|name| exists(&root.join(name))) {
            return Some(format!("it lies in a working copy ({})", root.join(name).display()));
        }
        if !exists(&root.join(".git")) {
            continue;
        }
        match is_tracked(root, path).await {
            Ok(Some(true)) => return Some(format!("it is tracked by the repository {}", root.display())),
            Ok(Some(false)) => {}
            // An outer repository treats a file of an inner one as part of a submodule.
            Ok(None) if !is_nearest => {}
            Ok(None) => {
                return Some(format!("git cannot determine whether the repository {} tracks it", root.display()));
            }
            Err(error) => return Some(format!("cannot ask git whether the repository tracks it: {error}")),
        }
        is_nearest = false;
    }
    None
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Returns the git of the absolute directories in `PATH`, outside of the repository: a relative one would be resolved
/// in it.
fn git_outside(repository: &Path) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    let outside =
        |path: &PathBuf| path.canonicalize().is_ok_and(|path| !path.starts_with(repository) && path.is_file());
    let absolute = std::env::split_paths(&directories).filter(|directory| directory.is_absolute());
    absolute.map(|directory| directory.join("git")).find(outside)
}

/// Returns the repository of a directory if git refuses to use it because it belongs to another user.
///
/// opencode then treats the directory as one without a repository.
pub async fn refused_repository(directory: &Path) -> Option<PathBuf> {
    let directory = directory.canonicalize().ok()?;
    let root = directory.ancestors().find(|root| exists(&root.join(".git")))?;
    let mut git = git_in(root).ok()?;
    // Not in the user's language.
    git.args(["rev-parse", "--git-dir"]).env("LC_ALL", "C").stderr(Stdio::piped());
    let child = start_child(|| git.spawn()).ok()?;
    let output = tokio::time::timeout(GIT_TIMEOUT, child.wait_with_output()).await.ok()?.ok()?;
    let is_refused = String::from_utf8_lossy(&output.stderr).contains("dubious ownership");
    is_refused.then(|| root.to_owned())
}

/// Returns a git command in a repository that runs no programs of that repository.
fn git_in(root: &Path) -> io::Result<Command> {
    let mut git = Command::new(git_outside(root).ok_or(io::ErrorKind::NotFound)?);
    git.args(HARMLESS).args(NO_FETCH).args(["--no-pager", "--no-optional-locks", "--literal-pathspecs"]);
    git.current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    for variable in GIT_REPOSITORY_VARIABLES {
        git.env_remove(variable);
    }
    // A ceiling directory of a hook or the user must not hide the repository.
    git.env_remove("GIT_CEILING_DIRECTORIES").env("GIT_TERMINAL_PROMPT", "0");
    git.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "");
    Ok(git)
}

/// Asks git whether a repository tracks a file; `None` if git gives no answer.
async fn is_tracked(root: &Path, path: &Path) -> io::Result<Option<bool>> {
    let relative: PathBuf = path.strip_prefix(root).map_err(io::Error::other)?.to_owned();
    let mut git = git_in(root)?;
    git.args(["--work-tree=.", "ls-files", "--cached", "--error-unmatch", "--"]).arg(relative);
    let mut child = start_child(|| git.spawn())?;
    let Ok(status) = tokio::time::timeout(GIT_TIMEOUT, child.wait()).await else {
        child.kill().await?;
        return Ok(None);
    };
    Ok(match status?.code() {
        Some(0) => Some(true),
        Some(1) => Some(false),
        _ => None,
    })
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "test helpers panic on failure")]
mod tests {
    use super::*;
    use std::fs;

    fn git(folder: &Path, arguments: &[&str]) {
        let mut git = std::process::Command::new("git");
        git.current_dir(folder).args(["-c", "user.name=x", "-c", "user.email=x@y"]).args(arguments);
        for variable in GIT_REPOSITORY_VARIABLES {
            git.env_remove(variable);
        }
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    }

    async fn reason(file: &Path) -> String {
        tracking_reason(file).await.unwrap_or_default()
    }

    #[tokio::test]
    async fn tracked_file_is_known_by_any_path() {
        let root = tempfile::tempdir().unwrap();
        let repository = root.path().join("clone");
        fs::create_dir_all(repository.join("sub")).unwrap();
        for name in [".env", "sub/.env", "[a].env"] {
            fs::write(repository.join(name), "x").unwrap();
        }
        assert_eq!(reason(&repository.join(".env")).await, "", "there is no repository yet");
        git(&repository, &["init", "-q"]);
        git(&repository, &["add", "sub/.env"]);
        std::os::unix::fs::symlink("sub/.env", repository.join("link")).unwrap();
        std::os::unix::fs::symlink(repository.join("sub/.env"), root.path().join("outer")).unwrap();
        assert_eq!(reason(&repository.join(".env")).await, "");
        assert_eq!(reason(&repository.join("[a].env")).await, "");
        for version_control in [repository.join("sub/.env"), repository.join("link"), root.path().join("outer")] {
            assert!(reason(&version_control).await.contains("it is tracked"), "{}", version_control.display());
        }
        // A link in the repository to a file of the user.
        fs::write(root.path().join("mine"), "x").unwrap();
        std::os::unix::fs::symlink("../mine", repository.join("planted")).unwrap();
        git(&repository, &["add", "planted"]);
        assert!(reason(&repository.join("planted")).await.contains("it is tracked"));
        // A repository within the clone does not hide the outer one's tracked files.
        git(&repository.join("sub"), &["init", "-q"]);
        assert!(reason(&repository.join("sub/.env")).await.contains("it is tracked"));
    }

    #[tokio::test]
    async fn missing_objects_are_not_fetched() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap();
        for name in ["a/x", "b/y"] {
            fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            fs::write(folder.join(name), name).unwrap();
        }
        git(&folder, &["init", "-q"]);
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "-q", "-m", "x"]);
        git(&folder, &["sparse-checkout", "init", "--cone", "--sparse-index"]);
        git(&folder, &["sparse-checkout", "set", "a"]);
        let tree =
            std::process::Command::new("git").current_dir(&folder).args(["rev-parse", "HEAD:b"]).output().unwrap();
        let tree = String::from_utf8(tree.stdout).unwrap();
        let (first, rest) = tree.trim().split_at(2);
        fs::remove_file(folder.join(".git/objects").join(first).join(rest)).unwrap();
        let ran = folder.join("ran");
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\ntouch {}\nexit 1\n", ran.display())).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for (setting, value) in [
            ("core.repositoryformatversion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.url", "ssh://x@127.0.0.1/z"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialclonefilter", "tree:0"),
            ("core.sshCommand", program.to_str().unwrap()),
        ] {
            git(&folder, &["config", setting, value]);
        }
        fs::write(folder.join(".env"), "x").unwrap();
        reason(&folder.join(".env")).await;
        assert!(!ran.exists());
    }

    #[tokio::test]
    async fn git_runs_no_programs_of_the_repository() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(".env");
        fs::write(&file, "x").unwrap();
        git(root.path(), &["init", "-q"]);
        let ran = root.path().join("ran");
        let program = root.path().join("program");
        fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for setting in ["core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass"] {
            git(root.path(), &["config", setting, program.to_str().unwrap()]);
        }
        assert_eq!(reason(&file).await, "");
        assert!(!ran.exists());
        fs::write(root.path().join(".git/index"), "no index").unwrap();
        assert!(reason(&file).await.contains("git cannot determine"));
        fs::remove_file(root.path().join(".git/index")).unwrap();
        git(root.path(), &["add", ".env"]);
        for (setting, value) in [("core.worktree", "/nonexistent"), ("core.bare", "true")] {
            git(root.path(), &["config", setting, value]);
            assert!(reason(&file).await.contains("it is tracked"), "{setting}");
        }
        for name in OTHER_CONTROL {
            let other = tempfile::tempdir().unwrap();
            fs::create_dir_all(other.path().join("below")).unwrap();
            fs::write(other.path().join(name), "").unwrap();
            fs::write(other.path().join("below/.env"), "x").unwrap();
            assert!(reason(&other.path().join("below/.env")).await.contains("working copy"), "{name}");
        }
    }
}
