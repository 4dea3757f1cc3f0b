//! The files by which a project configures opencode, and what they can do.

use crate::project_config::{ProjectPower, files_in};
use jsonc_parser::ParseOptions;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The directory of a project's configuration.
const FOLDER: &str = ".opencode";
/// The files that hold settings, in a project and in its [`FOLDER`].
const SETTINGS: [&str; 2] = ["opencode.json", "opencode.jsonc"];
/// The directories in [`FOLDER`] whose files are programs.
const PROGRAMS: [&str; 4] = ["plugin", "plugins", "tool", "tools"];
/// The directories in [`FOLDER`] whose files, at any depth, describe agents.
const AGENTS: [&str; 4] = ["agent", "agents", "mode", "modes"];
/// How deep agents are looked for.
const MAX_DEPTH: usize = 4;

/// The variable that has opencode ignore all of them.
pub(crate) const IGNORE: (&str, &str) = ("OPENCODE_DISABLE_PROJECT_CONFIG", "1");

/// Returns the files in a directory that can configure opencode. They need not exist.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let folder = directory.join(FOLDER);
    let settings = [directory, &folder].into_iter().flat_map(|place| SETTINGS.map(|name| place.join(name)));
    let programs = PROGRAMS.iter().flat_map(|name| files_in(&folder.join(name)));
    let agents = AGENTS.iter().flat_map(|name| files_below(&folder.join(name), MAX_DEPTH));
    settings.chain(programs).chain(agents).collect()
}

fn files_below(directory: &Path, depth: usize) -> Vec<PathBuf> {
    let deeper = |path: PathBuf| match depth.checked_sub(1) {
        Some(depth) if path.is_dir() => files_below(&path, depth),
        _ => vec![path],
    };
    files_in(directory).into_iter().flat_map(deeper).collect()
}

/// Returns what one of the [`files`] can do, given its text.
pub(crate) fn powers(file: &Path, text: &str) -> Vec<ProjectPower> {
    let ends_in =
        |endings: &[&str]| file.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending));
    if ends_in(&["json", "jsonc"]) {
        return of_settings(text);
    }
    if ends_in(&["md"]) {
        return of_agent(text);
    }
    let is_program = ends_in(&["js", "ts", "mjs", "mts", "cjs", "cts", "jsx", "tsx"]);
    is_program.then_some(ProjectPower::StartsPrograms).into_iter().collect()
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

/// Reads the head of an agent's file, between lines of hyphens.
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
