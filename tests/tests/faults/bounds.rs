//! Bounds of the command's memory, whatever opencode writes.

use crate::support::{Case, Outcome, PLAIN_TEXT, flood, plain, stdout};
use opencode_run_tests::script::{Act, Stream};

/// The highest memory that the command may use, in KiB.
const MOST_KIB: u64 = 100 << 10;

#[track_caller]
fn assert_bounded(outcome: &Outcome, more_kib: u64) {
    assert!(outcome.peak_kib > 1000, "it was measured");
    assert!(outcome.peak_kib < MOST_KIB + more_kib, "{} KiB", outcome.peak_kib);
}

#[test]
fn json_line_of_50_mb_is_skipped() {
    let begins = stdout("{\"type\":\"text\",\"part\":{\"id\":\"p\",\"text\":\"");
    let case = Case::doing([plain(0, 2), begins, flood(Stream::Stdout, 50_000_000, true), plain(2, 3)]);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(0);
    assert_eq!(object["output"], PLAIN_TEXT);
    assert!(object["dropped_bytes"].as_u64().unwrap() >= 50_000_000, "what was left out is counted: {object}");
    outcome.assert_says(&["warning: ", "dropped"]);
    assert_bounded(&outcome, 0);
}

#[test]
fn skipped_line_alone_is_not_success() {
    let case = Case::doing([flood(Stream::Stdout, 50_000_000, true)]);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(1);
    assert_eq!(object["error"]["kind"], "protocol", "{object}");
    assert!(
        object["error"]["message"].as_str().unwrap().contains("50000000 bytes")
            || object["dropped_bytes"] == 49_999_999
    );
    assert_bounded(&outcome, 0);
}

#[test]
fn stderr_of_100_mb_is_bounded() {
    let case = Case::doing([plain(0, 2), flood(Stream::Stderr, 100_000_000, false), plain(2, 3)]);
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(0);
    assert_eq!(object["output"], PLAIN_TEXT);
    assert_bounded(&outcome, 0);
}

#[test]
fn single_stderr_line_is_bounded() {
    let acts = [plain(0, 2), flood(Stream::Stderr, 100_000_000, true), Act::Exit { code: 5 }];
    let (outcome, object) = Case::doing(acts).run_json(&["hello"]);
    outcome.assert_code(1);
    assert!(object["error"]["message"].as_str().unwrap().contains("exit code 5"));
    assert_bounded(&outcome, 0);
}

#[test]
fn many_invalid_lines_are_bounded() {
    let acts = [plain(0, 2), flood(Stream::Stdout, 20_000_000, false), plain(2, 3)];
    let (outcome, object) = Case::doing(acts).run_json(&["hello"]);
    outcome.assert_code(0);
    assert_eq!(object["output"], PLAIN_TEXT);
    assert_bounded(&outcome, 0);
}

#[test]
fn long_lines_are_not_retained() {
    // Fifty lines of 8 MB: each is read, and none may stay in memory.
    let line = Act::Flood { stream: Stream::Stdout, bytes: 400_000_000, line_length: Some(8_000_000), one_line: false };
    let (outcome, object) = Case::doing([plain(0, 2), line, plain(2, 3)]).run_json(&["hello"]);
    outcome.assert_code(0);
    assert_eq!(object["output"], PLAIN_TEXT);
    assert_bounded(&outcome, 0);
}
