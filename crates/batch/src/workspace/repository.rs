//! The name of a repository in a task.

use super::WorkspaceError;
use crate::address::without_password;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A repository and a reference, as named by `repo` and `ref` of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositorySpec {
    pub(crate) name: String,
    pub(crate) reference: Option<String>,
}

impl RepositorySpec {
    /// Names a repository by its URL, its path, or as `owner/name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), reference: None }
    }

    /// Sets the commit, branch or tag; the default branch of the repository otherwise.
    #[must_use]
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Returns the address for git. A relative path is relative to `directory`.
    ///
    /// # Errors
    ///
    /// If the name is empty, is an option, or is `owner/name` without a base.
    pub(crate) fn address(&self, base: Option<&str>, directory: &Path) -> Result<String, WorkspaceError> {
        let name = self.name.as_str();
        let invalid = |problem| WorkspaceError::InvalidRepository { name: without_password(name), problem };
        if name.is_empty() {
            return Err(invalid("the name is empty"));
        }
        if name.starts_with('-') || name.chars().any(char::is_control) {
            return Err(invalid("it is not a URL, a path or owner/name"));
        }
        if is_url(name) {
            return Ok(name.to_owned());
        }
        let path = match name.strip_prefix("~/").zip(std::env::home_dir()) {
            Some((below, home)) => home.join(below),
            None => directory.join(name),
        };
        if is_owner_and_name(name) {
            if let Some(base) = base {
                return Ok(join_base(base, name, directory));
            }
            if !path.exists() {
                return Err(invalid("there is no such directory, and no base is given for owner/name"));
            }
        }
        if !path.exists() {
            return Err(invalid("there is no such directory"));
        }
        absolute(&path).ok_or_else(|| invalid("the path is not valid UTF-8"))
    }
}

fn absolute(path: &Path) -> Option<String> {
    let path: PathBuf = path.canonicalize().or_else(|_| std::path::absolute(path)).ok()?;
    path.into_os_string().into_string().ok()
}

fn join_base(base: &str, name: &str, directory: &Path) -> String {
    if is_url(base) {
        let separator = if base.ends_with(['/', ':']) { "" } else { "/" };
        return format!("{base}{separator}{name}");
    }
    let joined = directory.join(base).join(name);
    absolute(&joined).unwrap_or_else(|| joined.display().to_string())
}

/// Returns whether git reads a name as an address on a host, such as `https://host/x` or `user@host:x`.
fn is_url(name: &str) -> bool {
    name.contains("://") || name.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
}

fn is_owner_and_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let is_part = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && !part.starts_with(['.', '~']));
    is_part(parts.next()) && is_part(parts.next()) && parts.next().is_none()
}

/// Returns the name of a mirror: readable, and different for each address.
pub(crate) fn mirror_name(address: &str) -> String {
    let last = address.trim_end_matches(['/', '\\']).rsplit(['/', ':', '\\']).next().unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last);
    format!("{}-{}", slug(last, 40), &hash(address)[..16])
}

/// Returns the hash of a text in hexadecimal.
pub(crate) fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Returns bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Returns a text as a part of a file name, of at most `length` bytes.
pub(crate) fn slug(text: &str, length: usize) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let plain = text.chars().map(|c| if is_plain(c) { c } else { '-' }).take(length).collect::<String>();
    let plain = plain.trim_start_matches(['-', '.']);
    if plain.is_empty() { "task".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str, base: Option<&str>, directory: &Path) -> Result<String, String> {
        RepositorySpec::new(name).address(base, directory).map_err(|error| error.to_string())
    }

    #[test]
    fn repository_is_url_path_or_owner() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("own/er")).unwrap();
        let local = root.join("own/er").to_str().unwrap().to_owned();
        let base = Some("https://host/group/");
        assert_eq!(address("https://host/x.git", base, &root).unwrap(), "https://host/x.git");
        assert_eq!(address("git@host:a/b", base, &root).unwrap(), "git@host:a/b");
        assert_eq!(address("own/er", base, &root).unwrap(), "https://host/group/own/er");
        assert_eq!(address("own/er", Some("git@host:"), &root).unwrap(), "git@host:own/er");
        assert_eq!(address("own/er", None, &root).unwrap(), local);
        assert_eq!(address("own/er", Some("."), &root).unwrap(), local);
        assert_eq!(address("./own/er", base, &root).unwrap(), local);
        assert_eq!(address(&local, base, &root).unwrap(), local);
        assert!(address("a/b", None, &root).unwrap_err().contains("no base"));
        for name in ["", "--upload-pack=x", "nothing", "a\nb"] {
            assert!(address(name, base, &root).is_err(), "{name:?}");
        }
    }

    #[test]
    fn mirror_name_is_readable_and_unique() {
        let one = mirror_name("https://host/a/project.git");
        assert!(one.starts_with("project-") && one != mirror_name("https://host/b/project.git"), "{one}");
        assert_eq!(slug("../x y\0", 4), "x");
        assert_eq!(slug("...", 9), "task");
    }
}
