//! Shards: the parts of a batch that several machines run.

use crate::task::id_digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of N shards of a batch. A task belongs to the shard SHA-256(id) mod N, so that adding tasks moves no other task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

/// An invalid shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The text is not `K/N`.
    #[error("`{0}` is not a shard: write K/N with K from 1 to N, such as 3/16")]
    Invalid(String),
    /// `auto` found no variables of an engine with job arrays.
    #[error("`auto` found no job array: the variables of no supported engine are set")]
    NoEngine,
    /// The variables of an engine are incomplete.
    #[error("{engine} sets {variable}, but {problem}")]
    Engine {
        /// The name of the engine, such as Slurm.
        engine: &'static str,
        /// The variable that was found.
        variable: &'static str,
        /// The problem, in words.
        problem: String,
    },
}

/// An engine with job arrays, recognised by its variables.
struct Engine {
    name: &'static str,
    index: &'static str,
    /// The number of the first job.
    first: First,
    count: Count,
}

enum First {
    Is(u32),
    In(&'static str),
}

enum Count {
    In(&'static str),
    /// The variables of the last number of an array, and of its step.
    Last {
        last: &'static str,
        step: &'static str,
    },
    /// The number of jobs is in no variable of the engine, so the user exports it.
    User,
}

/// The variable that gives the number of jobs if the engine does not.
const COUNT_VARIABLE: &str = "OPENCODE_RUN_SHARDS";

const ENGINES: [Engine; 9] = [
    Engine {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        first: First::In("SLURM_ARRAY_TASK_MIN"),
        count: Count::Last { last: "SLURM_ARRAY_TASK_MAX", step: "SLURM_ARRAY_TASK_STEP" },
    },
    Engine { name: "Kubernetes", index: "JOB_COMPLETION_INDEX", first: First::Is(0), count: Count::User },
    Engine {
        name: "AWS Batch",
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        first: First::Is(0),
        count: Count::In("AWS_BATCH_JOB_ARRAY_SIZE"),
    },
    Engine {
        name: "Buildkite",
        index: "BUILDKITE_PARALLEL_JOB",
        first: First::Is(0),
        count: Count::In("BUILDKITE_PARALLEL_JOB_COUNT"),
    },
    // Before GitLab, because this engine's variable has an index from 0.
    Engine { name: "CircleCI", index: "CIRCLE_NODE_INDEX", first: First::Is(0), count: Count::In("CIRCLE_NODE_TOTAL") },
    Engine { name: "GitLab", index: "CI_NODE_INDEX", first: First::Is(1), count: Count::In("CI_NODE_TOTAL") },
    Engine {
        name: "SGE",
        index: "SGE_TASK_ID",
        first: First::In("SGE_TASK_FIRST"),
        count: Count::Last { last: "SGE_TASK_LAST", step: "SGE_TASK_STEPSIZE" },
    },
    Engine { name: "PBS", index: "PBS_ARRAY_INDEX", first: First::Is(1), count: Count::User },
    Engine {
        name: "LSF",
        index: "LSB_JOBINDEX",
        first: First::Is(1),
        count: Count::Last { last: "LSB_JOBINDEX_END", step: "LSB_JOBINDEX_STEP" },
    },
];

impl Shard {
    /// Creates shard `number`, from 1, of `count` shards.
    ///
    /// # Errors
    ///
    /// If the number is not from 1 to `count`.
    pub fn new(number: u32, count: u32) -> Result<Self, ShardError> {
        if number == 0 || number > count {
            return Err(ShardError::Invalid(format!("{number}/{count}")));
        }
        Ok(Self { index: number - 1, count })
    }

    /// Finds the shard of this job in the variables of the engine that runs it: Slurm, Kubernetes, AWS Batch,
    /// Buildkite, `CircleCI`, GitLab, SGE, PBS or LSF. Kubernetes and PBS do not give the number of jobs, so
    /// `OPENCODE_RUN_SHARDS` must be set to it.
    ///
    /// # Errors
    ///
    /// If no engine is found, or its variables are incomplete: otherwise each job would run all tasks.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ShardError> {
        for engine in &ENGINES {
            // Slurm and others set the variable to `undefined` outside an array.
            let Some(index) = variable(engine.index).filter(|value| !value.is_empty() && value != "undefined") else {
                continue;
            };
            // LSF sets the variable to 0 for a job that is not an array.
            if engine.name == "LSF" && index == "0" {
                continue;
            }
            let failed = |problem: String| ShardError::Engine { engine: engine.name, variable: engine.index, problem };
            let number = |name: &str, default: Option<u32>| match (variable(name), default) {
                (Some(value), _) if value.parse::<u32>().is_ok() => Ok(value.parse().unwrap_or_default()),
                (None, Some(default)) => Ok(default),
                (Some(value), _) => Err(failed(format!("{name} is `{value}`, not a number"))),
                (None, None) => Err(failed(format!("{name} is not set"))),
            };
            let index = number(engine.index, None)?;
            let first = match engine.first {
                First::Is(first) => first,
                First::In(name) => number(name, Some(1))?,
            };
            let user = || number(COUNT_VARIABLE, None);
            let (step, count) = match engine.count {
                Count::In(name) => (1, number(name, None)?),
                Count::Last { last, step } => {
                    let step = number(step, Some(1))?.max(1);
                    let count = match variable(last) {
                        Some(_) => number(last, None)?.saturating_sub(first) / step + 1,
                        None => user()?,
                    };
                    (step, count)
                }
                Count::User => (1, user()?),
            };
            let shard = index.checked_sub(first).map(|offset| Self::new(offset / step + 1, count));
            return match shard {
                Some(Ok(shard)) => Ok(shard),
                _ => Err(failed(format!(
                    "its value {index} is not the number of one of {count} jobs, counted from {first}"
                ))),
            };
        }
        Err(ShardError::NoEngine)
    }

