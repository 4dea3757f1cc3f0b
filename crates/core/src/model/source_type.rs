//! The kinds of work that can each have a model of their own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A kind of work with a model of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the five kinds are the contract of the .env file")]
pub enum ModelSourceType {
    /// Planning.
    Plan,
    /// Thinking a matter through.
    Think,
    /// Writing code.
    Code,
    /// Writing prose.
    Write,
    /// All that has no source of its own.
    Default,
}

impl ModelSourceType {
    /// All kinds, in the order in which they are listed for people.
    pub const ALL: [Self; 5] = [Self::Plan, Self::Think, Self::Code, Self::Write, Self::Default];

    /// Returns the kind's name, such as `plan`.
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

/// A text that names no kind of work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no model source type: it is one of plan, think, code, write and default")]
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
    fn each_name_reads_back() {
        for kind in ModelSourceType::ALL {
            assert_eq!((kind.as_str().parse(), kind.to_string().as_str()), (Ok(kind), kind.as_str()));
            assert_eq!(kind.as_str().to_uppercase().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("cdoe".parse::<ModelSourceType>().unwrap_err().to_string().contains("plan, think, code"));
    }
}
