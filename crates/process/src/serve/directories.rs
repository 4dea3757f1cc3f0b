//! Where the turns of a server work, and have worked.

use crate::tree::{StartTime, ToolProcess};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// A turn that is over, as far as it matters for which processes are its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedTurn {
    pub(crate) directory: PathBuf,
    /// From then on it may have started processes.
    pub(crate) began: StartTime,
}

/// The directories of a server's turns.
#[derive(Debug, Default)]
pub(crate) struct TurnDirectories {
    /// How many turns are at work in each.
    active_turns: BTreeMap<PathBuf, usize>,
    /// How many turns that are at work began at each moment.
    began: BTreeMap<StartTime, usize>,
    /// When the first turn began that is over and whose processes were not ended.
    deferred_since: Option<StartTime>,
    /// What the server keeps something for.
    kept: HashSet<PathBuf>,
}

impl TurnDirectories {
    /// Notes that a turn begins to work in a directory, and returns the moment.
    pub(crate) fn begin_turn(&mut self, directory: &Path) -> StartTime {
        // Under the same lock as what asks for the oldest turn: no process of the turn is younger than the entry.
        let began = StartTime::now();
        self.begin_turn_at(directory, began);
        began
    }

    fn begin_turn_at(&mut self, directory: &Path, began: StartTime) {
        *self.active_turns.entry(directory.to_owned()).or_default() += 1;
        *self.began.entry(began).or_default() += 1;
        self.kept.insert(directory.to_owned());
    }

    /// Notes that a turn is over.
    pub(crate) fn end_turn(&mut self, turn: &EndedTurn) {
        count_down(&mut self.active_turns, &turn.directory);
        count_down(&mut self.began, &turn.began);
    }

    /// Leaves the processes of a turn that is over to the next one that ends.
    pub(crate) fn defer_kill(&mut self, turn: &EndedTurn) {
        self.deferred_since =
            Some(self.deferred_since.map_or(turn.began, |deferred_since| deferred_since.min(turn.began)));
    }

    /// Returns when the first of these turns began, and of those whose processes were left to them, which are theirs from now
    /// on.
    pub(crate) fn take_deferred(&mut self, ended: &mut [EndedTurn]) -> Option<StartTime> {
        if let (Some(deferred_since), Some(first)) = (self.deferred_since, ended.first_mut()) {
            first.began = first.began.min(deferred_since);
            self.deferred_since = None;
        }
        ended.iter().map(|turn| turn.began).min()
    }

    /// Returns for each process whether one of these turns, which are over, has left it. It has to have been found by a scan
    /// before this is called.
    ///
    /// A process may be any turn's that was at work when it was started. If these are all over, it was left. If one of them is
    /// still at work, the directory decides: a process in the directory of a turn that is over, which is not that of a
    /// turn at work, was left, and any other is left to the end of the turns at work.
    pub(crate) fn are_leftovers(&self, tools: &[ToolProcess], ended: &[EndedTurn]) -> Vec<bool> {
        tools.iter().map(|tool| self.is_leftover(tool, ended)).collect()
    }

    fn is_leftover(&self, tool: &ToolProcess, ended: &[EndedTurn]) -> bool {
        let mut owners = ended.iter().filter(|turn| turn.began <= tool.started_at).peekable();
        if owners.peek().is_none() {
            return false;
        }
        if self.began.first_key_value().is_none_or(|(oldest, _)| tool.started_at < *oldest) {
            return true;
        }
        let Some(place) = &tool.directory else { return false };
        owners.any(|turn| place.starts_with(&turn.directory) && !self.is_in_use(&turn.directory))
    }

    /// Returns whether a turn is at work anywhere.
    pub(crate) fn is_active(&self) -> bool {
        !self.active_turns.is_empty()
    }

    /// Returns how many turns are at work.
    pub(crate) fn active_turn_count(&self) -> usize {
        self.active_turns.values().sum()
    }

    /// Returns whether what works in a directory may be a turn's that is at work: one in there, in a folder of it, or in one
    /// that it is a folder of.
    pub(crate) fn is_in_use(&self, directory: &Path) -> bool {
        // Paths are ordered by their components: what is below a directory comes right behind it.
        let below = self.active_turns.range(directory.to_owned()..).next();
        below.is_some_and(|(place, _)| place.starts_with(directory))
            || directory.ancestors().any(|above| self.active_turns.contains_key(above))
    }

