//! Merges the results files of several machines into one.

use crate::ledger::{LineError, TaskResult, read_lines, to_line};
use crate::output_file::replace;
use crate::shard::Shard;
use crate::task::IdHash;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// The figures of a merge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Merged {
    /// The number of results.
    pub results: u64,
    /// The number of earlier attempts that were omitted.
    pub earlier: u64,
    /// The number of shards; `None` if the batch was not divided.
    pub shards: Option<u32>,
}

/// Results that do not belong together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A file cannot be read.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The output cannot be written.
    #[error("the results cannot be written to {}", path.display())]
    Write {
        /// The output file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The files have different numbers of shards.
    #[error("{} has a shard of {found}, the other files have shards of {expected}", path.display())]
    OtherCount {
        /// The file whose number of shards differs from the others'.
        path: PathBuf,
        /// The number of shards of this file's batch.
        found: u32,
        /// The number of shards of the other files.
        expected: u32,
    },
    /// Only some of the results have a shard.
    #[error("some results have a shard and others have none: {} differs", path.display())]
    Undivided {
        /// The first file that differs from the others.
        path: PathBuf,
    },
    /// Shards are missing.
    #[error("no results of {}", missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Missing {
        /// The missing shards.
        missing: Vec<Shard>,
    },
    /// A task is in the wrong shard.
    #[error("the task `{id}` in {} does not belong to shard {shard}", path.display())]
    WrongShard {
        /// The id of the task.
        id: String,
        /// The shard of the result.
        shard: Shard,
        /// The results file.
        path: PathBuf,
    },
    /// Two files have results of one task.
    #[error("{} and {} both have results of the task `{id}`", first.display(), second.display())]
    Twice {
        /// The id of the task.
        id: String,
        /// One of the results files.
        first: PathBuf,
        /// Another file.
        second: PathBuf,
    },
    /// The attempts at a task are of different tasks.
    #[error("the results of the task `{id}` in {} are of different tasks", path.display())]
    OtherTask {
        /// The id of the task.
        id: String,
        /// The results file.
        path: PathBuf,
    },
    /// There is nothing to merge.
    #[error("there are no results in the files")]
    Empty,
}

/// The last attempt at a task.
struct Last {
    file: usize,
    attempt: u32,
    hash: String,
}

/// Writes the last attempt at each task of all files into one file. Checks before that the files belong together:
/// shards of the same count, every shard present, and every task in one of them only. Paths in the results become
/// relative to the new file.
///
/// # Errors
///
/// If they do not belong together. Then nothing is written.
pub fn merge(inputs: &[PathBuf], output: &Path, allow_missing: bool) -> Result<Merged, MergeError> {
    let mut merged = Merged::default();
    let mut last: HashMap<IdHash, Last> = HashMap::new();
    let mut seen: BTreeMap<Option<u32>, BTreeSet<u32>> = BTreeMap::new();
    for (file, path) in inputs.iter().enumerate() {
        for result in read_lines(path)? {
            let result = result?;
            check_shard(&result, path, &mut seen)?;
            merged.earlier += 1;
            let hash = result.task_hash.as_str().to_owned();
            match last.get_mut(&IdHash::of(&result.id)) {
                None => {
                    merged.results += 1;
                    last.insert(IdHash::of(&result.id), Last { file, attempt: result.attempt, hash });
                }
                Some(known) if known.file != file => {
                    return Err(MergeError::Twice {
                        id: result.id,
                        first: inputs[known.file].clone(),
                        second: path.clone(),
                    });
                }
                // A changed task was run again on purpose: its last hash counts.
                Some(known) if result.attempt >= known.attempt => {
                    (known.attempt, known.hash) = (result.attempt, hash);
                }
                Some(_) => {}
            }
        }
    }
    if merged.results == 0 {
        return Err(MergeError::Empty);
    }
    merged.earlier -= merged.results;
    merged.shards = seen.keys().next().copied().flatten();
    if let (Some(count), false) = (merged.shards, allow_missing) {
        let present = seen.remove(&Some(count)).unwrap_or_default();
        let missing: Vec<_> =
            (1..=count).filter(|number| !present.contains(number)).filter_map(|n| Shard::new(n, count).ok()).collect();
        if !missing.is_empty() {
            return Err(MergeError::Missing { missing });
        }
    }
    let failed = |source| MergeError::Write { path: output.to_owned(), source };
    write(inputs, output, &last).map_err(|error| match error {
        WriteError::Line(error) => MergeError::Line(error),
        WriteError::Io(source) => failed(source),
    })?;
    Ok(merged)
}

fn check_shard(
    result: &TaskResult,
    path: &Path,
    seen: &mut BTreeMap<Option<u32>, BTreeSet<u32>>,
) -> Result<(), MergeError> {
    let count = result.shard.map(Shard::count);
    let is_new = !seen.contains_key(&count);
    if let Some(known) = seen.keys().next().copied().filter(|_| is_new) {
        return Err(match (count, known) {
            (Some(found), Some(expected)) => MergeError::OtherCount { path: path.to_owned(), found, expected },
            _ => MergeError::Undivided { path: path.to_owned() },
        });
    }
    let numbers = seen.entry(count).or_default();
    if let Some(shard) = result.shard {
        numbers.insert(shard.number());
        if !shard.has(&result.id) {
            return Err(MergeError::WrongShard { id: result.id.clone(), shard, path: path.to_owned() });
        }
    }
    Ok(())
}

