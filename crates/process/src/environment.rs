//! The environment of opencode.

use crate::protocol::is_of_surrounding;
use crate::shell::unusable_shell;
use opencode_run_containment::{EnvironmentTag, GIT_REPOSITORY_VARIABLES};
use opencode_run_core::{Redactor, SecretString};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// Returns whether a variable of the caller reaches opencode, and so the commands that the agent runs.
#[must_use]
pub fn is_inherited(variable: &OsStr) -> bool {
    !is_of_surrounding(variable) && !GIT_REPOSITORY_VARIABLES.iter().any(|of_git| variable == *of_git)
}

/// The hosts that bypass proxies: through a proxy, a provider on this machine cannot be reached.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

/// The environment variables of a new process. `Debug` shows only their names: values may be secrets.
#[derive(Clone)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Returns the caller's variables without those that must not be inherited, with proxies bypassed for loopback.
    pub(crate) fn from_caller(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut map: BTreeMap<_, _> = variables.into_iter().collect();
        map.retain(|name, _| is_inherited(name));
        for name in ["NO_PROXY", "no_proxy"] {
            let given = map.get(OsStr::new(name)).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
            let mut hosts: Vec<&str> = given.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
            let missing = LOOPBACK.into_iter().filter(|host| !hosts.contains(host)).collect::<Vec<_>>();
            hosts.extend(missing);
            map.insert(name.into(), hosts.join(",").into());
        }
        Self(map).with_working_shell()
    }

    /// Replaces a `SHELL` that runs no commands, with a warning.
    fn with_working_shell(mut self) -> Self {
        if let Some(unusable) = unusable_shell(self.get("SHELL"))
            && let Some(replacement) = unusable.replacement
        {
            tracing::warn!("{unusable}: the agent's commands run in {replacement} instead");
            self.set("SHELL", replacement);
        }
        self
    }

    /// Sets the working directory. opencode trusts `PWD` more than its real working directory.
    pub(crate) fn working_in(mut self, directory: &Path) -> Self {
        self.0.insert("PWD".into(), directory.into());
        self.0.remove(OsStr::new("OLDPWD"));
        self
    }

    /// Appends the environment tag that every process of the turn inherits to the tags of surrounding runs.
    pub(crate) fn tagged(mut self, tag: &EnvironmentTag) -> Self {
        let outer = self.0.get(OsStr::new(EnvironmentTag::VARIABLE));
        let value = tag.nested_in(outer.map(OsString::as_os_str));
        self.0.insert(EnvironmentTag::VARIABLE.into(), value);
        self
    }

    /// Removes the variables that contain a secret, whatever their name, in every form that a [`Redactor`] finds, such
    /// as base64. A secret that is short enough to occur in ordinary words is not removed.
    pub(crate) fn strip_secret(&mut self, secret: &SecretString) {
        let redactor = Redactor::new([secret.clone()]);
        self.0.retain(|_, value| matches!(redactor.redact(&value.to_string_lossy()), Cow::Borrowed(_)));
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Returns a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns all variables.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(variables: &[(&str, &str)]) -> Environment {
        Environment::from_caller(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn surrounding_opencode_is_not_inherited() {
        let surrounding = ["OPENCODE", "AGENT", "OPENCODE_SERVER_PASSWORD", "OPENCODE_PASSWORD"];
        let environment = caller(&surrounding.map(|name| (name, "x")));
        assert!(surrounding.iter().all(|name| environment.get(name).is_none()));
        assert_eq!(caller(&[("HOME", "/h")]).get("HOME"), Some(OsStr::new("/h")));
    }

    #[test]
    fn repository_of_a_git_hook_is_dropped() {
        let given = [
            "GIT_DIR",
            "GIT_INDEX_FILE",
            "GIT_QUARANTINE_PATH",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_PARAMETERS",
            "GIT_CONFIG_KEY_0",
            "GIT_AUTHOR_NAME",
        ];
        let environment = caller(&given.map(|name| (name, "x")));
        let left = |name: &&str| environment.get(name).is_some();
        assert_eq!(given.into_iter().filter(left).collect::<Vec<_>>(), given[3..]);
    }

    #[test]
    fn git_agrees_on_its_variables() {
        let Ok(git) = std::process::Command::new("git").args(["rev-parse", "--local-env-vars"]).output() else {
            return;
        };
        let listed = String::from_utf8(git.stdout).unwrap();
        for name in listed.lines().filter(|name| !["GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"].contains(name)) {
            assert!(GIT_REPOSITORY_VARIABLES.contains(&name), "{name}");
        }
    }

    #[test]
    fn unusable_shell_is_replaced() {
        let shell = |given: &str| caller(&[("SHELL", given)]).get("SHELL").unwrap().to_owned();
        assert_ne!(shell("/usr/sbin/nologin"), "/usr/sbin/nologin");
        assert_eq!(shell("/bin/sh"), "/bin/sh");
        assert_eq!(caller(&[]).get("SHELL"), None);
    }

    #[test]
    fn debug_hides_values() {
        let shown = format!("{:?}", caller(&[("OPENAI_API_KEY", "sk-1234567890")]));
        assert!(shown.contains("OPENAI_API_KEY") && !shown.contains("sk-1234567890"), "{shown}");
    }

    #[test]
    fn secret_is_stripped_from_any_variable() {
        let mut environment = caller(&[
            ("MODEL_CODE_APIKEY", "sk-1234567890"),
            ("HEADER", "Bearer sk-1234567890"),
            ("OTHER_KEY", "sk-0987654321"),
            ("HOME", "/none"),
        ]);
        environment.strip_secret(&"sk-1234567890".into());
        environment.strip_secret(&"none".into());
        for (name, is_left) in [("MODEL_CODE_APIKEY", false), ("HEADER", false), ("OTHER_KEY", true), ("HOME", true)] {
            assert_eq!(environment.get(name).is_some(), is_left, "{name}");
        }
    }

    #[test]
    fn encoded_secret_is_stripped() {
        let key = "sk-12/45+7890=";
        let mut environment = caller(&[
            // `Authorization: Basic`, a URL, JSON within a variable, hexadecimal.
            ("BASIC", "Basic dXNlcjpzay0xMi80NSs3ODkwPQ=="),
            ("TWICE", "ZFhObGNqcHpheTB4TWk4ME5TczNPRGt3UFE9PQ=="),
            ("PROXY_URL", "https://user:sk-12%2F45%2b7890%3D@proxy.example"),
            ("SETTINGS", r#"{"key":"sk-12\/45\u002b7890="}"#),
            ("HEX", "736B2D31322F34352B373839303D"),
            ("BASE64_OF_OTHER", "dXNlcjpzay0wOTg3NjU0MzIx"),
        ]);
        environment.strip_secret(&key.into());
        let left: Vec<_> = environment.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(left, ["BASE64_OF_OTHER", "NO_PROXY", "no_proxy"]);
    }

    #[test]
    fn proxies_are_bypassed_for_loopback() {
        let environment = caller(&[("NO_PROXY", "example.com, localhost")]);
        assert_eq!(environment.get("NO_PROXY"), Some(OsStr::new("example.com,localhost,127.0.0.1,::1")));
        assert_eq!(environment.get("no_proxy"), Some(OsStr::new("127.0.0.1,localhost,::1")));
    }

    #[test]
    fn pwd_is_the_working_directory() {
        let environment = caller(&[("PWD", "/elsewhere"), ("OLDPWD", "/x")]).working_in(Path::new("/task"));
        assert_eq!(environment.get("PWD"), Some(OsStr::new("/task")));
        assert_eq!(environment.get("OLDPWD"), None);
    }

    #[test]
    fn nested_run_has_both_tags() {
        let outer = EnvironmentTag::new();
        let inner = EnvironmentTag::new();
        let environment = caller(&[]).tagged(&outer).tagged(&inner);
        let value = environment.get(EnvironmentTag::VARIABLE).unwrap().to_str().unwrap();
        let entry = format!("{}={value}", EnvironmentTag::VARIABLE);
        assert!(outer.is_in_entry(entry.as_bytes()) && inner.is_in_entry(entry.as_bytes()));
    }
}
