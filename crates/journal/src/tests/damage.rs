//! Files left by a crash, written by a later version, or edited by hand.

use super::*;
use crate::replay::recover;

fn recovered(bytes: &[u8]) -> Result<Recovered, JournalError> {
    recover(Path::new("journal"), bytes)
}

/// Returns the bytes of a journal with one turn, and its conversation.
fn whole() -> (Vec<u8>, Conversation) {
    let mut told = Recorded::new();
    a_turn(&mut told);
    told.length();
    (fs::read(told.path()).unwrap(), told.live())
}

#[test]
fn lines_match_documentation() {
    let (bytes, _) = whole();
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
}

#[test]
fn truncated_file_is_read_until_there() {
    let mut told = Recorded::new();
    told.begin(&Prompt::new("hi"));
    let mut known = vec![(told.length(), told.live())];
    let header = fs::read_to_string(told.path()).unwrap().find('\n').unwrap() as u64 + 1;
    let mut inputs = vec![Input::Session(SessionId::new("ses_1")), event(Event::StepStart)];
    inputs.extend(["Hel", "lo", " wörld"].map(delta));
    inputs.extend([text("Hello, wörld"), finish(1.0), Input::Ended(Ending::Finished)]);
    for (at, input) in (1..).zip(inputs) {
        told.input(Duration::from_millis(at), &input);
        known.push((told.length(), told.live()));
    }
    let bytes = fs::read(told.path()).unwrap();
    for cut in 0..=bytes.len() {
        let read = recovered(&bytes[..cut]);
        let cut = cut as u64;
        if cut < header {
            assert!(matches!(read, Err(JournalError::Foreign { .. })), "{cut}");
            continue;
        }
        let read = read.unwrap();
        let (whole, conversation) = match known.iter().rfind(|(length, _)| *length <= cut) {
            Some((length, conversation)) => (*length, conversation.clone()),
            None => (header, Conversation::new(task())),
        };
        assert_eq!((read.conversation, read.skipped_lines), (conversation, 0), "{cut}");
        assert_eq!((read.whole_bytes, read.truncated_bytes), (whole, cut - whole));
    }
}

#[test]
fn unknown_lines_are_skipped_and_counted() {
    let (bytes, conversation) = whole();
    let lines: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().collect();
    let odd = [
        "{\"weather\":{\"at\":1,\"sky\":\"blue\"}}",
        "{\"event\":{\"at\":1,\"event\":{\"type\":\"hologram\"},\"sub_agent\":null,\"raw\":null}}",
        "",
        "\0\0\0\0",
        "{\"event\":{\"at\":",
        lines[0],
    ];
    for place in 1..=lines.len() {
        let mut lines = lines.clone();
        lines.splice(place..place, odd);
        let read = recovered((lines.join("\n") + "\n").as_bytes()).unwrap();
        assert_eq!((&read.conversation, read.skipped_lines), (&conversation, odd.len() as u64), "{place}");
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let (bytes, conversation) = whole();
    let more = String::from_utf8(bytes).unwrap().replace("\"at\":", "\"mood\":{\"x\":[]},\"at\":");
    assert_eq!(recovered(more.as_bytes()).unwrap().conversation, conversation);
}

#[test]
fn inputs_without_turn_are_skipped() {
    let (bytes, _) = whole();
    let lines: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().collect();
    let without: Vec<&str> = lines.iter().filter(|line| !line.starts_with("{\"turn\"")).copied().collect();
    let read = recovered((without.join("\n") + "\n").as_bytes()).unwrap();
    assert_eq!((read.conversation.turns.len(), read.skipped_lines), (0, without.len() as u64 - 1));
}

#[test]
fn foreign_file_is_rejected() {
    for foreign in ["", "\n", "{}\n", "[1]\n", "{\"turn\":{}}\n", "hello\n", "{\"journal\":{\"format\":1}}\n"] {
        let error = recovered(foreign.as_bytes()).unwrap_err();
        assert!(matches!(error, JournalError::Foreign { .. }), "{foreign:?}: {error}");
    }
    assert!(matches!(read(Path::new("/nowhere/journal")), Err(JournalError::Io { .. })));
}

#[test]
fn journal_of_a_later_format_is_read_but_not_continued() {
    let (bytes, conversation) = whole();
    let newer = String::from_utf8(bytes).unwrap().replacen("\"format\":1", "\"format\":2", 1);
    let newer = newer + "{\"ended\":{\"at\":1,\"ending\":\"dissolved\"}}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.jsonl");
    std::fs::write(&path, &newer).unwrap();
    let read = read(&path).unwrap();
    assert_eq!((read.conversation, read.skipped_lines), (conversation, 1));
    assert_eq!(read.format, 2);
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Newer { format: 2, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn unfinished_turn_is_running() {
    let mut told = Recorded::new();
    told.begin(&Prompt::new("hi"));
    told.input(Duration::from_secs(1), &delta("half"));
    told.length();
    let conversation = read(&told.path()).unwrap().conversation;
    assert_eq!((conversation.state(), conversation.turns[0].output()), (RunState::Running, "half".to_owned()));

    told.begin(&Prompt::new("go on"));
    told.input(Duration::from_secs(1), &text("whole"));
    told.length();
    let conversation = read(&told.path()).unwrap().conversation;
    let states: Vec<_> = conversation.turns.iter().map(|turn| turn.state).collect();
    assert_eq!(states, [RunState::Error, RunState::Running]);
    assert_eq!(conversation, told.live());
}
