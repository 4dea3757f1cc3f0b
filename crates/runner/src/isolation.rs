//! The isolated home of a run, without the user's configuration of opencode, logins and history.

use opencode_run_process::is_users_configuration;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// The variables of a user's directories, and their values relative to the isolated home.
const HOMES: [(&str, &str); 5] = [
    ("HOME", ""),
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_CACHE_HOME", ".cache"),
    ("XDG_STATE_HOME", ".local/state"),
];

/// The file in a home that is locked as long as the home is used. `clean` deletes the homes of killed processes.
pub const HOME_LOCK: &str = ".opencode-run-lock";
/// The beginning of the name of a home.
pub const HOME_PREFIX: &str = "opencode-run-home-";

/// An isolated home, which is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct Isolation {
    home: TempDir,
    /// Released after the home is gone.
    _lock: Option<File>,
}

impl Isolation {
    /// Creates a home that only the user can access.
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        // opencode's database in it contains the route to the gateway.
        #[cfg(unix)]
        let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let home = builder.prefix(HOME_PREFIX).tempdir()?;
        let path = home.path().join(HOME_LOCK);
        let lock = Some(File::create_new(&path)?).filter(|lock| lock.try_lock().is_ok());
        if lock.is_none() {
            // Some network file systems have no locks. An unlocked file would mark the home as unused.
            std::fs::remove_file(path)?;
        }
        Ok(Self { home, _lock: lock })
    }

    /// Returns the environment with this home instead of the user's directories and configuration.
    pub(crate) fn apply(&self, variables: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        let is_replaced = |name: &OsStr| HOMES.iter().any(|(known, _)| name == *known) || is_users_configuration(name);
        let kept = variables.into_iter().filter(|(name, _)| !is_replaced(name));
        let home: &Path = self.home.path();
        let own = HOMES.map(|(name, place)| (OsString::from(name), home.join(place).into_os_string()));
        kept.chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolated_home_hides_user_configuration() {
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