    /// Returns the number of the shard, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.index + 1
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns whether a task belongs to this shard.
    #[must_use]
    pub fn has(self, id: &str) -> bool {
        self.has_digest(&id_digest(id))
    }

    pub(crate) fn has_digest(self, digest: &[u8; 32]) -> bool {
        remainder(digest, self.count) == self.index
    }
}

/// Returns the remainder of a big-endian number.
fn remainder(digest: &[u8; 32], count: u32) -> u32 {
    let count = u64::from(count);
    let rest = digest.iter().fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % count);
    u32::try_from(rest).unwrap_or_default()
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let invalid = || ShardError::Invalid(text.to_owned());
        let (number, count) = text.split_once('/').ok_or_else(invalid)?;
        let number = number.trim().parse().map_err(|_| invalid())?;
        Self::new(number, count.trim().parse().map_err(|_| invalid())?)
    }
}

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<String, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Shard::of_environment(find).map(|shard| shard.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_task_has_one_shard() {
        let shards: Vec<_> = (1..=16).map(|number| Shard::new(number, 16).unwrap()).collect();
        for id in 0..500 {
            let id = format!("task-{id}");
            assert_eq!(shards.iter().filter(|shard| shard.has(&id)).count(), 1);
        }
        // The last byte of a digest decides modulo 16.
        assert_eq!(id_digest("a")[31] % 16, 0xb);
        assert!(Shard::new(12, 16).unwrap().has("a"));
    }

    #[test]
    fn engines_are_recognized() {
        let slurm = [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_MAX", "16")];
        assert_eq!(of(&slurm).unwrap(), "7/16");
        let step = [
            ("SLURM_ARRAY_TASK_ID", "4"),
            ("SLURM_ARRAY_TASK_MIN", "0"),
            ("SLURM_ARRAY_TASK_MAX", "6"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(of(&step).unwrap(), "3/4");
        assert_eq!(of(&[("JOB_COMPLETION_INDEX", "0"), ("OPENCODE_RUN_SHARDS", "3")]).unwrap(), "1/3");
        assert_eq!(of(&[("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "3")]).unwrap(), "3/3");
        assert_eq!(of(&[("BUILDKITE_PARALLEL_JOB", "0"), ("BUILDKITE_PARALLEL_JOB_COUNT", "2")]).unwrap(), "1/2");
        assert_eq!(of(&[("CIRCLE_NODE_INDEX", "1"), ("CIRCLE_NODE_TOTAL", "2")]).unwrap(), "2/2");
        assert_eq!(of(&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "2")]).unwrap(), "1/2");
        assert_eq!(of(&[("SGE_TASK_ID", "3"), ("SGE_TASK_FIRST", "1"), ("SGE_TASK_LAST", "4")]).unwrap(), "3/4");
        assert_eq!(of(&[("PBS_ARRAY_INDEX", "3"), ("OPENCODE_RUN_SHARDS", "4")]).unwrap(), "3/4");
        assert_eq!(of(&[("LSB_JOBINDEX", "2"), ("LSB_JOBINDEX_END", "4")]).unwrap(), "2/4");
    }

    #[test]
    fn missing_engine_is_an_error() {
        assert_eq!(of(&[]).unwrap_err(), ShardError::NoEngine.to_string());
        assert_eq!(of(&[("SGE_TASK_ID", "undefined")]).unwrap_err(), ShardError::NoEngine.to_string());
        let kubernetes = of(&[("JOB_COMPLETION_INDEX", "0")]).unwrap_err();
        assert!(kubernetes.contains("OPENCODE_RUN_SHARDS is not set"), "{kubernetes}");
        assert!(of(&[("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "2")]).is_err());
    }

    #[test]
    fn shard_text_round_trips() {
        assert_eq!("3/16".parse::<Shard>().unwrap().to_string(), "3/16");
        for wrong in ["0/4", "5/4", "3", "a/b", "1/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
