//! Directories whose path opencode changes.
//!
//! opencode decodes the percent escapes of the directory once more than HTTP does, on its own server (`serve`) and on
//! the one inside of `run`: a path with `%` and two hexadecimal digits then names another directory (`a%2Fb` becomes
//! `a/b`). All other paths arrive unchanged, even `100%`, which cannot be decoded.
//!
//! Measured: encoding such a path twice works on the servers of 1.1.65, 1.2.27, 1.3.2 and 1.14.41. 1.15.13 and 1.18.33
//! also decode the directory that they have stored with the session, so no message can be sent in such a directory.

use super::Generation;
use crate::Version;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::Path;

/// The versions on which double encoding was measured to work.
const MEASURED: RangeInclusive<Version> = Version::new(1, 1, 65)..=Version::new(1, 14, 41);

/// Returns whether a path contains a percent escape.
fn has_percent_escape(path: &str) -> bool {
    path.as_bytes().windows(3).any(|part| part[0] == b'%' && part[1..].iter().all(u8::is_ascii_hexdigit))
}

/// Returns the directory as a server needs it, before the encoding of the query.
pub(crate) fn for_query(directory: &Path) -> Cow<'_, str> {
    let path = directory.to_string_lossy();
    if has_percent_escape(&path) { path.replace('%', "%25").into() } else { path }
}

/// Returns whether the directory in a server's answer is the given one.
pub(crate) fn is_same(given: &Path, answered: &Path) -> bool {
    // Only paths with escapes are changed; any other path may be answered in another spelling.
    !has_percent_escape(&given.to_string_lossy())
        || given == answered
        || std::fs::canonicalize(given).is_ok_and(|given| given == answered)
}

impl Generation {
    /// Checks that `opencode run` can work in a directory.
    ///
    /// # Errors
    ///
    /// The reason why it cannot.
    pub(crate) fn check_run_in(self, directory: &Path) -> Result<(), String> {
        match self {
            Self::V1 if has_percent_escape(&directory.to_string_lossy()) => {
                Err("`opencode run` decodes the `%` in the path and would work in another directory".to_owned())
            }
            Self::V1 | Self::V2 => Ok(()),
        }
    }
}

/// Checks that a server of a version can work in a directory.
///
/// # Errors
///
/// The reason why it cannot.
pub(crate) fn check_serve_in(version: Version, directory: &Path) -> Result<(), String> {
    // opencode 2 gets directories in JSON.
    if version.major == 2 || !has_percent_escape(&directory.to_string_lossy()) || MEASURED.contains(&version) {
        return Ok(());
    }
    Err(format!("opencode {version} decodes the `%` in the path and would work in another directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_percent_escapes_are_encoded_twice() {
        for (path, given) in [
            ("/w/a%2Fb", "/w/a%252Fb"),
            ("/w/a%20b 100%", "/w/a%2520b 100%25"),
            ("/w/%25", "/w/%2525"),
            ("/w/%ff", "/w/%25ff"),
            ("/w/100%", "/w/100%"),
            ("/w/%2", "/w/%2"),
            ("/w/%zz", "/w/%zz"),
            ("/w/a b+c#d?e&f=g", "/w/a b+c#d?e&f=g"),
            ("/w/ü\n", "/w/ü\n"),
        ] {
            assert_eq!(for_query(Path::new(path)), given);
            assert_eq!(Generation::V1.check_run_in(Path::new(path)).is_err(), path != given);
        }
    }

    #[test]
    fn percent_escapes_are_refused_on_versions_that_decode_stored_paths() {
        let directory = Path::new("/w/a%20b");
        assert!(check_serve_in(Version::new(1, 1, 65), directory).is_ok());
        assert!(check_serve_in(Version::new(1, 14, 41), directory).is_ok());
        assert!(check_serve_in(Version::new(1, 15, 13), directory).is_err());
        assert!(check_serve_in(Version::new(1, 18, 33), Path::new("/w/100%")).is_ok());
    }
}
