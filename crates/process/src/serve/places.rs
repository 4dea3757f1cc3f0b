//! Where the turns of a server work, and have worked.

use crate::tree::{Moment, Tool};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// A turn that is over, as far as it matters for which processes are its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedTurn {
    pub(crate) directory: PathBuf,
    /// From then on it may have started processes.
    pub(crate) began: Moment,
}

/// The directories of a server's turns.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// How many turns are at work in each.
    at_work: BTreeMap<PathBuf, usize>,
    /// How many turns that are at work began at each moment.
    began: BTreeMap<Moment, usize>,
    /// When the first turn began that is over and whose processes were not ended.
    unswept: Option<Moment>,
    /// What the server keeps something for.
    kept: HashSet<PathBuf>,
}

impl Places {
    /// Notes that a turn begins to work in a directory, and returns the moment.
    pub(crate) fn enter(&mut self, directory: &Path) -> Moment {
        // Under the same lock as what asks for the oldest turn: no process of the turn is younger than the entry.
        let began = Moment::now();
        self.enter_at(directory, began);
        began
    }

    fn enter_at(&mut self, directory: &Path, began: Moment) {
        *self.at_work.entry(directory.to_owned()).or_default() += 1;
        *self.began.entry(began).or_default() += 1;
        self.kept.insert(directory.to_owned());
    }

    /// Notes that a turn is over.
    pub(crate) fn leave(&mut self, turn: &EndedTurn) {
        count_down(&mut self.at_work, &turn.directory);
        count_down(&mut self.began, &turn.began);
    }

    /// Leaves the processes of a turn that is over to the next one that ends.
    pub(crate) fn leave_processes_of(&mut self, turn: &EndedTurn) {
        self.unswept = Some(self.unswept.map_or(turn.began, |unswept| unswept.min(turn.began)));
    }

    /// Returns when the first of these turns began, and of those whose processes were left to them, which are theirs from now
    /// on.
    pub(crate) fn take_over(&mut self, ended: &mut [EndedTurn]) -> Option<Moment> {
        if let (Some(unswept), Some(first)) = (self.unswept, ended.first_mut()) {
            first.began = first.began.min(unswept);
            self.unswept = None;
        }
        ended.iter().map(|turn| turn.began).min()
    }

    /// Returns for each process whether one of these turns, which are over, has left it. It has to have been found by a scan
    /// before this is called.
    ///
    /// A process may be any turn's that was at work when it was started. If these are all over, it was left. If one of them is
    /// still at work, the directory decides: a process in the directory of a turn that is over, which is not that of a
    /// turn at work, was left, and any other is left to the end of the turns at work.
    pub(crate) fn are_left(&self, tools: &[Tool], ended: &[EndedTurn]) -> Vec<bool> {
        tools.iter().map(|tool| self.is_left(tool, ended)).collect()
    }

    fn is_left(&self, tool: &Tool, ended: &[EndedTurn]) -> bool {
        let mut owners = ended.iter().filter(|turn| turn.began <= tool.born).peekable();
        if owners.peek().is_none() {
            return false;
        }
        if self.began.first_key_value().is_none_or(|(oldest, _)| tool.born < *oldest) {
            return true;
        }
        let Some(place) = &tool.directory else { return false };
        owners.any(|turn| place.starts_with(&turn.directory) && !self.is_occupied(&turn.directory))
    }

    /// Returns whether a turn is at work anywhere.
    pub(crate) fn is_at_work(&self) -> bool {
        !self.at_work.is_empty()
    }

    /// Returns how many turns are at work.
    pub(crate) fn turns_at_work(&self) -> usize {
        self.at_work.values().sum()
    }

    /// Returns whether what works in a directory may be a turn's that is at work: one in there, in a folder of it, or in one
    /// that it is a folder of.
    pub(crate) fn is_occupied(&self, directory: &Path) -> bool {
        // Paths are ordered by their components: what is below a directory comes right behind it.
        let below = self.at_work.range(directory.to_owned()..).next();
        below.is_some_and(|(place, _)| place.starts_with(directory))
            || directory.ancestors().any(|above| self.at_work.contains_key(above))
    }

