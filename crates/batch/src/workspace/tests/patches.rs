//! Patches that apply to a fresh clone and give the same tree.

use super::{Fixture, commit, git, make_repository};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const FILES: [(&str, &[u8]); 5] = [
    ("a.txt", b"one\ntwo\nthree\n"),
    ("b.txt", b"gone\n"),
    ("src/lib.rs", b"fn main() {}"),
    ("image.bin", b"\0\x01\x02\xff"),
    (".gitignore", b"target/\n"),
];

#[tokio::test]
async fn patch_has_every_kind_of_change() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    let root = task.directory();
    fs::write(root.join("a.txt"), "one\n2\nthree").unwrap();
    fs::remove_file(root.join("b.txt")).unwrap();
    fs::write(root.join("image.bin"), [0, 1, 2, 254, 0]).unwrap();
    fs::write(root.join("new\nline \"quoted\" ü.txt"), "new\n").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::create_dir_all(root.join("target")).unwrap();
    fs::write(root.join("target/ignored"), "x").unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    fs::set_permissions(root.join("src/lib.rs"), fs::Permissions::from_mode(0o755)).unwrap();
    let patch = fixture.patch(&task).await;
    assert_eq!((patch.files, patch.warnings.as_slice()), (7, [].as_slice()));
    assert_eq!(fs::metadata(&patch.path).unwrap().len(), patch.bytes);
    assert!(fs::read(&patch.path).unwrap().ends_with(b"\n"));
    let beside = fs::read_dir(patch.path.parent().unwrap()).unwrap();
    let temporary = beside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".patch-"));
    assert_eq!(temporary.count(), 0);
    let fresh = fixture.apply(&patch);
    assert_eq!(fs::read(fresh.join("image.bin")).unwrap(), [0, 1, 2, 254, 0]);
    assert_eq!(fs::read(fresh.join("a.txt")).unwrap(), b"one\n2\nthree");
    assert_eq!(fs::read_link(fresh.join("link")).unwrap(), std::path::Path::new("/etc/passwd"));
    assert!(!fresh.join("b.txt").exists() && !fresh.join("target").exists());
}

#[tokio::test]
async fn unchanged_clone_has_empty_patch() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    assert_eq!(git(task.directory(), &["status", "--porcelain"]), "");
    assert_eq!(git(task.directory(), &["rev-parse", "HEAD"]).trim(), fixture.repository.base_commit());
    let patch = fixture.patch(&task).await;
    assert_eq!((patch.bytes, patch.files), (0, 0));
    assert!(patch.path.exists());
    fixture.apply(&patch);
}

#[tokio::test]
async fn emptied_clone_has_patch_of_deletions() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    for name in ["a.txt", "b.txt", "image.bin", ".gitignore", "src/lib.rs"] {
        fs::remove_file(task.directory().join(name)).unwrap();
    }
    let patch = fixture.patch(&task).await;
    assert_eq!(patch.files, 5);
    fixture.apply(&patch);
}

#[tokio::test]
async fn commits_of_agent_and_removed_git_do_not_matter() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    commit(task.directory(), &[("committed", b"1\n"), ("a.txt", b"changed\n")]);
    git(task.directory(), &["checkout", "-q", "--orphan", "other"]);
    fs::write(task.directory().join("later"), "2\n").unwrap();
    let with_git = fixture.patch(&task).await;
    assert_eq!(with_git.files, 3);
    fs::remove_dir_all(task.directory().join(".git")).unwrap();
    let without_git = fixture.patch(&task).await;
    assert_eq!(with_git, without_git);
    fs::write(task.directory().join(".git"), "gitdir: /nowhere\n").unwrap();
    assert_eq!(fixture.patch(&task).await, without_git);
    fixture.apply(&without_git);
}

