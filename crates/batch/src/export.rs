//! Results in the formats of other programs.

use crate::ledger::{LineError, Standing, TaskResult, read_lines};
use crate::output_file::replace;
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// SWE-bench predictions, one JSON object per line: `instance_id`, `model_name_or_path`, `model_patch`.
    Predictions,
    /// The job log of GNU parallel, tab separated.
    Joblog,
    /// Comma separated values, a row a task.
    Csv,
    /// A Markdown table, as a job summary shows it.
    Markdown,
    /// `JUnit` XML, a test case a task.
    Junit,
}

/// An export that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The results cannot be read.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A patch cannot be read.
    #[error("the patch {} cannot be read", path.display())]
    Patch {
        /// The file of the patch.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("the export cannot be written")]
    Write(#[from] io::Error),
}

/// Returns the last attempt at each task, in the order in which the tasks first ended.
///
/// # Errors
///
/// If the file cannot be read.
pub fn last_attempts(results: &Path) -> Result<Vec<TaskResult>, LineError> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut last: Vec<TaskResult> = Vec::new();
    for result in read_lines(results)? {
        let result = result?;
        match places.get(&result.id) {
            Some(place) if result.attempt >= last[*place].attempt => last[*place] = result,
            Some(_) => {}
            None => {
                places.insert(result.id.clone(), last.len());
                last.push(result);
            }
        }
    }
    Ok(last)
}

/// Writes the last attempt at each task of a results file in a format.
///
/// # Errors
///
/// If the results or a patch cannot be read, or the output cannot be written.
pub fn export(results: &Path, format: ExportFormat, output: &mut dyn Write) -> Result<u64, ExportError> {
    let last = last_attempts(results)?;
    match format {
        ExportFormat::Predictions => predictions(&last, results, output)?,
        ExportFormat::Joblog => joblog(&last, output)?,
        ExportFormat::Csv => table(&last, output)?,
        ExportFormat::Markdown => markdown(&last, output)?,
        ExportFormat::Junit => junit(&last, output)?,
    }
    output.flush()?;
    Ok(last.len() as u64)
}

/// Writes the last attempt at each task of a results file into a file, which replaces an existing one when it is complete.
///
/// # Errors
///
/// If the results or a patch cannot be read, the file cannot be written, or it is the results file.
pub fn export_to_file(results: &Path, format: ExportFormat, path: &Path) -> Result<u64, ExportError> {
    replace(path, &[results], |output| export(results, format, output))
}

