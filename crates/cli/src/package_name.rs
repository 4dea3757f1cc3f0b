//! The exact name of an npm package.

use std::fmt;
use std::str::FromStr;

/// A package and its exact version, as `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackageName {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl PackageName {
    /// Returns the name of the directory that it is installed in.
    pub(crate) fn directory(&self) -> String {
        format!("{}@{}", self.name.trim_start_matches('@').replace('/', "+"), self.version)
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for PackageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // npm also takes paths, URLs, tags and ranges, whose content may change.
        let usage = || "write NAME@VERSION with an exact version, such as opencode-ai@1.18.33".to_owned();
        let (name, version) = text.rsplit_once('@').ok_or_else(usage)?;
        let part = |part: &str| {
            let first = part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
            first && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
        };
        let valid_name = match name.strip_prefix('@').map(|scoped| scoped.split_once('/')) {
            Some(Some((scope, name))) => part(scope) && part(name),
            Some(None) => false,
            None => part(name),
        };
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let valid_version = numbers.split('.').count() == 3
            && numbers.split('.').all(is_number)
            && version.chars().all(|c| c.is_ascii_alphanumeric() || "-.+".contains(c));
        if valid_name && valid_version {
            Ok(Self { name: name.to_owned(), version: version.to_owned() })
        } else {
            Err(usage())
        }
    }
}

/// Parses the integrity of a package.
pub(crate) fn valid_integrity(text: &str) -> Result<String, String> {
    let digest = text.strip_prefix("sha512-").unwrap_or_default();
    let valid = digest.len() == 88
        && digest.trim_end_matches('=').chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c));
    valid.then(|| text.to_owned()).ok_or_else(|| {
        "write it as sha512-BASE64, the form that `npm view NAME@VERSION dist.integrity` prints".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_needs_exact_version() {
        for valid in ["opencode-ai@1.18.33", "@opencode/cli@2.0.14", "a.b_c@2.0.14-next.1+build"] {
            assert_eq!(valid.parse::<PackageName>().unwrap().to_string(), valid);
        }
        let invalid = [
            "opencode-ai",
            "opencode-ai@latest",
            "opencode-ai@^1.0.0",
            "opencode-ai@1",
            "--registry=x@1.0.0",
            "../x@1.0.0",
            "@scope@1.0.0",
            "git+ssh://x@1.0.0",
            "A@1.0.0",
            "a b@1.0.0",
            "a@1.0.0 b",
            "@/x@1.0.0",
        ];
        for text in invalid {
            assert!(text.parse::<PackageName>().is_err(), "{text}");
        }
    }

    #[test]
    fn directory_of_package_is_one_name() {
        let name: PackageName = "@opencode/cli@2.0.14".parse().unwrap();
        assert_eq!(name.directory(), "opencode+cli@2.0.14");
    }

    #[test]
    fn integrity_needs_sha512() {
        let valid = format!("sha512-{}==", "A".repeat(86));
        assert_eq!(valid_integrity(&valid), Ok(valid.clone()));
        for text in ["", "sha512-", "sha1-AAAA", &valid[..50], "sha512-A A"] {
            assert!(valid_integrity(text).is_err(), "{text}");
        }
    }
}
