//! The file itself: its location, its permissions, its lock, and write errors.

use super::*;
use crate::folder_of;
use crate::writer::Writer;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn conversation_without_turns_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::new(folder.path().join("new"), task(), None);
    assert_eq!((journal.path(), journal.error().is_none()), (None, true));
    drop(journal);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn only_owner_can_read_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::new(folder.path().join("a/b"), task(), None);
    journal.turn_started(&TurnStart::new(&Prompt::new("hi"), SystemTime::UNIX_EPOCH));
    let path = journal.path().unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("19700101T000000Z-"), "{path:?}");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "there is no other file");
}

#[test]
fn truncated_journal_is_continued() {
    let mut told = Recorded::new();
    a_turn(&mut told);
    let path = told.path();
    let live = told.live();
    drop(told.journal);
    let torn = b"{\"event\":{\"at\":12";
    fs::write(&path, [fs::read(&path).unwrap().as_slice(), torn].concat()).unwrap();

    let (journal, recovered) = Journal::open(&path).unwrap();
    assert_eq!((&recovered.conversation, recovered.truncated_bytes), (&live, torn.len() as u64));
    let mut told = Recorded { folder: told.folder, journal, conversation: recovered.conversation, turn: None };
    a_turn(&mut told);
    told.length();
    let again = read(&path).unwrap();
    assert_eq!((again.conversation.turns.len(), again.truncated_bytes, again.skipped_lines), (2, 0, 0));
    assert_eq!(again.conversation, told.live());
}

#[test]
fn deleted_journal_records_nothing_more() {
    let mut told = Recorded::new();
    a_turn(&mut told);
    let beside = told.folder.path().join("beside");
    fs::write(&beside, "").unwrap();
    told.journal.delete();
    a_turn(&mut told);
    assert_eq!((told.journal.path(), told.journal.error().is_none()), (None, true));
    assert_eq!(fs::read_dir(told.folder.path()).unwrap().count(), 1);
    // The last journal leaves no directory.
    fs::remove_file(beside).unwrap();
    let journal = Journal::new(told.folder.path().join("own"), task(), None);
    journal.turn_started(&TurnStart::new(&Prompt::new("hi"), SystemTime::UNIX_EPOCH));
    journal.delete();
    assert_eq!(fs::read_dir(told.folder.path()).unwrap().count(), 0);
}

#[test]
fn second_writer_is_rejected() {
    let mut told = Recorded::new();
    a_turn(&mut told);
    let path = told.path();
    assert!(matches!(Journal::open(&path), Err(JournalError::Busy { .. })));
    let reading = read(&path).unwrap();
    assert_eq!((reading.in_use, reading.conversation), (true, told.live()));
    drop(told.journal);
    assert!(!read(&path).unwrap().in_use);
    let (first, _) = Journal::open(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Busy { .. })));
    drop(first);
    Journal::open(&path).unwrap();
}

#[test]
fn unwritable_directory_does_not_affect_turn() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let journal = Journal::new(folder.path().join("file/below"), task(), None);
    journal.turn_started(&TurnStart::new(&Prompt::new("hi"), SystemTime::UNIX_EPOCH));
    journal.input(Duration::ZERO, &text("x"));
    journal.flush();
    assert!(matches!(journal.error().as_deref(), Some(JournalError::Io { .. })));
    assert_eq!(journal.path(), None);
}

#[test]
fn full_disk_does_not_affect_turn() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("full.jsonl");
    symlink("/dev/full", &link).unwrap();
    let mut writer = Writer::with_file(link.clone(), File::options().write(true).open(&link).unwrap());
    let start = TurnStart::new(&Prompt::new("hi"), SystemTime::UNIX_EPOCH);
    assert!(writer.turn(&start).is_err());

    let journal =
        Journal::with_writer(Writer::with_file(link.clone(), File::options().write(true).open(&link).unwrap()));
    journal.input(Duration::ZERO, &delta("held back"));
    assert!(journal.error().is_none());
    journal.flush();
    let error = journal.error().unwrap();
    assert!(error.to_string().contains("full.jsonl"), "{error}");
    journal.turn_started(&start);
    journal.input(Duration::ZERO, &text("x"));
    assert_eq!(journal.error().unwrap().to_string(), error.to_string());
}

#[test]
fn deltas_are_buffered_until_turn_waits() {
    let mut told = Recorded::new();
    told.begin(&Prompt::new("hi"));
    let before = told.length();
    let on_disk = |told: &Recorded| fs::metadata(told.path()).unwrap().len();
    told.input(Duration::ZERO, &delta("x"));
    assert_eq!(on_disk(&told), before);
    told.journal.flush();
    let settled = on_disk(&told);
    assert!(settled > before);
    told.input(Duration::ZERO, &delta("x"));
    told.input(Duration::ZERO, &event(Event::StepStart));
    assert!(on_disk(&told) > settled);
    assert_eq!(read(&told.path()).unwrap().conversation, told.live());
}

#[test]
fn each_task_has_its_own_directory() {
    let folder = |dir: &str| folder_of(Path::new("/state"), Path::new(dir)).to_str().unwrap().to_owned();
    let name = folder("/home/me/task_hello_0a1b2c3d");
    let hash = name.strip_prefix("/state/task_hello_0a1b2c3d-").unwrap();
    assert!(hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    assert_eq!(name, folder("/home/me/task_hello_0a1b2c3d"));
    assert_ne!(name, folder("/other/task_hello_0a1b2c3d"));
    assert!(folder("/").starts_with("/state/-"));
    assert!(folder("/a/..b c/é\n").starts_with("/state/__-"), "{}", folder("/a/..b c/é\n"));
    assert!(folder(&format!("/{}", "x".repeat(255))).len() < 80);
}

#[test]
fn latest_journal_was_written_last() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(latest(&folder.path().join("none"), None).unwrap(), None);
    assert_eq!(latest(folder.path(), None).unwrap(), None);
    let tell = |session: Option<&str>, named: Option<&str>| {
        let journal = Journal::new(folder.path(), task(), session.map(SessionId::new));
        journal.turn_started(&TurnStart::new(&Prompt::new("hi"), SystemTime::UNIX_EPOCH));
        if let Some(named) = named {
            journal.input(Duration::ZERO, &Input::Session(SessionId::new(named)));
        }
        std::thread::sleep(Duration::from_millis(20));
        journal.path().unwrap()
    };
    let first = tell(None, Some("ses_1"));
    let second = tell(Some("ses_2"), None);
    let third = tell(None, None);
    fs::write(folder.path().join("z.txt"), "").unwrap();
    let latest = |session: Option<&str>| latest(folder.path(), session.map(SessionId::new).as_ref()).unwrap();
    assert_eq!(latest(None), Some(third));
    assert_eq!(latest(Some("ses_1")), Some(first.clone()));
    assert_eq!((latest(Some("ses_2")), latest(Some("ses_3"))), (Some(second), None));
    let (journal, _) = Journal::open(&first).unwrap();
    journal.turn_started(&TurnStart::new(&Prompt::new("again"), SystemTime::UNIX_EPOCH));
    drop(journal);
    assert_eq!(latest(None), Some(first));
}
