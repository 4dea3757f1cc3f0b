//! A home of its own for a run: without the user's configuration of opencode, its logins and its history.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// Where a program looks for what belongs to the user, and what is there in the home of its own.
const HOMES: [(&str, &str); 5] = [
    ("HOME", ""),
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_CACHE_HOME", ".cache"),
    ("XDG_STATE_HOME", ".local/state"),
];

/// What brings the user's configuration of opencode by another way, or opencode's database.
const CONFIGURED: [&str; 6] = [
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_CONFIG_DIR",
    "OPENCODE_PERMISSION",
    "OPENCODE_AUTH_CONTENT",
    "OPENCODE_DB",
];

/// A home that is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Isolation {
    home: TempDir,
}

impl Isolation {
    /// Makes a home that only the user can look into.
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        // opencode keeps its database there, with the way to the gateway in it.
        #[cfg(unix)]
        let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        Ok(Self { home: builder.prefix("opencode-run-home-").tempdir()? })
    }

    /// Returns the variables with which a program finds this home, and nothing of the user's.
    pub(crate) fn apply(&self, variables: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        let is = |name: &OsStr, known: &str| name == known;
        let kept = variables.into_iter().filter(|(name, _)| {
            !HOMES.iter().any(|(known, _)| is(name, known)) && !CONFIGURED.iter().any(|known| is(name, known))
        });
        let home: &Path = self.home.path();
        let own = HOMES.map(|(name, place)| (OsString::from(name), home.join(place).into_os_string()));
        kept.chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_users_is_found() {
        let isolation = Isolation::new().unwrap();
        let home = isolation.home.path().to_owned();
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&home.metadata().unwrap().permissions()) & 0o777, 0o700);
        let given =
            [("HOME", "/home/me"), ("XDG_DATA_HOME", "/d"), ("OPENCODE_CONFIG_CONTENT", "{}"), ("PATH", "/bin")];
        let given = given.map(|(name, value)| (OsString::from(name), OsString::from(value))).into();
        let variables: std::collections::BTreeMap<_, _> = isolation.apply(given).into_iter().collect();
        let value = |name: &str| variables.get(OsStr::new(name)).cloned();
        assert_eq!(value("HOME"), Some(home.join("").into_os_string()));
        assert_eq!(value("XDG_DATA_HOME"), Some(home.join(".local/share").into_os_string()));
        assert_eq!((value("OPENCODE_CONFIG_CONTENT"), value("PATH")), (None, Some("/bin".into())));
        drop(isolation);
        assert!(!home.exists());
    }
}
