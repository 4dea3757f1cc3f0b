//! Directories in which an agent has planted attacks on later commands.

use super::{Fixture, commit, git, make_repository};
use crate::CheckFiles;
use crate::workspace::{ArtifactLimits, WorkspaceError, WorkspaceOptions, Workspaces};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Every hook that a git command could run here.
const HOOKS: [&str; 9] = [
    "pre-commit",
    "post-index-change",
    "post-checkout",
    "reference-transaction",
    "fsmonitor-watchman",
    "pre-auto-gc",
    "post-rewrite",
    "post-commit",
    "proc-receive",
];

/// Plants every program that a repository can have git run, in its configuration, its hooks and its attributes.
fn plant(repository: &Path, ran: &Path) {
    let program = repository.join(".git/program");
    fs::write(&program, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", ran.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap();
    let hooks = repository.join(".git/hooks");
    let template = repository.join(".git/template");
    fs::create_dir_all(&hooks).unwrap();
    fs::create_dir_all(template).unwrap();
    for hook in HOOKS {
        fs::copy(program, hooks.join(hook)).unwrap();
    }
    for setting in [
        "core.fsmonitor",
        "diff.external",
        "diff.custom.textconv",
        "diff.custom.command",
        "filter.custom.clean",
        "filter.custom.smudge",
        "filter.custom.process",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "gpg.program",
        "core.askPass",
        "credential.helper",
        "uploadpack.packObjectsHook",
    ] {
        git(repository, &["config", setting, program]);
    }
    git(repository, &["config", "core.hooksPath", hooks.to_str().unwrap()]);
    git(repository, &["config", "commit.gpgSign", "true"]);
    git(repository, &["config", "filter.custom.required", "false"]);
}

#[tokio::test]
async fn planted_programs_do_not_run() {
    let fixture = Fixture::new(&[("a.txt", b"one\n"), ("sub/b.txt", b"two\n")]).await;
    let task = fixture.task().await;
    let root = task.directory();
    commit(root, &[("committed", b"1\n")]);
    fs::write(root.join(".gitattributes"), "* diff=custom filter=custom\n").unwrap();
    fs::write(root.join("a.txt"), "changed\n").unwrap();
    let ran = fixture.path("ran");
    make_repository(&root.join("nested"), &[("x", b"1\n")]);
    for repository in [root, &root.join("nested")] {
        plant(repository, &ran);
    }
    fs::write(root.join("nested/x"), "2\n").unwrap();
    let patch = fixture.patch(&task).await;
    assert!(!ran.exists(), "{}", fs::read_to_string(&ran).unwrap());
    fixture.apply(&patch);
    // The planted programs work: an ordinary git command runs them.
    let mut status = std::process::Command::new("git");
    status.current_dir(root).args(["status", "--short"]).output().unwrap();
    assert!(ran.exists());
}

#[tokio::test]
async fn submodule_with_planted_programs_is_not_entered() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    make_repository(&fixture.path("library"), &[("x", b"1\n")]);
    let source = fixture.path("source");
    git(&source, &["submodule", "--quiet", "add", fixture.path("library").to_str().unwrap(), "lib"]);
    let spec = super::spec(&source).reference(commit(&source, &[]));
    let repository = fixture.workspaces.resolve(&spec).await.unwrap();
    let task = fixture.workspaces.clone_repository(&repository, "x").await.unwrap();
    let lib = task.directory().join("lib");
    let ran = fixture.path("ran");
    fs::remove_dir(&lib).unwrap();
    git(task.directory(), &["clone", "-q", fixture.path("library").to_str().unwrap(), "lib"]);
    plant(&lib, &ran);
    fs::write(lib.join("x"), "2\n").unwrap();
    fixture.patch(&task).await;
    assert!(!ran.exists(), "{}", fs::read_to_string(&ran).unwrap());
}

