//! Finds a real opencode. The build script includes this file too.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The version of opencode that `opencode-run setup` installs and the recordings were made with.
pub(crate) const PINNED_OPENCODE: &str = "1.18.33";

/// The variable that names an opencode for the tests, which is used without a check.
pub(crate) const CHOSEN: &str = "OPENCODE_RUN_TEST_OPENCODE";

/// The variable that names an opencode 2 for the tests. Without it, tests on a real opencode 2 are ignored.
pub(crate) const CHOSEN2: &str = "OPENCODE_RUN_TEST_OPENCODE2";

/// The variable that is `1` if a missing opencode is a failure, and `0` to use no real opencode.
pub(crate) const REQUIRED: &str = "OPENCODE_RUN_REQUIRE_REAL";

/// Finds a real opencode, or returns why it is missing.
pub(crate) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    if variable(REQUIRED).is_some_and(|value| value == "0") {
        return Err(format!("{REQUIRED} is 0"));
    }
    if let Some(chosen) = variable(CHOSEN) {
        let chosen = PathBuf::from(chosen);
        assert!(chosen.is_file(), "{CHOSEN} names {}, which is no file", chosen.display());
        return Ok(chosen);
    }
    let path = variable("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|dir| dir.join("opencode")).find(|file| file.is_file());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let installed = cache
        .map(|cache| cache.join(format!("opencode-run/opencode/{PINNED_OPENCODE}/node_modules/.bin/opencode")))
        .filter(|file| file.is_file());
    on_path.or(installed).ok_or_else(|| {
        format!("no opencode: not named by {CHOSEN}, not on PATH, not installed by `opencode-run setup`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn named_opencode_precedes_path_and_installed() {
        let dir = tempfile::tempdir().unwrap();
        let make = |relative: &str| {
            let file = dir.path().join(relative);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            file
        };
        let variables = |names: &'static [&str]| {
            let root = dir.path().to_path_buf();
            move |name: &str| names.contains(&name).then(|| root.join(name).into_os_string())
        };
        assert!(find(variables(&["PATH", "HOME"])).unwrap_err().contains("setup"));
        let tail = format!("opencode-run/opencode/{PINNED_OPENCODE}/node_modules/.bin/opencode");
        let installed = make(&format!("HOME/.cache/{tail}"));
        assert_eq!(find(variables(&["PATH", "HOME"])).unwrap(), installed);
        let elsewhere = make(&format!("XDG_CACHE_HOME/{tail}"));
        assert_eq!(find(variables(&["PATH", "HOME", "XDG_CACHE_HOME"])).unwrap(), elsewhere);
        let on_path = make("PATH/opencode");
        assert_eq!(find(variables(&["PATH", "HOME"])).unwrap(), on_path);
        let named = make(CHOSEN);
        assert_eq!(find(variables(&["PATH", "HOME", CHOSEN])).unwrap(), named);
        assert!(find(|name| if name == REQUIRED { Some("0".into()) } else { Some(named.clone().into()) }).is_err());
    }
}
