//! The items that are found in the directories of a test.

use super::find::{Places, find, find_without_journals};
use super::{Row, selection, table};
use crate::args::CleanKind;
use opencode_run_core::{Input, Prompt, Recorder, SessionId, Task, TurnStart};
use opencode_run_journal::{Journal, folder_of};
use opencode_runner::{HOME_LOCK, HOME_PREFIX};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn places(folder: &TempDir) -> Places {
    let root = folder.path().canonicalize().unwrap();
    let places = Places { cache: Some(root.join("cache")), state: Some(root.join("state")), temp: root.join("temp") };
    for path in ["cache", "state/journals", "temp", "work"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    places
}

fn journal(places: &Places, name: &str, directory: &Path) -> Journal {
    let folder = folder_of(&places.state.as_ref().unwrap().join("journals"), directory);
    let journal = Journal::new(folder, Task::new(name, directory), None);
    journal.turn_started(&TurnStart::new(&Prompt::new("hello"), SystemTime::now()));
    journal.input(Duration::ZERO, &Input::Session(SessionId::new(format!("ses_{name}"))));
    journal
}

fn make(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "12345").unwrap();
    path
}

fn shown(places: &Places, kind: CleanKind) -> Vec<String> {
    find(places, &[kind], None).into_iter().map(|found| found.shown).collect()
}

#[test]
fn only_task_directories_of_unused_journals_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(&folder);
    let work = folder.path().canonicalize().unwrap().join("work");
    let ours = make(work.join("task_fix_0123abcd"));
    let busy = make(work.join("task_busy_0123abcd"));
    let foreign = make(work.join("task_other_0123abcd"));
    let project = make(work.join("project"));
    let unknown = make(work.join("task_fix_99999999"));
    let precious = make(work.join("precious"));
    std::os::unix::fs::symlink(&precious, work.join("task_link_0123abcd")).unwrap();
    drop(journal(&places, "fix", &ours));
    drop(journal(&places, "busy", &busy));
    let open = journal(&places, "busy", &busy);
    drop(journal(&places, "fix", &foreign));
    drop(journal(&places, "project", &project));
    drop(journal(&places, "link", &work.join("task_link_0123abcd")));
    assert_eq!(shown(&places, CleanKind::Tasks), [ours.to_str().unwrap()]);
    let found = find(&places, &[CleanKind::Tasks], None);
    assert_eq!(found[0].bytes, 5);
    for one in found {
        one.remove().unwrap();
    }
    assert!(!ours.exists());
    for stays in [&busy, &foreign, &project, &unknown, &precious] {
        assert!(stays.join("file").exists(), "{}", stays.display());
    }
    drop(open);
    let sessions = find(&places, &[CleanKind::Sessions], None);
    assert!(
        sessions.iter().any(|found| found.session().is_some_and(|request| request.session.to_string() == "ses_busy"))
    );
    assert!(!sessions.iter().any(|found| found.shown == "ses_fix" && found.session().unwrap().directory == ours));
}

#[test]
fn task_is_found_after_its_journal_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(&folder);
    let task = make(folder.path().canonicalize().unwrap().join("work/task_fix_0123abcd"));
    let shown = task.to_str().unwrap();
    let open = journal(&places, "fix", &task);
    assert!(find_without_journals(&places, shown).is_none(), "another conversation began");
    drop(open);
    for journal in find(&places, &[CleanKind::Journals], None) {
        journal.remove().unwrap();
    }
    find_without_journals(&places, shown).unwrap().remove().unwrap();
    assert!(!task.exists() && find_without_journals(&places, shown).is_none());
}

#[test]
fn directory_in_use_by_process_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(&folder);
    let used = make(folder.path().canonicalize().unwrap().join("work/task_used_0123abcd/deep"));
    let task = used.parent().unwrap();
    drop(journal(&places, "used", task));
    let mut sleeper = std::process::Command::new("sleep").arg("60").current_dir(&used).spawn().unwrap();
    for kind in [CleanKind::Tasks, CleanKind::Sessions, CleanKind::Journals] {
        assert!(shown(&places, kind).is_empty(), "{kind:?} of a task that is in use");
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(shown(&places, CleanKind::Tasks), [task.to_str().unwrap()]);
}

#[test]
fn isolated_home_in_use_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(&folder);
    let home = |name: &str| make(places.temp.join(format!("{HOME_PREFIX}{name}")));
    let used = home("used");
    let left = home("left");
    let young = home("young");
    let other = make(places.temp.join("other"));
    let lock = File::create(used.join(HOME_LOCK)).unwrap();
    lock.lock().unwrap();
    File::create(left.join(HOME_LOCK)).unwrap();
    std::os::unix::fs::symlink(&other, places.temp.join(format!("{HOME_PREFIX}link"))).unwrap();
    assert_eq!(shown(&places, CleanKind::Leftovers), [left.to_str().unwrap()], "{} has no lock", young.display());
    drop(lock);
    assert_eq!(shown(&places, CleanKind::Leftovers).len(), 2);
    let hour = Duration::from_hours(1);
    assert!(find(&places, &[CleanKind::Leftovers], Some(hour)).is_empty());
}

#[test]
fn journals_in_use_and_foreign_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(&folder);
    let work = folder.path().canonicalize().unwrap().join("work");
    let open = journal(&places, "one", &work);
    let closed = journal(&places, "two", &work.join("x"));
    let path = closed.path().unwrap();
    drop(closed);
    fs::write(places.state.as_ref().unwrap().join("journals/notes.jsonl"), "x").unwrap();
    fs::write(path.with_file_name("mine.jsonl"), "not a journal\n").unwrap();
    let found = find(&places, &[CleanKind::Journals], None);
    assert_eq!(found.iter().map(|found| found.shown.as_str()).collect::<Vec<_>>(), [path.to_str().unwrap()]);
    for one in found {
        one.remove().unwrap();
    }
    assert!(!path.exists() && path.with_file_name("mine.jsonl").exists() && open.path().unwrap().exists());
}

#[test]
fn selection_is_leftovers_and_mirrors_by_default() {
    assert_eq!(selection(&[]), [CleanKind::Leftovers, CleanKind::Mirrors]);
    assert_eq!(selection(&[CleanKind::Journals, CleanKind::Tasks]), [CleanKind::Tasks, CleanKind::Journals]);
    assert_eq!(selection(&[CleanKind::All]), CleanKind::EACH);
}

#[test]
fn table_names_what_is_kept_and_how_to_remove_it() {
    let mut rows: Vec<_> = CleanKind::EACH.iter().map(|kind| Row::of(*kind, &[])).collect();
    (rows[0].count, rows[0].bytes, rows[0].removed) = (3, 5 << 20, 3);
    (rows[4].count, rows[4].bytes) = (2, 2048);
    let text = table(&rows, &selection(&[]), false);
    assert!(text.contains("leftovers        3     5.0 MiB  removed\n"), "{text}");
    assert!(
        text.contains("tasks            2     2.0 KiB  kept (`opencode-run clean tasks` removes them)\n"),
        "{text}"
    );
    assert!(text.contains("mirrors          0         0 B\n"), "{text}");
}