    /// Forgets a directory, if something is kept for it and no turn is at work there. Returns whether it was so.
    pub(crate) fn forget(&mut self, directory: &Path) -> bool {
        !self.active_turns.contains_key(directory) && self.kept.remove(directory)
    }
}

/// Reduces a count by one, and removes it at zero.
fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(directory: &str, began: StartTime) -> EndedTurn {
        EndedTurn { directory: directory.into(), began }
    }

    fn is_leftover(
        directories: &TurnDirectories,
        started_at: StartTime,
        directory: Option<&str>,
        ended: &[EndedTurn],
    ) -> bool {
        directories.are_leftovers(&[ToolProcess { started_at, directory: directory.map(PathBuf::from) }], ended)
            == [true]
    }

    #[test]
    fn process_older_than_the_turn_is_not_left_by_it() {
        let (directories, start) = (TurnDirectories::default(), StartTime::now());
        let turn = [ended("/w/a", start.after(10))];
        for directory in [Some("/w/a"), Some("/"), None] {
            assert!(!is_leftover(&directories, start.after(9), directory, &turn));
            assert!(is_leftover(&directories, start.after(10), directory, &turn), "wherever it works");
        }
    }

    #[test]
    fn process_of_one_of_several_turns_is_told_by_its_directory() {
        let (mut directories, start) = (TurnDirectories::default(), StartTime::now());
        directories.begin_turn_at(Path::new("/w/b"), start.after(20));
        let over = [ended("/w/a", start.after(10))];
        assert!(is_leftover(&directories, start.after(19), None, &over), "nothing else was at work then");
        assert!(is_leftover(&directories, start.after(20), Some("/w/a/x"), &over));
        for directory in [Some("/w/b"), Some("/"), None] {
            assert!(
                !is_leftover(&directories, start.after(20), directory, &over),
                "{directory:?} may be the other turn's"
            );
        }
        directories.begin_turn_at(Path::new("/w/a"), start.after(30));
        assert!(!is_leftover(&directories, start.after(20), Some("/w/a"), &over), "another turn works there");
    }

    #[test]
    fn process_that_no_turn_could_be_told_for_ends_with_the_last_of_them() {
        let (mut directories, start) = (TurnDirectories::default(), StartTime::now());
        let (first, second) = (ended("/w/a", start), ended("/w/b", start.after(5)));
        directories.begin_turn_at(&first.directory, first.began);
        directories.begin_turn_at(&second.directory, second.began);
        directories.end_turn(&first);
        assert!(!is_leftover(&directories, start.after(6), Some("/"), std::slice::from_ref(&first)));
        directories.end_turn(&second);
        assert!(is_leftover(&directories, start.after(6), Some("/"), &[second]));
    }

    #[test]
    fn processes_of_a_turn_that_was_dropped_end_with_the_next() {
        let (mut directories, start) = (TurnDirectories::default(), StartTime::now());
        directories.defer_kill(&ended("/w/a", start));
        directories.defer_kill(&ended("/w/b", start.after(1)));
        let mut next = [ended("/w/c", start.after(5))];
        assert_eq!(directories.take_deferred(&mut next), Some(start));
        assert!(is_leftover(&directories, start.after(2), Some("/"), &next));
        assert_eq!(directories.take_deferred(&mut [ended("/w/c", start.after(9))]), Some(start.after(9)), "once");
    }

    #[test]
    fn what_works_above_below_or_there_may_be_anothers() {
        let mut directories = TurnDirectories::default();
        let first = directories.begin_turn(Path::new("/w/a/b"));
        directories.begin_turn(Path::new("/w/a.b"));
        for occupied in ["/", "/w", "/w/a", "/w/a/b", "/w/a/b/c", "/w/a.b"] {
            assert!(directories.is_in_use(Path::new(occupied)), "{occupied}");
        }
        for free in ["/w/b", "/w/a/bc", "/w/a/a", "/v", "/x"] {
            assert!(!directories.is_in_use(Path::new(free)), "{free}");
        }
        directories.end_turn(&ended("/w/a/b", first));
        assert!(!directories.is_in_use(Path::new("/w/a")));
    }

    #[test]
    fn a_directory_is_forgotten_once_and_not_while_somebody_works_there() {
        let place = Path::new("/w/a");
        let mut directories = TurnDirectories::default();
        assert!(!directories.forget(place));
        let turns = [(); 2].map(|()| ended("/w/a", directories.begin_turn(place)));
        directories.end_turn(&turns[0]);
        assert!(!directories.forget(place));
        directories.end_turn(&turns[1]);
        assert!(directories.forget(place) && !directories.forget(place));
    }
}
