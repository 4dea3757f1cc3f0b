use super::*;
use crate::ledger::{LedgerState, Standing, TaskResult, read_lines, to_line};
use crate::task::{IdHash, TaskHash};
use opencode_runner::{FailureKind, Report, ReportError, RunState};
use std::fs;

fn result(id: &str, attempt: u32, failure: Option<FailureKind>) -> TaskResult {
    let state = if failure.is_some() { RunState::Error } else { RunState::Completed };
    let mut report: Report = Report::without_turn(id, state);
    report.error = failure.map(|kind| ReportError::new(kind, "no luck", None));
    report.cost = 0.5;
    TaskResult::new(id, attempt, TaskHash("ab".repeat(32)), jiff::Timestamp::UNIX_EPOCH, report)
}

async fn write(path: &Path, results: &[TaskResult]) {
    let (ledger, _, _) = Ledger::open(path).unwrap();
    let writer = ledger.writer().unwrap();
    for result in results {
        writer.append(to_line(result)).await.unwrap();
    }
    drop(writer);
    ledger.close();
}

#[tokio::test]
async fn history_has_the_last_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let results =
        [result("a", 1, Some(FailureKind::Provider)), result("b", 1, Some(FailureKind::Timeout)), result("a", 2, None)];
    write(&path, &results).await;
    let (ledger, history, torn) = Ledger::open(&path).unwrap();
    assert_eq!((history.lines, history.len(), torn), (3, 2, None));
    assert!((history.cost - 1.5).abs() < 1e-9);
    let past = history.of(&IdHash::of("a")).unwrap();
    assert_eq!((past.attempt, past.standing), (2, Standing::Passed));
    assert!(!past.is_of_another(&TaskHash("ab".repeat(32))) && past.is_of_another(&TaskHash("cd".repeat(32))));
    assert_eq!(history.of(&IdHash::of("b")).unwrap().standing, Standing::Failed);
    assert_eq!(*ledger.writer().unwrap().state().borrow(), LedgerState::Writing);
    let read: Vec<_> = read_lines(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, results);
}

#[tokio::test]
async fn second_batch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let (ledger, ..) = Ledger::open(&path).unwrap();
    assert!(matches!(Ledger::open(&path), Err(LedgerError::Busy { .. })));
    ledger.close();
    assert!(Ledger::open(&path).is_ok());
}

#[tokio::test]
async fn incomplete_last_line_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    write(&path, &[result("a", 1, None)]).await;
    let whole = fs::read(&path).unwrap();
    for cut in [1, whole.len() / 2, whole.len() - 2] {
        fs::write(&path, [whole.as_slice(), &whole[..cut]].concat()).unwrap();
        let (ledger, history, torn) = Ledger::open(&path).unwrap();
        assert_eq!((history.lines, torn.unwrap().line), (1, 2), "cut at {cut}");
        ledger.close();
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert!(fs::read(folder.path().join("r.jsonl.torn")).unwrap().ends_with(b"\n"));
    }
    // Only the line break is missing: the result is whole.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (ledger, history, torn) = Ledger::open(&path).unwrap();
    assert_eq!((history.lines, torn), (1, None));
    ledger.close();
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[tokio::test]
async fn other_file_is_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.jsonl");
    for text in [&b"{\"id\":\"a\",\"prompt\":\"m\"}"[..], b"my notes", b"[", b"\xff\xfe{\0}\0"] {
        fs::write(&path, text).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert!(matches!(error, LedgerError::Line(LineError::Invalid { line: 1, .. })), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
    fs::write(&path, [0; 100]).unwrap();
    assert_eq!(Ledger::open(&path).unwrap().2.unwrap().bytes, 100, "a power failure may leave zeros");
}

#[tokio::test]
async fn unreadable_line_is_an_error_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    write(&path, &[result("a", 1, None)]).await;
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"id\":\"b\"}}\n{whole}")).unwrap();
    let error = Ledger::open(&path).unwrap_err().to_string();
    assert!(error.contains("r.jsonl:2: not a result: missing field"), "{error}");
    fs::write(&path, format!("{whole}{}", whole.replace("\"v\":1", "\"v\":2"))).unwrap();
    let error = Ledger::open(&path).unwrap_err().to_string();
    assert!(error.contains("r.jsonl:2: version 2 of the results format is not supported"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "nothing is changed");
}

#[test]
fn line_ends_for_python_are_escaped() {
    let mut with_ends = result("a", 1, None);
    with_ends.report.output = "one\u{85}two\u{2028}three\u{2029}four\nfive".to_owned();
    let line = to_line(&with_ends);
    assert!(line.is_ascii() && line.matches('\n').count() == 1, "{line}");
    assert_eq!(serde_json::from_str::<TaskResult>(&line).unwrap(), with_ends);
}
