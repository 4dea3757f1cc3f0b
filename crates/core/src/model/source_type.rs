//! The model roles, each of which can have a model of its own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A model role: the kind of work for which a model source is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the five kinds are the contract of the .env file")]
pub enum ModelSourceType {
    /// Planning.
    Plan,
    /// Reasoning about a problem.
    Think,
    /// Writing code.
    Code,
    /// Writing prose.
    Write,
    /// Everything without a source of its own.
    Default,
}

impl ModelSourceType {
    /// All roles, in the order in which they are listed for users.
    pub const ALL: [Self; 5] = [Self::Plan, Self::Think, Self::Code, Self::Write, Self::Default];

    /// Returns the role's name, such as `plan`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Think => "think",
            Self::Code => "code",
            Self::Write => "write",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for ModelSourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not a model role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a model source type: use plan, think, code, write or default")]
pub struct UnknownSourceType(String);

impl FromStr for ModelSourceType {
    type Err = UnknownSourceType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownSourceType(name.escape_debug().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_parse_back() {
        for kind in ModelSourceType::ALL {
            assert_eq!((kind.as_str().parse(), kind.to_string().as_str()), (Ok(kind), kind.as_str()));
            assert_eq!(kind.as_str().to_uppercase().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("cdoe".parse::<ModelSourceType>().unwrap_err().to_string().contains("plan, think, code"));
    }
}
