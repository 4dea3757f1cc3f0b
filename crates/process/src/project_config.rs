//! Checks opencode's configuration in a directory, such as a cloned repository.

use crate::project_power::ProjectPower;
use crate::protocol::Generation;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The maximum size of a file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

const ALL_POWERS: [ProjectPower; 3] =
    [ProjectPower::StartsPrograms, ProjectPower::ChoosesModel, ProjectPower::ChangesPermissions];

/// Configuration of opencode in a directory, or above it up to the root of its repository, that does more than advise
/// the model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectConfig {
    /// The first file or directory that has a power.
    pub place: PathBuf,
    /// The distinct powers of the configuration. Never empty.
    pub powers: Vec<ProjectPower>,
    /// A hash of all of its files, in hexadecimal. It changes when one of them does.
    pub sha256: String,
}

impl ProjectConfig {
    /// Reads the configuration that opencode would read for this directory, without the user's own. Returns `None` if
    /// it only advises the model, or is absent. An unreadable file is skipped: opencode reports it.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
        let mut found = Found::default();
        for place in directory.ancestors() {
            // This is the user's own configuration.
            if home.as_deref() == Some(place) {
                break;
            }
            let (files, are_all) = Generation::project_files(place);
            // More files than were examined may have any power.
            if !are_all {
                found.place.get_or_insert_with(|| place.to_owned());
                found.powers.extend(ALL_POWERS);
            }
            for file in files {
                found.file(&file);
            }
            if place.join(".git").exists() {
                break;
            }
        }
        found.powers.sort_unstable();
        found.powers.dedup();
        let sha256 = found.hash.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").ok();
            text
        });
        Some(Self { place: found.place?, powers: found.powers, sha256 })
    }
}

/// The findings so far.
#[derive(Default)]
struct Found {
    place: Option<PathBuf>,
    powers: Vec<ProjectPower>,
    hash: Sha256,
}

impl Found {
    fn file(&mut self, file: &Path) {
        let mut text = Vec::new();
        // A pipe would block.
        let is_read = file.is_file()
            && File::open(file).is_ok_and(|open| open.take(MAX_FILE_BYTES).read_to_end(&mut text).is_ok());
        if !is_read {
            return;
        }
        let powers = Generation::powers_of(file, &String::from_utf8_lossy(&text));
        if powers.is_empty() {
            return;
        }
        self.place.get_or_insert_with(|| file.to_owned());
        self.powers.extend(powers);
        for part in [file.as_os_str().as_encoded_bytes(), b"\0", &text, b"\0"] {
            self.hash.update(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".git")).unwrap();
        fs::create_dir_all(folder.path().join("sub")).unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    fn powers(name: &str, text: &str) -> Vec<ProjectPower> {
        let project = project(&[(name, text)]);
        let found = ProjectConfig::of(&project.path().join("sub"));
        found.map(|found| found.powers).unwrap_or_default()
    }

    #[test]
    fn effect_of_each_setting_is_recognized() {
        use ProjectPower::{ChangesPermissions, ChoosesModel, StartsPrograms};
        for (name, text, expected) in [
            ("opencode.json", r#"{"plugin": ["file:///x.js"]}"#, StartsPrograms),
            (
                "opencode.jsonc",
                "{ // x\n \"mcp\": {\"m\": {\"type\": \"local\", \"command\": [\"x\"]}},}",
                StartsPrograms,
            ),
            (".opencode/opencode.json", r#"{"lsp": {"x": {"command": ["x"]}}}"#, StartsPrograms),
            ("opencode.json", r#"{"formatter": {"x": {"command": ["x"]}}}"#, StartsPrograms),
            (".opencode/plugin/x.ts", "", StartsPrograms),
            (".opencode/plugins/x.js", "", StartsPrograms),
            (".opencode/tool/x.ts", "", StartsPrograms),
            (".opencode/tools/x.js", "", StartsPrograms),
            ("opencode.json", r#"{"provider": {"anthropic": {"options": {"baseURL": "http://x"}}}}"#, ChoosesModel),
            ("opencode.json", r#"{"model": "a/b"}"#, ChoosesModel),
            ("opencode.json", r#"{"agent": {"build": {"model": "a/b"}}}"#, ChoosesModel),
            (".opencode/agent/build.md", "---\nmodel: a/b\n---\nx", ChoosesModel),
            (".opencode/agents/x/build.md", "---\nmodel: a/b\n---\nx", ChoosesModel),
            ("opencode.json", r#"{"permission": {"bash": "allow"}}"#, ChangesPermissions),
            ("opencode.json", r#"{"agent": {"build": {"permission": {"edit": "allow"}}}}"#, ChangesPermissions),
            (".opencode/mode/build.md", "---\npermission:\n  bash: allow\n---\n", ChangesPermissions),
        ] {
            assert_eq!(powers(name, text), [expected], "{name}: {text}");
        }
    }

    #[test]
    fn advisory_settings_have_no_effect() {
        for (name, text) in [
            (
                "opencode.json",
                r#"{"$schema": "x", "theme": "dark", "instructions": ["x.md"], "plugin": [], "mcp": {}}"#,
            ),
            ("opencode.json", r#"{"mcp": {"m": {"type": "remote", "url": "https://x"}}, "lsp": false}"#),
            ("opencode.json", "not JSON"),
            (".opencode/command/x.md", "---\ndescription: x\n---\nmodel: x"),
            (".opencode/agent/x.md", "---\ndescription: x\n---\nmodel: x"),
            ("AGENTS.md", "x"),
        ] {
            assert_eq!(powers(name, text), [], "{name}: {text}");
        }
    }

    #[test]
    fn hash_depends_only_on_the_content() {
        let project = project(&[(".opencode/plugin/x.js", "a"), ("opencode.json", r#"{"theme": "x"}"#)]);
        let of = || ProjectConfig::of(project.path()).unwrap();
        let first = of();
        assert!(first.place.ends_with(".opencode/plugin/x.js"));
        fs::write(project.path().join("opencode.json"), r#"{"theme": "y"}"#).unwrap();
        assert_eq!(of(), first);
        fs::write(project.path().join(".opencode/plugin/x.js"), "b").unwrap();
        assert_ne!(of().sha256, first.sha256);
    }

    #[test]
    fn configuration_above_repository_is_ignored() {
        let outer = project(&[("opencode.json", r#"{"model": "a/b"}"#)]);
        let inner = outer.path().join("sub");
        assert!(ProjectConfig::of(&inner).is_some());
        fs::create_dir(inner.join(".git")).unwrap();
        assert_eq!(ProjectConfig::of(&inner), None);
    }

    #[cfg(unix)]
    #[test]
    fn cyclic_links_and_many_files_terminate() {
        let project = project(&[(".opencode/agent/x.txt", "x")]);
        for name in 0..30 {
            let link = project.path().join(format!(".opencode/agent/{name}"));
            std::os::unix::fs::symlink(".", link).unwrap();
        }
        assert_eq!(ProjectConfig::of(project.path()).unwrap().powers, ALL_POWERS);
    }
}