    /// Forgets a directory, if something is kept for it and no turn is at work there. Returns whether it was so.
    pub(crate) fn forget(&mut self, directory: &Path) -> bool {
        !self.at_work.contains_key(directory) && self.kept.remove(directory)
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

    fn ended(directory: &str, began: Moment) -> EndedTurn {
        EndedTurn { directory: directory.into(), began }
    }

    fn is_left(places: &Places, born: Moment, directory: Option<&str>, ended: &[EndedTurn]) -> bool {
        places.are_left(&[Tool { born, directory: directory.map(PathBuf::from) }], ended) == [true]
    }

    #[test]
    fn process_older_than_the_turn_is_not_left_by_it() {
        let (places, start) = (Places::default(), Moment::now());
        let turn = [ended("/w/a", start.after(10))];
        for directory in [Some("/w/a"), Some("/"), None] {
            assert!(!is_left(&places, start.after(9), directory, &turn));
            assert!(is_left(&places, start.after(10), directory, &turn), "wherever it works");
        }
    }

    #[test]
    fn process_of_one_of_several_turns_is_told_by_its_directory() {
        let (mut places, start) = (Places::default(), Moment::now());
        places.enter_at(Path::new("/w/b"), start.after(20));
        let over = [ended("/w/a", start.after(10))];
        assert!(is_left(&places, start.after(19), None, &over), "nothing else was at work then");
        assert!(is_left(&places, start.after(20), Some("/w/a/x"), &over));
        for directory in [Some("/w/b"), Some("/"), None] {
            assert!(!is_left(&places, start.after(20), directory, &over), "{directory:?} may be the other turn's");
        }
        places.enter_at(Path::new("/w/a"), start.after(30));
        assert!(!is_left(&places, start.after(20), Some("/w/a"), &over), "another turn works there");
    }

    #[test]
    fn process_that_no_turn_could_be_told_for_ends_with_the_last_of_them() {
        let (mut places, start) = (Places::default(), Moment::now());
        let (first, second) = (ended("/w/a", start), ended("/w/b", start.after(5)));
        places.enter_at(&first.directory, first.began);
        places.enter_at(&second.directory, second.began);
        places.leave(&first);
        assert!(!is_left(&places, start.after(6), Some("/"), std::slice::from_ref(&first)));
        places.leave(&second);
        assert!(is_left(&places, start.after(6), Some("/"), &[second]));
    }

    #[test]
    fn processes_of_a_turn_that_was_dropped_end_with_the_next() {
        let (mut places, start) = (Places::default(), Moment::now());
        places.leave_processes_of(&ended("/w/a", start));
        places.leave_processes_of(&ended("/w/b", start.after(1)));
        let mut next = [ended("/w/c", start.after(5))];
        assert_eq!(places.take_over(&mut next), Some(start));
        assert!(is_left(&places, start.after(2), Some("/"), &next));
        assert_eq!(places.take_over(&mut [ended("/w/c", start.after(9))]), Some(start.after(9)), "once");
    }

    #[test]
    fn what_works_above_below_or_there_may_be_anothers() {
        let mut places = Places::default();
        let first = places.enter(Path::new("/w/a/b"));
        places.enter(Path::new("/w/a.b"));
        for occupied in ["/", "/w", "/w/a", "/w/a/b", "/w/a/b/c", "/w/a.b"] {
            assert!(places.is_occupied(Path::new(occupied)), "{occupied}");
        }
        for free in ["/w/b", "/w/a/bc", "/w/a/a", "/v", "/x"] {
            assert!(!places.is_occupied(Path::new(free)), "{free}");
        }
        places.leave(&ended("/w/a/b", first));
        assert!(!places.is_occupied(Path::new("/w/a")));
    }

    #[test]
    fn a_directory_is_forgotten_once_and_not_while_somebody_works_there() {
        let place = Path::new("/w/a");
        let mut places = Places::default();
        assert!(!places.forget(place));
        let turns = [(); 2].map(|()| ended("/w/a", places.enter(place)));
        places.leave(&turns[0]);
        assert!(!places.forget(place));
        places.leave(&turns[1]);
        assert!(places.forget(place) && !places.forget(place));
    }
}