fn predictions(last: &[TaskResult], results: &Path, output: &mut dyn Write) -> Result<(), ExportError> {
    let base = results.parent().unwrap_or(Path::new(""));
    for result in last {
        let patch = match &result.patch {
            None => String::new(),
            Some(patch) => {
                let file = base.join(&patch.path);
                let bytes = std::fs::read(&file).map_err(|source| ExportError::Patch { path: file, source })?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let model = result.report.model.as_deref().unwrap_or("opencode");
        let prediction = json!({"instance_id": result.id, "model_name_or_path": model, "model_patch": patch});
        writeln!(output, "{prediction}")?;
    }
    Ok(())
}

/// Returns the exit code that represents a result.
fn exit_code(standing: Standing) -> u8 {
    match standing {
        Standing::Passed => 0,
        Standing::Interrupted => 130,
        Standing::CheckFailed | Standing::Failed | Standing::Infrastructure => 1,
        Standing::Configuration => 3,
    }
}

fn joblog(last: &[TaskResult], output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand")?;
    for (number, result) in last.iter().enumerate() {
        let host = result.worker.split(':').next().unwrap_or_default();
        let started = result.started_at.as_millisecond();
        let id = result.id.replace(['\t', '\n'], " ");
        writeln!(
            output,
            "{}\t{host}\t{}.{:03}\t{:>10}\t0\t0\t{}\t0\t{id}",
            number + 1,
            started.div_euclid(1000),
            started.rem_euclid(1000),
            seconds(result),
            exit_code(result.standing()),
        )?;
    }
    Ok(())
}

fn seconds(result: &TaskResult) -> String {
    let millis = result.report.duration_ms;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn table(last: &[TaskResult], output: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(output);
    writer.write_record([
        "id",
        "attempt",
        "outcome",
        "error_kind",
        "error",
        "check_passed",
        "duration_s",
        "cost_usd",
        "tokens",
        "steps",
        "model",
        "patch",
        "patch_files",
        "transcript",
        "started_at",
        "worker",
        "output",
    ])?;
    for result in last {
        let report = &result.report;
        let path = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
        writer.write_record([
            result.id.clone(),
            result.attempt.to_string(),
            result.standing().as_str().to_owned(),
            report.error.as_ref().map(|error| error.kind.to_string()).unwrap_or_default(),
            report.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
            result.check.as_ref().map(|check| check.passed.to_string()).unwrap_or_default(),
            seconds(result),
            report.cost.to_string(),
            report.usage.total().to_string(),
            report.steps.to_string(),
            report.model.clone().unwrap_or_default(),
            path(result.patch.as_ref().map(|patch| &patch.path)),
            result.patch.as_ref().map(|patch| patch.files.to_string()).unwrap_or_default(),
            path(report.transcript.as_ref()),
            result.started_at.to_string(),
            result.worker.clone(),
            report.output.clone(),
        ])?;
    }
    writer.flush()
}

fn markdown(last: &[TaskResult], output: &mut dyn Write) -> io::Result<()> {
    let count = |standing| last.iter().filter(|result| result.standing() == standing).count();
    let cost: f64 = last.iter().map(|result| result.report.cost).sum();
    writeln!(output, "| tasks | passed | check failed | failed | infrastructure | configuration | cost |")?;
    writeln!(output, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    writeln!(
        output,
        "| {} | {} | {} | {} | {} | {} | ${cost:.2} |\n",
        last.len(),
        count(Standing::Passed),
        count(Standing::CheckFailed),
        count(Standing::Failed),
        count(Standing::Infrastructure),
        count(Standing::Configuration),
    )?;
    writeln!(output, "| task | outcome | time | cost | error |")?;
    writeln!(output, "| --- | --- | ---: | ---: | --- |")?;
    for result in last {
        let error = result.report.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
        writeln!(
            output,
            "| {} | {} | {}s | ${:.4} | {} |",
            cell(&result.id),
            result.standing().as_str(),
            seconds(result),
            result.report.cost,
            cell(error)
        )?;
    }
    Ok(())
}

/// Returns a text that stays within its table cell and contains no markup.
fn cell(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let mut escaped = String::new();
    for letter in text.chars().take(MAX_CHARS) {
        match letter {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn junit(last: &[TaskResult], output: &mut dyn Write) -> io::Result<()> {
    let of = |standings: &[Standing]| last.iter().filter(|result| standings.contains(&result.standing())).count();
    let failures = of(&[Standing::CheckFailed, Standing::Failed]);
    let errors = of(&[Standing::Infrastructure, Standing::Configuration]);
    let skipped = of(&[Standing::Interrupted]);
    writeln!(output, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        output,
        "<testsuite name=\"opencode-run\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">",
        last.len()
    )?;
    for result in last {
        let id = xml(&result.id);
        let time = seconds(result);
        write!(output, "  <testcase classname=\"{}\" name=\"{id}\" time=\"{time}\">", xml(&result.report.task_name))?;
        let standing = result.standing();
        let message = match (&result.report.error, &result.check) {
            (Some(error), _) => error.message.clone(),
            (None, Some(check)) => format!(
                "the check failed with exit code {}",
                check.exit_code.map_or_else(|| "none".to_owned(), |code| code.to_string())
            ),
            (None, None) => String::new(),
        };
        let kind = result.report.error.as_ref().map_or("check", |error| error.kind.as_str());
        let element = match standing {
            Standing::Passed => None,
            Standing::CheckFailed | Standing::Failed => Some("failure"),
            Standing::Infrastructure | Standing::Configuration => Some("error"),
            Standing::Interrupted => Some("skipped"),
        };
        match element {
            None => {}
            Some("skipped") => write!(output, "<skipped/>")?,
            Some(element) => write!(output, "<{element} type=\"{kind}\" message=\"{}\"/>", xml(&message))?,
        }
        writeln!(output, "</testcase>")?;
    }
    writeln!(output, "</testsuite>")
}

/// Escapes a text for an XML attribute. Characters that XML does not allow are replaced.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{CheckResult, PatchResult, to_line};
    use crate::task::TaskHash;
    use opencode_runner::{FailureKind, Report, ReportError, RunState};

    fn results() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let hash = || TaskHash("a".repeat(64));
        let make = |id: &str, attempt, failure: Option<FailureKind>| {
            let state = if failure.is_some() { RunState::Error } else { RunState::Completed };
            let mut report: Report = Report::without_turn("task", state);
            report.error = failure.map(|kind| ReportError::new(kind, "no <luck> | \"x\"", None));
            report.duration_ms = 1250;
            report.model = Some("a/m".to_owned());
            TaskResult::new(id, attempt, hash(), jiff::Timestamp::UNIX_EPOCH, report)
        };
        let mut good = make("one", 2, None);
        std::fs::write(folder.path().join("p.diff"), "diff --git a b\n").unwrap();
        good.patch = Some(PatchResult::new("p.diff".into(), String::new(), 15, 1));
        let mut wrong = make("two", 1, None);
        wrong.check = Some(CheckResult::new(false, Some(1), None));
        let all =
            [make("one", 1, Some(FailureKind::Provider)), wrong, make("three", 1, Some(FailureKind::Timeout)), good];
        let path = folder.path().join("r.jsonl");
        std::fs::write(&path, all.iter().map(to_line).collect::<Vec<_>>().concat()).unwrap();
        (folder, path)
    }

    fn exported(format: ExportFormat) -> String {
        let (_folder, path) = results();
        let mut text = Vec::new();
        assert_eq!(export(&path, format, &mut text).unwrap(), 3);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn predictions_keep_the_final_newline() {
        let text = exported(ExportFormat::Predictions);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            first,
            json!({"instance_id": "one", "model_name_or_path": "a/m", "model_patch": "diff --git a b\n"})
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn joblog_has_gnu_parallel_format() {
        let text = exported(ExportFormat::Joblog);
        let rows: Vec<Vec<_>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.len() == 9));
        assert_eq!((rows[1][6], rows[2][6], rows[1][3].trim()), ("0", "1", "1.250"));
    }

    #[test]
    fn table_and_summary_list_every_task() {
        let text = exported(ExportFormat::Csv);
        let rows: Vec<_> = csv::Reader::from_reader(text.as_bytes()).into_records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), &rows[0][2], &rows[1][2], &rows[2][3]), (3, "passed", "check failed", "timeout"));
        let text = exported(ExportFormat::Markdown);
        assert!(text.contains("| 3 | 1 | 1 | 1 | 0 | 0 |") && text.contains("no &lt;luck> \\| \"x\""), "{text}");
    }

    #[test]
    fn junit_distinguishes_failures_from_errors() {
        let text = exported(ExportFormat::Junit);
        assert!(text.contains("tests=\"3\" failures=\"2\" errors=\"0\" skipped=\"0\""), "{text}");
        assert!(text.contains("message=\"no &lt;luck&gt; | &quot;x&quot;\""), "{text}");
    }
}
