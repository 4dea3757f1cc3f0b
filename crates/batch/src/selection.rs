//! The tasks of a file that a batch runs.

use crate::shard::Shard;
use opencode_runner::ModelName;
use regex::Regex;
use std::str::FromStr;

/// Selects tasks. The steps are taken in this order: filter, slice, shuffle, limit, then the copies by model and repetition, then the
/// shard.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Tasks whose id matches.
    pub filter: Option<Regex>,
    /// A range of the remaining tasks.
    pub slice: Option<Slice>,
    /// The seed for shuffling the tasks.
    pub shuffle: Option<u64>,
    /// The maximum number of tasks.
    pub limit: Option<u64>,
    /// The number of runs of each task, with the ids `ID#1`, `ID#2`, …
    pub repeat: Option<u16>,
    /// The models on each of which every task runs, with the ids `ID@MODEL` if there are several.
    pub models: Vec<ModelName>,
    /// The shard of this machine.
    pub shard: Option<Shard>,
}

/// A half-open range as in Python; either end may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a range has two ends")]
pub struct Slice {
    /// The first, from 0.
    pub from: u64,
    /// The first task after the range.
    pub to: Option<u64>,
}

impl Slice {
    /// Returns whether the range contains the task of this number, from 0.
    #[must_use]
    pub fn has(self, number: u64) -> bool {
        number >= self.from && self.to.is_none_or(|to| number < to)
    }
}

impl FromStr for Slice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a slice: write A:B, such as 0:100 or 100:");
        let (from, to) = text.split_once(':').ok_or_else(wrong)?;
        let end = |text: &str| match text.trim() {
            "" => Ok(None),
            number => number.parse().map(Some).map_err(|_| wrong()),
        };
        let slice = Self { from: end(from)?.unwrap_or(0), to: end(to)? };
        if slice.to.is_some_and(|to| to <= slice.from) { Err(wrong()) } else { Ok(slice) }
    }
}

/// One of the copies of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) model: Option<ModelName>,
    /// The text that is appended to the id.
    pub(crate) suffix: String,
}

impl Selection {
    /// Returns the copies of each task, by model and repetition.
    pub(crate) fn variants(&self) -> Vec<Variant> {
        let models: Vec<_> = match self.models.as_slice() {
            [] => vec![(None, String::new())],
            [one] => vec![(Some(one.clone()), String::new())],
            several => several.iter().map(|model| (Some(model.clone()), format!("@{model}"))).collect(),
        };
        let copies: Vec<_> = match self.repeat {
            None => vec![String::new()],
            Some(times) => (1..=times).map(|number| format!("#{number}")).collect(),
        };
        let copies = &copies;
        let variant = |(model, suffix): (Option<ModelName>, String)| {
            copies.iter().map(move |copy| Variant { model: model.clone(), suffix: format!("{suffix}{copy}") })
        };
        models.into_iter().flat_map(variant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_and_repetition_multiply() {
        let models = ["a/x", "b/y"].map(|model| model.parse().unwrap()).to_vec();
        let selection = Selection { models, repeat: Some(2), ..Selection::default() };
        let suffixes: Vec<_> = selection.variants().into_iter().map(|variant| variant.suffix).collect();
        assert_eq!(suffixes, ["@a/x#1", "@a/x#2", "@b/y#1", "@b/y#2"]);
        assert_eq!(Selection::default().variants(), [Variant { model: None, suffix: String::new() }]);
    }

    #[test]
    fn slice_follows_python() {
        let slice: Slice = "2:4".parse().unwrap();
        assert_eq!((0..6).filter(|number| slice.has(*number)).collect::<Vec<_>>(), [2, 3]);
        assert!("3:".parse::<Slice>().unwrap().has(1000));
        assert!("4:2".parse::<Slice>().is_err() && "4".parse::<Slice>().is_err() && "a:b".parse::<Slice>().is_err());
    }
}
