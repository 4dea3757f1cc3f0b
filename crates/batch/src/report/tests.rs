//! The page of made-up results.

use super::{Embed, Page, PageError, PageOptions};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Text that would run if it were parsed as HTML or JavaScript anywhere.
const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u{2028}\"'`${x}{{ 7*7 }}{% raw %}-->";

fn result(id: &str, attempt: u64, kind: Option<&str>) -> Value {
    json!({
        "v": 1, "id": id, "attempt": attempt, "task_hash": "0".repeat(64), "started_at": "2026-11-30T10:00:00Z",
        "worker": "host:1", "state": if kind.is_some() { "error" } else { "completed" }, "output": "done", "model": "a/x",
        "steps": 3, "usage": {"input": 1000, "output": 50, "reasoning": 0, "cache_read": 0, "cache_write": 0},
        "cost": 0.01, "duration_ms": 4000, "task_name": id,
        "error": kind.map(|kind| json!({"kind": kind, "message": format!("failed by {kind}"), "hint": null})),
    })
}

fn write(folder: &TempDir, name: &str, results: &[Value]) -> PathBuf {
    let path = folder.path().join(name);
    let lines: Vec<_> = results.iter().map(Value::to_string).collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

fn page(results: &[PathBuf], options: &PageOptions) -> String {
    let directory = results[0].parent().unwrap();
    Page::read(results, options).unwrap().render(directory).unwrap()
}

/// Returns the data of the page with this id, as the browser reads it.
fn data(page: &str, id: &str) -> Value {
    let begin = format!("<script type=\"application/json\" id=\"{id}\">");
    let text = page.split_once(&begin).unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(text).unwrap()
}

#[test]
fn agent_text_is_never_markup() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("patch.diff"), HOSTILE).unwrap();
    fs::write(folder.path().join("check.log"), HOSTILE).unwrap();
    fs::write(folder.path().join("transcript.md"), HOSTILE).unwrap();
    let mut hostile = result(HOSTILE, 1, None);
    hostile["output"] = HOSTILE.into();
    hostile["model"] = HOSTILE.into();
    hostile["error"] = json!({"kind": HOSTILE, "message": HOSTILE, "hint": HOSTILE});
    hostile["metadata"] = json!({HOSTILE: HOSTILE});
    hostile["patch"] = json!({"path": "patch.diff", "bytes": 9, "files": 1});
    hostile["check"] = json!({"passed": false, "exit_code": 1, "log": "check.log"});
    hostile["transcript"] = "transcript.md".into();
    hostile["session_id"] = HOSTILE.into();
    let results = [write(&folder, "results.jsonl", &[hostile, result("x", 1, None)])];
    let options = PageOptions { embed: Embed::All, title: Some(HOSTILE.to_owned()) };
    let page = page(&results, &options);
    let scripts: Vec<_> = page.match_indices("<script").collect();
    // The rows, the models, a detail for each task, and the program.
    assert_eq!((scripts.len(), page.matches("</script").count()), (5, 5));
    assert!(!page.contains("<img") && !page.contains("alert(1)</script>"));
    assert!(!page.contains("<h1></script>") && page.contains("{{ 7*7 }}"), "the template does not run in data");
    let detail = data(&page, "detail-0");
    for field in ["answer", "patch", "log", "transcript"] {
        assert_eq!(detail[field]["text"], HOSTILE, "{field}");
    }
    assert_eq!(data(&page, "data-rows")[0][0], HOSTILE);
}

#[test]
fn page_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let results = [write(&folder, "results.jsonl", &[result("x", 1, None), result("y", 1, Some("timeout"))])];
    let page = page(&results, &PageOptions::default());
    assert!(page.contains("default-src &#x27;none&#x27;"), "the policy allows nothing else");
    for outside in [" src=", "http://", "https://", "@import", "url(", "fetch(", "style=\"", "innerHTML", "onclick"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn task_takes_at_most_20_kilobytes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("big"), "<\u{1}".repeat(100_000)).unwrap();
    let mut big = result("big", 1, Some("timeout"));
    for field in ["output", "session_id", "task_dir"] {
        big[field] = "<&\u{7}".repeat(50_000).into();
    }
    big["error"] = json!({"kind": "timeout", "message": "\u{1}".repeat(90_000), "hint": "<".repeat(90_000)});
    big["metadata"] = json!({"column": "x".repeat(100_000)});
    big["patch"] = json!({"path": "big", "bytes": 200_000, "files": 1});
    big["check"] = json!({"passed": false, "exit_code": 1, "log": "big"});
    let results = [write(&folder, "results.jsonl", &[big, result("small", 1, None)])];
    let excerpts = page(&results, &PageOptions::default());
    assert!(excerpts.len() < 60_000, "{}", excerpts.len());
    let whole = page(&results, &PageOptions { embed: Embed::All, title: None });
    assert_eq!(data(&whole, "detail-0")["patch"]["text"].as_str().unwrap().len(), 200_000);
}

#[test]
fn last_attempt_decides_and_all_are_paid() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [result("x", 1, Some("provider")), result("y", 1, None), result("x", 2, None)];
    let page = page(&[write(&folder, "results.jsonl", &lines)], &PageOptions::default());
    let rows = data(&page, "data-rows");
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(
        (&rows[0][0], &rows[0][1], &rows[0][4], &rows[0][7]),
        (&json!("x"), &json!("passed"), &json!(2), &json!(0.02))
    );
    assert_eq!(data(&page, "detail-0")["attempts"][0], "1. provider (4.0 s, $0.01): failed by provider");
    assert!(page.contains("3 attempts, 1 tasks retried"));
}

