//! The directories in which a server's turns work and have worked.

use opencode_run_containment::{StartTime, ToolProcess};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A finished turn, as needed to decide which processes it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedTurn {
    pub(crate) directory: PathBuf,
    /// The start of the turn; its processes are not older.
    pub(crate) began: StartTime,
}

/// The directories of a server's turns, with reference counts.
#[derive(Debug, Default)]
pub(crate) struct TurnDirectories {
    /// The number of active turns in each directory.
    active_turns: BTreeMap<PathBuf, usize>,
    /// The number of active turns by start time.
    began: BTreeMap<StartTime, usize>,
    /// The earliest start of the finished turns whose processes were not killed.
    deferred_since: Option<StartTime>,
    /// The directories for which the server keeps state.
    kept: HashSet<PathBuf>,
    /// When the last user of a kept directory was dropped.
    abandoned: HashMap<PathBuf, Instant>,
}

impl TurnDirectories {
    /// Registers a turn in a directory, and returns its start time.
    pub(crate) fn begin_turn(&mut self, directory: &Path) -> StartTime {
        // Taken under the same lock as the look-up of the oldest turn, so that no process of the turn is older than
        // this entry.
        let began = StartTime::now();
        self.begin_turn_at(directory, began);
        began
    }

    fn begin_turn_at(&mut self, directory: &Path, began: StartTime) {
        *self.active_turns.entry(directory.to_owned()).or_default() += 1;
        *self.began.entry(began).or_default() += 1;
        self.kept.insert(directory.to_owned());
        self.abandoned.remove(directory);
    }

    /// Records that a user of a directory was dropped.
    pub(crate) fn abandon(&mut self, directory: &Path, now: Instant) {
        if self.kept.contains(directory) {
            self.abandoned.insert(directory.to_owned(), now);
        }
    }

    /// Returns the directories that were abandoned at least this long ago and have no active turn, and forgets when.
    pub(crate) fn take_abandoned(&mut self, now: Instant, limit: Duration) -> Vec<PathBuf> {
        let active = &self.active_turns;
        let is_due = |directory: &PathBuf, since: &mut Instant| {
            now.duration_since(*since) >= limit && !active.contains_key(directory)
        };
        self.abandoned.extract_if(is_due).map(|(directory, _)| directory).collect()
    }

    /// Removes a finished turn.
    pub(crate) fn end_turn(&mut self, turn: &EndedTurn) {
        count_down(&mut self.active_turns, &turn.directory);
        count_down(&mut self.began, &turn.began);
    }

    /// Leaves the processes of a finished turn to the next turn that ends.
    pub(crate) fn defer_kill(&mut self, turn: &EndedTurn) {
        self.deferred_since =
            Some(self.deferred_since.map_or(turn.began, |deferred_since| deferred_since.min(turn.began)));
    }

    /// Returns the earliest start of these turns. The first one takes over the processes of turns whose kill was
    /// deferred.
    pub(crate) fn take_deferred(&mut self, ended: &mut [EndedTurn]) -> Option<StartTime> {
        if let (Some(deferred_since), Some(first)) = (self.deferred_since, ended.first_mut()) {
            first.began = first.began.min(deferred_since);
            self.deferred_since = None;
        }
        ended.iter().map(|turn| turn.began).min()
    }

    /// Returns for each process whether it is left over from one of these finished turns. The processes must have been
    /// found by a scan before this call.
    ///
    /// A process may belong to any turn that was active when it started. If all of these turns are over, it is a
    /// leftover. If one is still active, the working directory decides: a process in the directory of a finished turn,
    /// where no turn is active, is a leftover. Any other process is killed when the active turns end.
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

    /// Returns whether any turn is active.
    pub(crate) fn is_active(&self) -> bool {
        !self.active_turns.is_empty()
    }

    /// Returns the number of active turns.
    pub(crate) fn active_turn_count(&self) -> usize {
        self.active_turns.values().sum()
    }