enum WriteError {
    Line(LineError),
    Io(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LineError> for WriteError {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

fn write(inputs: &[PathBuf], output: &Path, last: &HashMap<IdHash, Last>) -> Result<(), WriteError> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::path::absolute(folder)?;
    replace(output, inputs, |writer| {
        for path in inputs {
            let base = std::path::absolute(path)?;
            let base = base.parent().unwrap_or(Path::new("/"));
            for result in read_lines(path)? {
                let mut result = result?;
                let is_last = last.get(&IdHash::of(&result.id)).is_some_and(|known| known.attempt == result.attempt);
                if is_last {
                    rebase(&mut result, base, &folder);
                    writer.write_all(to_line(&result).as_bytes())?;
                }
            }
        }
        Ok(())
    })
}

/// Makes the paths of a result relative to another directory.
fn rebase(result: &mut TaskResult, from: &Path, to: &Path) {
    if from == to {
        return;
    }
    let moved = |path: &mut PathBuf| {
        let absolute = from.join(&*path);
        *path = absolute.strip_prefix(to).map_or_else(|_| absolute.clone(), Path::to_owned);
    };
    if let Some(patch) = &mut result.patch {
        moved(&mut patch.path);
    }
    if let Some(log) = result.check.as_mut().and_then(|check| check.log.as_mut()) {
        moved(log);
    }
    if let Some(transcript) = &mut result.report.transcript {
        moved(transcript);
    }
    result.artifacts.iter_mut().for_each(moved);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskHash;
    use opencode_runner::{Report, RunState};

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn write(&self, name: &str, results: &[TaskResult]) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, results.iter().map(to_line).collect::<Vec<_>>().concat()).unwrap();
            path
        }
    }

    fn result(id: &str, attempt: u32, shard: Option<Shard>) -> TaskResult {
        let report: Report = Report::without_turn(id, RunState::Completed);
        let hash = TaskHash("a".repeat(64));
        let mut result = TaskResult::new(id, attempt, hash, jiff::Timestamp::UNIX_EPOCH, report);
        result.shard = shard;
        result.report.transcript = Some("r.jsonl.d/c.md".into());
        result
    }

    fn shards(folder: &Folder, count: u32) -> Vec<PathBuf> {
        let of = |number| {
            let shard = Shard::new(number, count).unwrap();
            let ids = (0..100).map(|id| format!("t{id}")).filter(|id| shard.has(id));
            let results: Vec<_> =
                ids.flat_map(|id| [result(&id, 1, Some(shard)), result(&id, 2, Some(shard))]).collect();
            folder.write(&format!("{number}/r.jsonl"), &results)
        };
        (1..=count).map(of).collect()
    }

    #[test]
    fn all_shards_give_each_task_once() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let files = shards(&folder, 16);
        let output = folder.0.path().join("all.jsonl");
        let merged = merge(&files, &output, false).unwrap();
        assert_eq!((merged.results, merged.earlier, merged.shards), (100, 100, Some(16)));
        let results: Vec<_> = read_lines(&output).unwrap().map(Result::unwrap).collect();
        let ids: BTreeSet<_> = results.iter().map(|result| result.id.clone()).collect();
        assert_eq!((ids.len(), results.len()), (100, 100));
        assert!(results.iter().all(|result| result.attempt == 2));
        let transcript = results[0].report.transcript.clone().unwrap();
        assert!(transcript.ends_with("r.jsonl.d/c.md") && transcript.is_relative(), "{transcript:?}");
    }

    #[test]
    fn missing_shard_is_named() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let mut files = shards(&folder, 16);
        files.remove(6);
        let output = folder.0.path().join("all.jsonl");
        assert_eq!(merge(&files, &output, false).unwrap_err().to_string(), "no results of 7/16");
        assert!(!output.exists());
        assert!(merge(&files, &output, true).is_ok());
    }

    #[test]
    fn mismatching_results_are_refused() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let output = folder.0.path().join("all.jsonl");
        let one = folder.write("one.jsonl", &[result("a", 1, None)]);
        let same = folder.write("same.jsonl", &[result("a", 1, None)]);
        let error = merge(&[one.clone(), same], &output, false).unwrap_err();
        assert!(matches!(error, MergeError::Twice { .. }), "{error}");
        let shard = |number, count| Some(Shard::new(number, count).unwrap());
        let part = folder.write("part.jsonl", &[result("a", 1, shard(12, 16))]);
        assert!(matches!(merge(&[one, part.clone()], &output, true), Err(MergeError::Undivided { .. })));
        let other = folder.write(
            "other.jsonl",
            &[result("b", 1, (1..=3).map(|n| shard(n, 3)).find(|s| s.unwrap().has("b")).unwrap())],
        );
        assert!(matches!(merge(&[part, other], &output, true), Err(MergeError::OtherCount { .. })));
        let wrong = folder.write("wrong.jsonl", &[result("a", 1, shard(1, 16))]);
        assert!(matches!(merge(&[wrong], &output, true), Err(MergeError::WrongShard { .. })));
        let empty = folder.write("empty.jsonl", &[]);
        assert!(matches!(merge(&[empty], &output, true), Err(MergeError::Empty)));
    }
}
