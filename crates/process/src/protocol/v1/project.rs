//! The files with which a project configures opencode, and their powers.

use crate::project_power::ProjectPower;
use jsonc_parser::ParseOptions;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of a project's configuration.
const FOLDER: &str = ".opencode";
/// The settings files, in a project and in its [`FOLDER`].
const SETTINGS: [&str; 2] = ["opencode.json", "opencode.jsonc"];
/// The directories in [`FOLDER`] whose files are programs.
const PROGRAMS: [&str; 4] = ["plugin", "plugins", "tool", "tools"];
/// The directories in [`FOLDER`] whose files, at any depth, describe agents.
const AGENTS: [&str; 4] = ["agent", "agents", "mode", "modes"];
/// The depth to which files are searched.
const MAX_DEPTH: usize = 4;
/// The maximum number of directory entries that are examined: links can form a cycle.
const MAX_ENTRIES: usize = 1000;
/// The extensions of programs.
const PROGRAM_ENDINGS: [&str; 8] = ["js", "ts", "mjs", "mts", "cjs", "cts", "jsx", "tsx"];

/// The variable that makes opencode ignore all of these files.
pub(crate) const IGNORE: (&str, &str) = ("OPENCODE_DISABLE_PROJECT_CONFIG", "1");

/// Returns the settings files of a directory. They need not exist.
pub(crate) fn settings_files(directory: &Path) -> [PathBuf; 4] {
    let folder = directory.join(FOLDER);
    let [plain, commented] = SETTINGS;
    [directory.join(plain), directory.join(commented), folder.join(plain), folder.join(commented)]
}

/// Returns the files in a directory that can configure opencode, and whether the list is complete: at most
/// [`MAX_ENTRIES`] directory entries are examined. The files need not exist.
pub(crate) fn files(directory: &Path) -> (Vec<PathBuf>, bool) {
    let mut left = MAX_ENTRIES;
    let folder = directory.join(FOLDER);
    let mut files = settings_files(directory).to_vec();
    for (names, endings) in [(PROGRAMS, &PROGRAM_ENDINGS[..]), (AGENTS, &["md"])] {
        for name in names {
            add_below(&folder.join(name), endings, MAX_DEPTH, &mut left, &mut files);
        }
    }
    (files, left > 0)
}

/// Adds the files below a directory with one of these extensions, in the order of their paths.
fn add_below(directory: &Path, endings: &[&str], depth: usize, left: &mut usize, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(*left);
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    *left -= paths.len();
    paths.sort();
    for path in paths {
        if ends_in(&path, endings) {
            files.push(path);
        } else if depth > 0 && path.is_dir() {
            add_below(&path, endings, depth - 1, left, files);
        }
    }
}

fn ends_in(file: &Path, endings: &[&str]) -> bool {
    file.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending))
}

/// Returns the powers of one of the [`files`], given its text.
pub(crate) fn powers(file: &Path, text: &str) -> Vec<ProjectPower> {
    if ends_in(file, &["json", "jsonc"]) {
        return of_settings(text);
    }
    if ends_in(file, &["md"]) {
        return of_agent(text);
    }
    vec![ProjectPower::StartsPrograms]
}

fn of_settings(text: &str) -> Vec<ProjectPower> {
    let parsed = jsonc_parser::parse_to_serde_value::<Option<Value>>(text, &ParseOptions::default());
    let Ok(Some(Value::Object(settings))) = parsed else { return Vec::new() };
    let entries = |name: &str| settings.get(name).and_then(Value::as_object).into_iter().flat_map(Map::values);
    let starts = |name: &str| entries(name).any(|entry| entry.get("command").is_some());
    let has_plugins = settings.get("plugin").and_then(Value::as_array).is_some_and(|plugins| !plugins.is_empty());
    let agents_have =
        |name: &str| ["agent", "mode"].iter().any(|kind| entries(kind).any(|agent| agent.get(name).is_some()));
    let has = |names: &[&str]| names.iter().any(|name| settings.contains_key(*name));
    let powers = [
        (ProjectPower::StartsPrograms, has_plugins || ["mcp", "lsp", "formatter"].into_iter().any(starts)),
        (ProjectPower::ChoosesModel, has(&["model", "small_model", "provider"]) || agents_have("model")),
        (ProjectPower::ChangesPermissions, has(&["permission"]) || agents_have("permission") || agents_have("tools")),
    ];
    powers.into_iter().filter(|(_, has)| *has).map(|(power, _)| power).collect()
}

/// Parses the head of an agent's file, between lines of hyphens.
fn of_agent(text: &str) -> Vec<ProjectPower> {
    let Some(head) = text.strip_prefix("---") else { return Vec::new() };
    let head = head.split("\n---").next().unwrap_or_default();
    let sets = |names: &[&str]| {
        head.lines().any(|line| names.iter().any(|name| line.trim_start().starts_with(&format!("{name}:"))))
    };
    let powers = [
        (ProjectPower::ChoosesModel, sets(&["model"])),
        (ProjectPower::ChangesPermissions, sets(&["permission", "tools"])),
    ];
    powers.into_iter().filter(|(_, has)| *has).map(|(power, _)| power).collect()
}