#[test]
fn infrastructure_is_not_counted_in_rates() {
    let folder = tempfile::tempdir().unwrap();
    let mut failed_check = result("b", 1, None);
    failed_check["check"] = json!({"passed": false, "exit_code": 1, "log": null});
    let mut passed_late = result("c", 1, Some("timeout"));
    passed_late["check"] = json!({"passed": true, "exit_code": 0, "log": null});
    let lines = [
        result("a", 1, None),
        failed_check,
        passed_late,
        result("d", 1, Some("provider")),
        result("e", 1, Some("limit")),
    ];
    let page = page(&[write(&folder, "results.jsonl", &lines)], &PageOptions::default());
    assert!(
        page.contains("50.0 % <small>2 of 4 counted</small>"),
        "a check that passed counts, also after a time limit"
    );
    for kind in ["provider", "check", "limit", "timeout"] {
        assert!(page.contains(&format!("data-kind=\"{kind}\"")), "{kind}");
    }
}

#[test]
fn repetitions_show_their_rates() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        result("a#1", 1, None),
        result("a#2", 1, None),
        result("b#1", 1, None),
        result("b#2", 1, Some("limit")),
        result("c#1", 1, Some("limit")),
        result("c#2", 1, Some("limit")),
    ];
    let page = page(&[write(&folder, "results.jsonl", &lines)], &PageOptions::default());
    let row = |name: &str, rate: &str| format!("<th scope=\"row\">{name}</th><td class=\"number\">{rate}</td>");
    for (name, rate) in [("pass@1", "50.0 %"), ("pass^2", "33.3 %"), ("flip rate", "33.3 %")] {
        assert!(page.contains(&row(name, rate)), "{name}");
    }
}

#[test]
fn two_files_are_compared_by_id() {
    let folder = tempfile::tempdir().unwrap();
    let before = [result("a", 1, None), result("b", 1, Some("limit")), result("c", 1, None), result("gone", 1, None)];
    let after = [result("a", 1, None), result("b", 1, None), result("c", 1, Some("limit")), result("new", 1, None)];
    let results = [write(&folder, "before.jsonl", &before), write(&folder, "after.jsonl", &after)];
    let page = page(&results, &PageOptions::default());
    let changes: Vec<_> = data(&page, "data-rows").as_array().unwrap().iter().map(|row| row[13][0].clone()).collect();
    assert_eq!(changes, ["same", "fixed", "broken", "new"]);
    for text in ["1 fixed", "1 broken", "1 tasks are only in before.jsonl", "1 tasks are only in after.jsonl"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn damaged_lines_are_counted_and_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "results.jsonl", &[result("x", 1, None)]);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"id\": \"torn\n\xff\xfe\n[]\n{\"state\": \"completed\"}\n{\"id\":\"later\",\"state\":\"completed\",\"v\":9}\n");
    fs::write(&path, text).unwrap();
    let read = Page::read(std::slice::from_ref(&path), &PageOptions::default()).unwrap();
    let summary = read.write(&folder.path().join("report.html")).unwrap();
    assert_eq!((summary.tasks, summary.skipped), (2, 4));
    let html = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert_eq!(html.len() as u64, summary.bytes);
    assert!(html.contains("4 lines are not results and were skipped"));
    fs::write(&path, "no\n").unwrap();
    let error = Page::read(std::slice::from_ref(&path), &PageOptions::default()).unwrap_err();
    assert!(matches!(error, PageError::NoResults { skipped: 1, .. }), "{error}");
    let error = Page::read(&[path.clone(), path.clone(), path], &PageOptions::default()).unwrap_err();
    assert!(matches!(error, PageError::NoResults { .. } | PageError::TooMany), "{error}");
}

#[cfg(unix)]
#[test]
fn foreign_files_are_not_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("secret"), "sk-secret").unwrap();
    std::os::unix::fs::symlink(other.path().join("secret"), folder.path().join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let mut one = result("x", 1, None);
    one["transcript"] = other.path().join("secret").to_str().unwrap().into();
    one["patch"] = json!({"path": "link", "bytes": 9, "files": 1});
    one["check"] = json!({"passed": true, "exit_code": 0, "log": "pipe"});
    let results = [write(&folder, "results.jsonl", &[one])];
    let page = page(&results, &PageOptions { embed: Embed::All, title: None });
    assert!(!page.contains("sk-secret"));
    let links = data(&page, "detail-0")["links"].as_array().unwrap().len();
    assert_eq!(links, 3, "they are linked");
}

#[test]
fn links_are_relative_to_the_page() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("out/tasks/a b")).unwrap();
    fs::write(folder.path().join("out/tasks/a b/transcript.md"), "x").unwrap();
    let mut one = result("x", 1, None);
    one["transcript"] = "tasks/a b/transcript.md".into();
    let results = folder.path().join("out/results.jsonl");
    fs::write(&results, format!("{one}\n")).unwrap();
    let links = |page: &Path| {
        let html = Page::read(&[&results], &PageOptions::default()).unwrap().render(page).unwrap();
        data(&html, "detail-0")["links"][0][1].clone()
    };
    assert_eq!(links(folder.path()), "./out/tasks/a%20b/transcript.md");
    assert_eq!(links(&folder.path().join("out")), "./tasks/a%20b/transcript.md");
    assert_eq!(links(&folder.path().join("pages")), "../out/tasks/a%20b/transcript.md");
}
