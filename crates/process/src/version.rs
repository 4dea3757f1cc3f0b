//! Versions of opencode.

use std::fmt;
use std::str::FromStr;

/// A version of opencode, `1.18.33`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "opencode's versions have these three numbers")]
pub struct Version {
    /// The major number: the generation of opencode.
    pub major: u32,
    /// The release within the generation.
    pub minor: u32,
    /// The correction within the release.
    pub patch: u32,
}

impl Version {
    /// Returns the version with these numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A text without a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no version number in `{0}`")]
pub struct ParseVersionError(String);

impl FromStr for Version {
    type Err = ParseVersionError;

    /// Parses the output of `opencode --version`: `1.18.33`, or `opencode v2.0.7` since opencode 2. A suffix such as
    /// `-beta.1` is ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |word: &str| {
            let mut numbers = word.strip_prefix('v').unwrap_or(word).splitn(3, '.');
            let mut number = |last: bool| {
                let digits = numbers.next()?;
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                (last || end == digits.len()).then(|| digits[..end].parse().ok()).flatten()
            };
            Some(Self::new(number(false)?, number(false)?, number(true)?))
        };
        text.split_whitespace().find_map(read).ok_or_else(|| {
            let shown: String = text.trim().chars().take(80).collect();
            ParseVersionError(shown.escape_debug().to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_are_parsed() {
        assert_eq!("1.18.33\n".parse(), Ok(Version::new(1, 18, 33)));
        assert_eq!("opencode v2.0.7".parse(), Ok(Version::new(2, 0, 7)));
        assert_eq!("1.19.0-beta.2".parse(), Ok(Version::new(1, 19, 0)));
        assert!(Version::new(1, 9, 0) < Version::new(1, 18, 0));
    }

    #[test]
    fn text_without_version_is_refused() {
        for text in ["", "opencode", "1.2", "v1.x.3", "usage: opencode"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
