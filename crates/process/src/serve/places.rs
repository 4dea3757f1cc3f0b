//! Where the turns of a server work, and have worked.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The directories of a server's turns.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// How many turns are at work in each.
    at_work: BTreeMap<PathBuf, usize>,
    /// What the server keeps something for.
    kept: HashSet<PathBuf>,
}

impl Places {
    /// Notes that a turn begins to work in a directory.
    pub(crate) fn enter(&mut self, directory: &Path) {
        *self.at_work.entry(directory.to_owned()).or_default() += 1;
        self.kept.insert(directory.to_owned());
    }

    /// Notes that a turn works there no more.
    pub(crate) fn leave(&mut self, directory: &Path) {
        if let Some(turns) = self.at_work.get_mut(directory) {
            *turns -= 1;
            if *turns == 0 {
                self.at_work.remove(directory);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_above_below_or_there_may_be_anothers() {
        let mut places = Places::default();
        places.enter(Path::new("/w/a/b"));
        places.enter(Path::new("/w/a.b"));
        for occupied in ["/", "/w", "/w/a", "/w/a/b", "/w/a/b/c", "/w/a.b"] {
            assert!(places.is_occupied(Path::new(occupied)), "{occupied}");
        }
        for free in ["/w/b", "/w/a/bc", "/w/a/a", "/v", "/x"] {
            assert!(!places.is_occupied(Path::new(free)), "{free}");
        }
        places.leave(Path::new("/w/a/b"));
        assert!(!places.is_occupied(Path::new("/w/a")));
    }

    #[test]
    fn a_directory_is_forgotten_once_and_not_while_somebody_works_there() {
        let place = Path::new("/w/a");
        let mut places = Places::default();
        assert!(!places.forget(place));
        places.enter(place);
        places.enter(place);
        places.leave(place);
        assert!(!places.forget(place));
        places.leave(place);
        assert!(places.forget(place) && !places.forget(place));
    }
}
