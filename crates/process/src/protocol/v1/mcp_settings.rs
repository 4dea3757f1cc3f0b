//! The MCP servers in the configuration files of opencode.

use super::project;
use jsonc_parser::ParseOptions;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The variables that hold the path of a configuration file, and a configuration.
const FILE_VARIABLE: &str = "OPENCODE_CONFIG";
const TEXT_VARIABLE: &str = "OPENCODE_CONFIG_CONTENT";
/// The configuration files in the user's configuration directory.
const USER_FILES: [&str; 3] = ["config.json", "opencode.json", "opencode.jsonc"];

/// An MCP server that opencode starts or connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpServer {
    /// Its name.
    pub name: String,
    /// The file or the variable that defines it.
    pub place: String,
    /// The program that it is started with; `None` for a server that is reached by its address.
    pub program: Option<String>,
}

/// Returns the enabled MCP servers of a directory, by name.
///
/// Reads the files of the user and of the project, and the variables. Unreadable files are skipped.
#[must_use]
pub fn mcp_servers(
    config_home: &Path,
    directory: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<McpServer> {
    let of_user = USER_FILES.map(|name| config_home.join("opencode").join(name));
    let of_variable = variable(FILE_VARIABLE).map(PathBuf::from);
    let mut above: Vec<_> = directory.ancestors().collect();
    let root = above.iter().position(|place| place.join(".git").exists());
    above.truncate(root.map_or(1, |root| root + 1));
    let of_project = above.iter().rev().flat_map(|place| project::settings_files(place));
    let files: Vec<_> = of_user.into_iter().chain(of_variable).chain(of_project).collect();
    let texts = files.iter().filter_map(|file| Some((file.display().to_string(), read(file)?)));
    let of_text = variable(TEXT_VARIABLE).map(|text| (TEXT_VARIABLE.to_owned(), text.to_string_lossy().into_owned()));
    let mut merged: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for (place, text) in texts.chain(of_text) {
        let parsed = jsonc_parser::parse_to_serde_value::<Option<Value>>(&text, &ParseOptions::default());
        let Ok(Some(Value::Object(mut settings))) = parsed else { continue };
        let Some(Value::Object(servers)) = settings.remove("mcp") else { continue };
        for (name, settings) in servers {
            let (known_in, known) = merged.entry(name).or_insert_with(|| (place.clone(), Value::Null));
            match (known, settings) {
                // A later file may only disable a server.
                (Value::Object(known), Value::Object(settings)) => known.extend(settings),
                (known, settings) => (*known_in, *known) = (place.clone(), settings),
            }
        }
    }
    let enabled = merged.into_iter().filter(|(_, (_, settings))| {
        settings["enabled"] != Value::Bool(false) && (settings["command"].is_array() || settings["url"].is_string())
    });
    enabled
        .map(|(name, (place, settings))| {
            let program = settings["command"][0].as_str().map(str::to_owned);
            McpServer { name, place, program }
        })
        .collect()
}

fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    // A pipe would block.
    let is_read = file.is_file()
        && File::open(file).is_ok_and(|open| open.take(MAX_FILE_BYTES).read_to_string(&mut text).is_ok());
    is_read.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn enabled_servers_of_all_places_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let local =
            |name: &str| format!("{{\"mcp\": {{\"{name}\": {{\"type\": \"local\", \"command\": [\"{name}\"]}}}}, }}");
        write("home/opencode/opencode.json", &local("user"));
        write("home/opencode/opencode.jsonc", &local("off"));
        write(
            "repo/opencode.json",
            r#"{"mcp": {"off": {"enabled": false}, "far": {"type": "remote", "url": "https://x"}}}"#,
        );
        write("repo/sub/.opencode/opencode.jsonc", &local("project"));
        write("opencode.json", &local("above"));
        fs::create_dir(folder.path().join("repo/.git")).unwrap();
        let variable = |name: &str| (name == TEXT_VARIABLE).then(|| local("variable").into());
        let servers = mcp_servers(&folder.path().join("home"), &folder.path().join("repo/sub"), variable);
        let found: Vec<_> = servers.iter().map(|server| (server.name.as_str(), server.program.as_deref())).collect();
        let programs = [("project", Some("project")), ("user", Some("user")), ("variable", Some("variable"))];
        assert_eq!(found, [&[("far", None)][..], &programs].concat());
        assert_eq!(servers[3].place, TEXT_VARIABLE);
    }
}
