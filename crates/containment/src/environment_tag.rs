//! The variable by which the processes of a run are recognized, wherever they are in the process tree.

use std::ffi::{OsStr, OsString};
use uuid::Uuid;

/// A unique value in the environment of all processes of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentTag(String);

impl EnvironmentTag {
    /// The variable that contains the tag.
    pub const VARIABLE: &'static str = "OPENCODE_RUN_MARKER";

    /// Returns a new unique tag.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each tag is different")]
    pub fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// Returns the variable's value for a run that is nested in other tagged runs.
    #[must_use]
    pub fn nested_in(&self, outer: Option<&OsStr>) -> OsString {
        match outer {
            Some(outer) if !outer.is_empty() => {
                let mut value = outer.to_owned();
                value.push(":");
                value.push(&self.0);
                value
            }
            _ => self.0.clone().into(),
        }
    }

    /// Returns whether an environment entry, `NAME=value`, contains the tag.
    #[must_use]
    pub fn is_in_entry(&self, entry: &[u8]) -> bool {
        let Some(value) = entry.strip_prefix(Self::VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
            return false;
        };
        value.split(|byte| *byte == b':').any(|tag| tag == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_found_only_in_its_variable() {
        let tag = EnvironmentTag::new();
        let entry = |name: &str, value: &str| format!("{name}={value}").into_bytes();
        assert!(tag.is_in_entry(&entry(EnvironmentTag::VARIABLE, &tag.0)));
        assert!(tag.is_in_entry(&entry(EnvironmentTag::VARIABLE, &format!("other:{}", tag.0))));
        assert!(!tag.is_in_entry(&entry("OTHER", &tag.0)));
        assert!(!tag.is_in_entry(&entry(EnvironmentTag::VARIABLE, &format!("{}0", tag.0))));
        assert!(!tag.is_in_entry(EnvironmentTag::VARIABLE.as_bytes()));
    }
}
