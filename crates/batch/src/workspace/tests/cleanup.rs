//! The directories that `clean` finds: only our own, and none that is in use.

use super::Fixture;
use crate::workspace::{unused_clones, unused_mirrors};
use std::fs;
use std::path::PathBuf;

#[tokio::test]
async fn only_unused_directories_of_ours_are_found() {
    let fixture = Fixture::new(&[("a.txt", b"one\n")]).await;
    let kept = fixture.task().await;
    let left = fixture.task().await;
    kept.keep().await.unwrap();
    let clones = kept.directory().parent().unwrap().to_owned();
    fs::create_dir(clones.join(".opencode-run-patch-abc")).unwrap();
    fs::create_dir(clones.join("notes")).unwrap();
    fs::create_dir(fixture.path("precious")).unwrap();
    std::os::unix::fs::symlink(fixture.path("precious"), clones.join("task_x_01234567")).unwrap();
    // A registry that names a directory without the mark of a batch.
    let foreign = fixture.path("foreign");
    fs::create_dir_all(foreign.join("task_x_01234567")).unwrap();
    fs::write(fixture.path("registry/foreign"), foreign.to_str().unwrap()).unwrap();
    let cache = fixture.path("cache");
    let registry = fixture.path("registry");
    assert!(unused_mirrors(&cache).is_empty() && unused_clones(&registry).is_empty(), "the batch uses them");
    let paths = [kept.directory().to_owned(), left.directory().to_owned()];
    let Fixture { folder, workspaces, .. } = fixture;
    drop((kept, left, workspaces));

    let found = unused_clones(&registry);
    let mut names: Vec<(PathBuf, bool)> = found.iter().map(|item| (item.path.clone(), item.is_kept)).collect();
    names.sort();
    let mut expected =
        vec![(clones.join(".opencode-run-patch-abc"), false), (paths[0].clone(), true), (paths[1].clone(), false)];
    expected.sort();
    assert_eq!(names, expected);
    let again = crate::workspace::Workspaces::open(super::options(folder.path()));
    assert!(again.await.is_err(), "it stays locked until it is deleted");
    for item in found {
        item.remove().unwrap();
    }
    assert!(!paths[0].exists() && clones.join("notes").exists() && folder.path().join("precious").exists());
    assert!(foreign.join("task_x_01234567").exists());
    let mirrors = unused_mirrors(&cache);
    assert!(mirrors.len() == 1 && mirrors[0].bytes > 0);
    for mirror in mirrors {
        mirror.remove().unwrap();
    }
    assert!(unused_mirrors(&cache).is_empty());
    let again = crate::workspace::Workspaces::open(super::options(folder.path())).await.unwrap();
    again.resolve(&super::spec(&folder.path().join("source"))).await.unwrap();
}
