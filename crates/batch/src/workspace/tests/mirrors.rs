//! Mirrors, references, and the directory of the clones.

use super::{Fixture, commit, git, make_repository, options, spec};
use crate::workspace::{RepositorySpec, WorkspaceError, WorkspaceOptions, Workspaces};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn references_resolve_once_to_a_commit() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let source = fixture.path("source");
    let first = fixture.repository.base_commit().to_owned();
    git(&source, &["tag", "-a", "v1", "-m", "x"]);
    git(&source, &["update-ref", "refs/pull/7/head", &first]);
    let second = commit(&source, &[("b.txt", b"two\n")]);
    git(&source, &["tag", "v2"]);
    git(&source, &["branch", "feature/x"]);
    // A second batch begins later and sees the later commits.
    let later = Workspaces::open(WorkspaceOptions::new(fixture.path("cache"), fixture.path("later")).supervisor(None));
    let later = later.await.unwrap();
    let short = &first[..10];
    for (reference, commit) in [
        ("v1", &first),
        ("v2", &second),
        ("trunk", &second),
        ("origin/trunk", &second),
        ("refs/heads/feature/x", &second),
        ("refs/pull/7/head", &first),
        (first.as_str(), &first),
        (short, &first),
        ("HEAD", &second),
    ] {
        let resolved = later.resolve(&spec(&source).reference(reference)).await.unwrap();
        assert_eq!(resolved.base_commit(), commit, "{reference}");
    }
    let still = fixture.workspaces.resolve(&spec(&source)).await.unwrap();
    assert_eq!(still.base_commit(), first, "the same batch resolves a reference once");
    for unknown in ["nothing", "--all", "v3", &"1".repeat(40)] {
        let error = later.resolve(&spec(&source).reference(unknown)).await.unwrap_err();
        assert!(matches!(error, WorkspaceError::UnknownReference { .. }), "{unknown}: {error}");
    }
}

#[tokio::test]
async fn clone_has_branch_remote_and_earlier_tags() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let source = fixture.path("source");
    git(&source, &["tag", "v1"]);
    git(&source, &["branch", "old"]);
    commit(&source, &[("b.txt", b"two\n")]);
    git(&source, &["tag", "v2"]);
    let options = WorkspaceOptions::new(fixture.path("cache"), fixture.path("later")).supervisor(None);
    let later = Workspaces::open(options).await.unwrap();
    let repository = later.resolve(&spec(&source).reference("old")).await.unwrap();
    let task = later.clone_repository(&repository, "../x y").await.unwrap();
    let root = task.directory();
    assert!(root.file_name().unwrap().to_str().unwrap().starts_with("task_x-y_"), "{}", root.display());
    assert_eq!(git(root, &["branch", "--show-current"]), "old\n");
    assert_eq!(git(root, &["tag"]), "v1\n", "later tags would show later work");
    assert_eq!(git(root, &["describe", "--tags"]), "v1\n");
    assert_eq!(git(root, &["remote", "get-url", "origin"]).trim(), source.to_str().unwrap());
    assert_eq!(git(root, &["fsck", "--no-dangling"]), "");
}

#[tokio::test]
async fn known_commit_needs_no_remote() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let options = WorkspaceOptions::new(fixture.path("cache"), fixture.path("later")).supervisor(None);
    let later = Workspaces::open(options).await.unwrap();
    fs::remove_dir_all(fixture.path("source/.git")).unwrap();
    let spec = spec(&fixture.path("source")).reference(fixture.repository.base_commit());
    later.resolve(&spec).await.unwrap();
    let error = later.resolve(&super::spec(&fixture.path("source"))).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Git { operation: "fetch", .. }), "{error}");
}

#[tokio::test]
async fn shallow_repository_is_cloned() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let source = fixture.path("source");
    let last = commit(&source, &[("b.txt", b"two\n")]);
    let url = format!("file://{}", source.display());
    git(&fixture.path("."), &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let repository = fixture.workspaces.resolve(&spec(&fixture.path("shallow"))).await.unwrap();
    assert_eq!(repository.base_commit(), last);
    let task = fixture.workspaces.clone_repository(&repository, "x").await.unwrap();
    assert_eq!(git(task.directory(), &["log", "--format=%H"]).trim(), last);
    assert_eq!(git(task.directory(), &["fsck", "--no-dangling"]), "");
    fs::write(task.directory().join("b.txt"), "three\n").unwrap();
    assert_eq!(fixture.patch(&task).await.files, 1);
}