    /// Returns whether a process in this directory may belong to an active turn: one that works in it, above it or
    /// below it.
    pub(crate) fn is_in_use(&self, directory: &Path) -> bool {
        // Paths are ordered by their components: the entries below a directory follow it.
        let below = self.active_turns.range(directory.to_owned()..).next();
        below.is_some_and(|(place, _)| place.starts_with(directory))
            || directory.ancestors().any(|above| self.active_turns.contains_key(above))
    }

    /// Forgets a directory if the server keeps state for it and no turn is active there. Returns whether it did.
    pub(crate) fn forget(&mut self, directory: &Path) -> bool {
        let is_forgotten = !self.active_turns.contains_key(directory) && self.kept.remove(directory);
        if is_forgotten {
            self.abandoned.remove(directory);
        }
        is_forgotten
    }
}

/// Decrements a count, and removes it at zero.
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
        directories.are_leftovers(&[ToolProcess::new(started_at, directory.map(PathBuf::from))], ended) == [true]
    }

    #[test]
    fn older_process_is_not_a_leftover() {
        let directories = TurnDirectories::default();
        let start = StartTime::now();
        let turn = [ended("/w/a", start.after(10))];
        for directory in [Some("/w/a"), Some("/"), None] {
            assert!(!is_leftover(&directories, start.after(9), directory, &turn));
            assert!(is_leftover(&directories, start.after(10), directory, &turn), "wherever it works");
        }
    }

    #[test]
    fn directory_decides_between_parallel_turns() {
        let mut directories = TurnDirectories::default();
        let start = StartTime::now();
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
    fn ambiguous_process_ends_with_last_turn() {
        let mut directories = TurnDirectories::default();
        let start = StartTime::now();
        let first = ended("/w/a", start);
        let second = ended("/w/b", start.after(5));
        directories.begin_turn_at(&first.directory, first.began);
        directories.begin_turn_at(&second.directory, second.began);
        directories.end_turn(&first);
        assert!(!is_leftover(&directories, start.after(6), Some("/"), std::slice::from_ref(&first)));
        directories.end_turn(&second);
        assert!(is_leftover(&directories, start.after(6), Some("/"), &[second]));
    }

    #[test]
    fn dropped_turns_processes_end_with_next() {
        let mut directories = TurnDirectories::default();
        let start = StartTime::now();
        directories.defer_kill(&ended("/w/a", start));
        directories.defer_kill(&ended("/w/b", start.after(1)));
        let mut next = [ended("/w/c", start.after(5))];
        assert_eq!(directories.take_deferred(&mut next), Some(start));
        assert!(is_leftover(&directories, start.after(2), Some("/"), &next));
        assert_eq!(directories.take_deferred(&mut [ended("/w/c", start.after(9))]), Some(start.after(9)), "once");
    }

    #[test]
    fn nested_directories_are_in_use() {
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
    fn abandoned_directory_is_due_after_its_limit() {
        let place = Path::new("/w/a");
        let now = Instant::now();
        let limit = Duration::from_mins(1);
        let mut directories = TurnDirectories::default();
        directories.abandon(Path::new("/w/b"), now);
        let turn = ended("/w/a", directories.begin_turn(place));
        directories.abandon(place, now);
        assert!(directories.take_abandoned(now + limit, limit).is_empty(), "its turn is active");
        directories.end_turn(&turn);
        assert!(directories.take_abandoned(now, limit).is_empty());
        assert_eq!(directories.take_abandoned(now + limit, limit), [place], "the other has no state");
        assert!(directories.take_abandoned(now + limit, limit).is_empty(), "once");
        directories.abandon(place, now);
        let further = ended("/w/a", directories.begin_turn(place));
        directories.end_turn(&further);
        assert!(directories.take_abandoned(now + limit, limit).is_empty(), "it has another user");
    }

    #[test]
    fn directory_is_forgotten_once_when_idle() {
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