#[tokio::test]
async fn nested_repository_is_skipped_with_warning() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    make_repository(&task.directory().join("vendor/inner"), &[("x", b"1\n")]);
    git(task.directory(), &["init", "-q", "empty-repository"]);
    // A tracked directory that became a repository is still the task's work.
    git(&task.directory().join("src"), &["init", "-q"]);
    fs::write(task.directory().join("src/lib.rs"), "fn changed() {}\n").unwrap();
    fs::write(task.directory().join("src/new.rs"), "// new\n").unwrap();
    let patch = fixture.patch(&task).await;
    let warnings = patch.warnings.join("\n");
    assert_eq!((patch.files, patch.warnings.len()), (2, 3), "{warnings}");
    assert!(warnings.contains("\"vendor/inner\"") && warnings.contains("\"empty-repository\""), "{warnings}");
    let fresh = fixture.apply(&patch);
    assert_eq!(fs::read(fresh.join("src/lib.rs")).unwrap(), b"fn changed() {}\n");
    assert!(fresh.join("src/new.rs").exists());
}

#[tokio::test]
async fn submodule_keeps_its_commit() {
    let fixture = Fixture::new(&FILES).await;
    make_repository(&fixture.path("library"), &[("x", b"1\n")]);
    let source = fixture.path("source");
    git(&source, &["submodule", "--quiet", "add", fixture.path("library").to_str().unwrap(), "lib"]);
    let with_submodule = commit(&source, &[]);
    let spec = super::spec(&source).reference(&with_submodule);
    let repository = fixture.workspaces.resolve(&spec).await.unwrap();
    let task = fixture.workspaces.clone_repository(&repository, "x").await.unwrap();
    assert_eq!(fs::read_dir(task.directory().join("lib")).unwrap().count(), 0, "submodules are not cloned");
    assert_eq!(fixture.patch(&task).await.bytes, 0);
    fs::write(task.directory().join("lib/new"), "1\n").unwrap();
    let warnings = fixture.patch(&task).await.warnings;
    assert_eq!(warnings, ["the patch lacks the files in the submodule \"lib\""]);
    fs::remove_file(task.directory().join("lib/new")).unwrap();
    git(task.directory(), &["submodule", "--quiet", "update", "--init"]);
    fs::write(task.directory().join("lib/x"), "2\n").unwrap();
    fs::write(task.directory().join("a.txt"), "2\n").unwrap();
    let patch = fixture.patch(&task).await;
    assert_eq!((patch.files, patch.warnings.len()), (1, 1), "{:?}", patch.warnings);
    assert!(patch.warnings[0].contains("\"lib\""));
}

#[tokio::test]
async fn unreadable_file_is_a_warning() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root can read every file");
        return;
    }
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    fs::write(task.directory().join("secret"), "x").unwrap();
    fs::set_permissions(task.directory().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(task.directory().join("a.txt"), "2\n").unwrap();
    let patch = fixture.patch(&task).await;
    assert!(patch.files == 1 && patch.warnings[0].contains("secret"), "{:?}", patch.warnings);
    fixture.apply(&patch);
}

#[tokio::test]
async fn file_that_git_refuses_is_a_warning() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    fs::write(task.directory().join("git~1"), "x").unwrap();
    fs::write(task.directory().join("a.txt"), "2\n").unwrap();
    let patch = fixture.patch(&task).await;
    assert!(patch.files == 1 && patch.warnings[0].contains("git~1"), "{:?}", patch.warnings);
    fixture.apply(&patch);
}

#[tokio::test]
async fn pipes_and_sockets_are_skipped() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    rustix::fs::mkfifoat(rustix::fs::CWD, task.directory().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(task.directory().join("socket")).unwrap();
    assert_eq!(fixture.patch(&task).await.bytes, 0);
}

#[tokio::test]
async fn line_endings_of_attributes_are_applied() {
    let fixture = Fixture::new(&FILES).await;
    let task = fixture.task().await;
    fs::write(task.directory().join(".gitattributes"), "*.txt text eol=crlf diff=custom filter=custom\n").unwrap();
    fs::write(task.directory().join("a.txt"), "one\r\n2\r\n").unwrap();
    let patch = fixture.patch(&task).await;
    fixture.apply(&patch);
}