#[tokio::test]
async fn planted_mirror_configuration_does_not_run() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let mirror = fixture.repository.mirror.clone();
    let ran = fixture.path("ran");
    let script = format!("#!/bin/sh\necho ran >> {}\n", ran.display());
    fs::create_dir_all(mirror.join("hooks")).unwrap();
    for hook in HOOKS {
        fs::write(mirror.join("hooks").join(hook), &script).unwrap();
        fs::set_permissions(mirror.join("hooks").join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(fixture.path("program"), &script).unwrap();
    fs::set_permissions(fixture.path("program"), fs::Permissions::from_mode(0o755)).unwrap();
    let program = fixture.path("program");
    git(&mirror, &["config", "remote.origin.uploadpack", program.to_str().unwrap()]);
    git(&mirror, &["config", "core.fsmonitor", program.to_str().unwrap()]);
    let source = fixture.path("source");
    commit(&source, &[("b.txt", b"two\n")]);
    // The first batch still has the clones.
    let later = Workspaces::open(super::options(&fixture.path("")));
    assert!(matches!(later.await, Err(WorkspaceError::Busy { .. })));
    let options = WorkspaceOptions::new(fixture.path("cache"), fixture.path("other-clones"));
    let later = Workspaces::open(options.supervisor(None)).await.unwrap();
    let repository = later.resolve(&super::spec(&source)).await.unwrap();
    assert_ne!(repository.base_commit(), fixture.repository.base_commit());
    assert!(!ran.exists());
}

#[tokio::test]
async fn replaced_directory_is_refused() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    fs::remove_dir_all(task.directory()).unwrap();
    fs::create_dir(fixture.path("victim")).unwrap();
    symlink(fixture.path("victim"), task.directory()).unwrap();
    let to = fixture.path("patch.diff");
    let replaced = |error| matches!(error, WorkspaceError::DirectoryReplaced { .. });
    assert!(replaced(task.take_patch(&to).await.unwrap_err()));
    fs::write(fixture.path("test.py"), "x").unwrap();
    let files = CheckFiles::Files([("test.py".to_owned(), fixture.path("test.py"))].into());
    assert!(replaced(task.lay_over(&files).await.unwrap_err()));
    assert!(replaced(task.collect_artifacts(&["*".to_owned()], &to, ArtifactLimits::default()).await.unwrap_err()));
    assert_eq!(fs::read_dir(fixture.path("victim")).unwrap().count(), 0);
    // Only the link is removed.
    task.remove().await.ok();
    assert!(fixture.path("victim").is_dir());
}

#[tokio::test]
async fn check_files_do_not_follow_planted_links() {
    let fixture = Fixture::new(&[("tests/test.py", b"one\n")]).await;
    let task = fixture.task().await;
    let root = task.directory();
    let victim = fixture.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("test.py"), "untouched").unwrap();
    fs::remove_dir_all(root.join("tests")).unwrap();
    symlink(&victim, root.join("tests")).unwrap();
    symlink(victim.join("test.py"), root.join("direct.py")).unwrap();
    fs::create_dir(root.join("folder.py")).unwrap();
    fs::create_dir(root.join("locked")).unwrap();
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(fixture.path("good.py"), "good").unwrap();
    let each = |to: &str| (to.to_owned(), fixture.path("good.py"));
    let places = ["tests/test.py", "direct.py", "folder.py", "locked/x.py", "new/deep/x.py"];
    task.lay_over(&CheckFiles::Files(places.map(each).into())).await.unwrap();
    for place in places {
        assert_eq!(fs::read_to_string(root.join(place)).unwrap(), "good", "{place}");
    }
    assert_eq!(fs::read_to_string(victim.join("test.py")).unwrap(), "untouched");
    for outside in ["../x.py", "/tmp/x.py", ".git/hooks/pre-commit", "a/../../x", ""] {
        let error = task.lay_over(&CheckFiles::Files([each(outside)].into())).await.unwrap_err();
        assert!(matches!(error, WorkspaceError::PathEscapes { .. }), "{outside}: {error}");
    }
}

#[tokio::test]
async fn artifacts_are_never_read_through_links() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    let root = task.directory();
    fs::write(fixture.path("secret"), "secret").unwrap();
    fs::create_dir_all(root.join("out/deep")).unwrap();
    fs::write(root.join("out/deep/report.xml"), "<x/>").unwrap();
    fs::write(root.join("out/other.txt"), "no").unwrap();
    symlink(fixture.path("secret"), root.join("out/link.xml")).unwrap();
    symlink(fixture.path(""), root.join("out/linked")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("out/pipe.xml"), rustix::fs::Mode::RWXU).unwrap();
    let to = fixture.path("artifacts");
    let patterns = ["out/**/*.xml".to_owned(), "*.txt".to_owned()];
    let kept = task.collect_artifacts(&patterns, &to, ArtifactLimits::default()).await.unwrap();
    assert_eq!(kept.files, [Path::new("a.txt"), Path::new("out/deep/report.xml")]);
    assert_eq!((kept.bytes, kept.skipped), (8, 2));
    assert_eq!(fs::read_to_string(to.join("out/deep/report.xml")).unwrap(), "<x/>");
    let limits = ArtifactLimits { files: 1, bytes: 1000 };
    let kept = task.collect_artifacts(&patterns, &to, limits).await.unwrap();
    assert_eq!((kept.files.len(), kept.skipped), (1, 3));
    let error = task.collect_artifacts(&["[".to_owned()], &to, ArtifactLimits::default()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Pattern(_)));
}

#[tokio::test]
async fn subdirectory_must_stay_inside() {
    let fixture = Fixture::new(&[("sub/a.txt", b"one\n")]).await;
    let task = fixture.task().await;
    assert_eq!(task.working_directory(Some("./sub")).unwrap(), task.directory().join("sub"));
    symlink("/", task.directory().join("out")).unwrap();
    for outside in ["..", "/", "out", "missing"] {
        assert!(task.working_directory(Some(outside)).is_err(), "{outside}");
    }
}