#[tokio::test]
async fn concurrent_batches_fetch_one_mirror() {
    let folder = tempfile::tempdir().unwrap();
    make_repository(&folder.path().join("source"), &[("a.txt", b"one\n")]);
    let open = async |name: &str| {
        let clones = folder.path().join(name);
        let workspaces = Workspaces::open(WorkspaceOptions::new(folder.path().join("cache"), clones).supervisor(None));
        let workspaces = workspaces.await.unwrap();
        let repository = workspaces.resolve(&spec(&folder.path().join("source"))).await.unwrap();
        workspaces
            .clone_repository(&repository, name)
            .await
            .unwrap()
            .take_patch(&folder.path().join(name).join("p"))
            .await
    };
    let (one, two, three) = tokio::join!(open("one"), open("two"), open("three"));
    for patch in [one, two, three] {
        assert_eq!(patch.unwrap().bytes, 0);
    }
    let mirrors = fs::read_dir(folder.path().join("cache/mirrors")).unwrap();
    let mirrors = mirrors.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "git");
    assert_eq!(mirrors.count(), 1);
}

#[tokio::test]
async fn mirror_of_killed_fetch_is_repaired() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let mirror = &fixture.repository.mirror;
    for lock in ["packed-refs.lock", "HEAD.lock", "refs/heads/trunk.lock"] {
        fs::write(mirror.join(lock), "").unwrap();
    }
    let source = fixture.path("source");
    let second = commit(&source, &[("b.txt", b"two\n")]);
    git(&source, &["branch", "-m", "trunk", "trunk/renamed"]);
    let options = WorkspaceOptions::new(fixture.path("cache"), fixture.path("later")).supervisor(None);
    let later = Workspaces::open(options).await.unwrap();
    assert_eq!(later.resolve(&spec(&source)).await.unwrap().base_commit(), second);
}

#[tokio::test]
async fn leftovers_are_removed_except_kept_clones() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let kept = fixture.task().await;
    let left = fixture.task().await;
    let removed = fixture.task().await;
    kept.keep().await.unwrap();
    fs::create_dir(left.directory().join("locked")).unwrap();
    fs::write(left.directory().join("locked/x"), "").unwrap();
    fs::set_permissions(left.directory().join("locked"), fs::Permissions::from_mode(0o500)).unwrap();
    let foreign = fixture.path("clones/notes");
    fs::create_dir(&foreign).unwrap();
    let paths = [&kept, &left, &removed].map(|task| task.directory().to_owned());
    removed.remove().await.unwrap();
    assert!(!paths[2].exists());
    let Fixture { folder, workspaces, .. } = fixture;
    drop((kept, left, workspaces));
    let again = Workspaces::open(options(folder.path())).await.unwrap();
    assert!(paths[0].exists() && !paths[1].exists() && foreign.exists());
    let entry = fs::read_dir(folder.path().join("registry")).unwrap().next().unwrap().unwrap();
    let recorded = fs::read_to_string(entry.path()).unwrap();
    assert_eq!(recorded, folder.path().join("clones").canonicalize().unwrap().to_str().unwrap());
    drop(again);
}

#[tokio::test]
async fn missing_and_old_git_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let open = async || {
        let environment = [("PATH".into(), bin.clone().into_os_string())];
        let workspaces = Workspaces::open(options(folder.path()).environment(environment, [])).await.unwrap();
        workspaces.new_directory("needs-no-git").await.unwrap();
        workspaces.resolve(&spec(folder.path())).await.unwrap_err().to_string()
    };
    assert!(open().await.contains("git is not on PATH"));
    fs::write(bin.join("git"), "#!/bin/sh\necho git version 2.30.2\n").unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(open().await.contains("git 2.30.2 is too old"));
}

#[tokio::test]
async fn repository_without_commits_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "empty"]);
    let workspaces = Workspaces::open(options(folder.path())).await.unwrap();
    let error = workspaces.resolve(&spec(&folder.path().join("empty"))).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::UnknownReference { .. }), "{error}");
    let error = workspaces.resolve(&RepositorySpec::new("file:///nowhere/x")).await.unwrap_err();
    assert!(error.to_string().contains("git fetch failed"), "{error}");
}
