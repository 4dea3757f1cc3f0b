//! Source rules for all crates that neither the compiler nor a lint checks.

#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

#[path = "source_rules/circles.rs"]
mod circles;

use circles::Modules;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the path and the text of every Rust file of the published crates.
fn sources() -> Vec<(String, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut files = Vec::new();
    rust_files(&crates, &mut files);
    assert!(files.len() > 200, "only {} files", files.len());
    let read = |path: PathBuf| (path.strip_prefix(&crates).unwrap().display().to_string(), path);
    files.into_iter().map(read).map(|(name, path)| (name, std::fs::read_to_string(path).unwrap())).collect()
}

/// Returns the format string of an `error` attribute with its arguments, and the item after it.
fn error_attributes(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("#[error(").skip(1).map(|rest| {
        let (attribute, item) = rest.split_once(")]\n").unwrap_or((rest, ""));
        // The next variant is not part of this one, nor is what follows the type.
        let end = ["\n    },", "\n}", "),\n"].iter().filter_map(|end| item.find(end).map(|at| at + end.len())).min();
        (attribute, &item[..end.unwrap_or(item.len())])
    })
}

/// Returns whether the text of an error contains the text of its source, which an error chain then prints twice.
fn repeats_its_source(attribute: &str, item: &str) -> bool {
    let has_source = item.contains(" source: ") || item.contains("#[source]") || item.contains("#[from]");
    let is_transparent = attribute == "transparent";
    let names_source = ["{source}", "{0}", ", source", ", .0"].iter().any(|word| attribute.contains(word));
    has_source && !is_transparent && names_source
}

#[test]
fn error_text_does_not_repeat_its_source() {
    for repeating in [
        "#[error(\"cannot read: {source}\")]\npub struct E {\n    source: io::Error,\n}",
        "enum E {\n    #[error(\"cannot read: {0}\")]\n    Read(#[from] io::Error),\n}",
        "enum E {\n    #[error(\"cannot read {}: {}\", path.display(), source)]\n    Read {\n        path: PathBuf,\n        source: io::Error,\n    },\n}",
    ] {
        assert!(
            error_attributes(repeating).any(|(attribute, item)| repeats_its_source(attribute, item)),
            "{repeating}"
        );
    }
    let mut attributes = 0;
    for (name, text) in sources() {
        for (attribute, item) in error_attributes(&text) {
            attributes += 1;
            assert!(!repeats_its_source(attribute, item), "{name}: {attribute}");
        }
    }
    assert!(attributes > 80, "only {attributes} attributes");
}

/// Returns the statement that ends with this call, up to the call.
fn statement(text: &str) -> &str {
    let starts = ["|error", "|mut error", "=> "];
    starts.iter().filter_map(|start| text.rfind(start)).max().map_or(text, |start| &text[start..])
}

#[test]
fn start_error_does_not_repeat_its_cause() {
    let mut calls = 0;
    for (name, text) in sources() {
        for (at, _) in text.match_indices(".caused_by(error)") {
            calls += 1;
            let statement = statement(&text[..at]);
            let repeats = statement.contains("{error}") || statement.contains("error.to_string()");
            assert!(!repeats, "{name}: {statement}");
        }
    }
    assert!(calls > 5, "only {calls} calls");
}

#[test]
fn package_tests_need_only_files_of_their_package() {
    for (name, text) in sources() {
        let outside =
            text.split("env!(\"CARGO_MANIFEST_DIR\")").skip(1).any(|rest| rest[..rest.len().min(80)].contains("../"));
        assert!(!outside, "{name} needs a file outside its package");
        let depth = name.matches('/').count().saturating_sub(1);
        for path in text.split("include_").skip(1).filter_map(|rest| rest.split('"').nth(1)) {
            assert!(path.matches("../").count() < depth, "{name} includes {path}");
        }
    }
}

/// Returns the code of a file without its unit tests and comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let starts = ["#[cfg(test)]\nmod", "#[cfg(all(test"].iter().flat_map(|start| text.match_indices(start));
    let is_inside =
        |at: &usize| text[*at..].lines().find(|line| line.starts_with("mod ")).is_some_and(|line| line.ends_with('{'));
    let end = starts.map(|(at, _)| at).filter(is_inside).min();
    text[..end.unwrap_or(text.len())].lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Returns whether a line contains a sentence that names an option or a subcommand of the command.
fn names_the_command(line: &str) -> bool {
    // opencode and git have these options of their own.
    let is_option = |rest: &str| {
        rest.starts_with(|next: char| next.is_ascii_lowercase())
            && !["version", "format", "git "].iter().any(|own| rest.starts_with(own))
    };
    let option = [" --", "`--", "(--"].iter().any(|before| line.split(before).skip(1).any(is_option));
    let subcommand = ["setup", "doctor", "models", "resume", "chat", "demo", "allow"]
        .iter()
        .any(|name| line.contains(&format!("opencode-run {name}")));
    option || subcommand
}

/// A library states a remedy, and the command turns it into a sentence with options.
#[test]
fn library_messages_name_no_command_options() {
    assert!(names_the_command("    \"remove --no-gateway\"") && names_the_command("`opencode-run setup`"));
    assert!(!names_the_command("git.args([\"init\", \"--quiet\"])"));
    let mut files = 0;
    let mut naming = Vec::new();
    for (name, text) in sources() {
        let is_test = name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/examples/");
        let is_command = name.starts_with("cli/") || name.starts_with("scripted-model/");
        if is_test || is_command {
            continue;
        }
        files += 1;
        naming.extend(code(&text).filter(|line| names_the_command(line)).map(|line| format!("{name}: {line}")));
    }
    assert!(naming.is_empty(), "{}", naming.join("\n"));
    assert!(files > 150, "only {files} files");
}

/// The crates of this project that each crate may import. Imports point one way.
const LAYERS: [(&str, &[&str]); 11] = [
    ("containment", &[]),
    ("core", &[]),
    ("scripted-model", &[]),
    ("config", &["core"]),
    ("gateway", &["core"]),
    ("journal", &["core"]),
    ("markdown", &["core"]),
    ("process", &["containment", "core", "gateway"]),
    ("runner", &["config", "core", "journal", "markdown", "process"]),
    ("batch", &["process", "runner"]),
    ("cli", &["batch", "config", "core", "journal", "markdown", "process", "runner", "scripted-model"]),
];

/// Returns the crates of this project that a manifest names as dependencies, outside of tests.
fn imported_crates(manifest: &str) -> Vec<&str> {
    let used =
        manifest.split("\n[").filter(|section| !section.starts_with("dev-") && section.contains("dependencies]"));
    let names = used.flat_map(str::lines).filter_map(|line| Some(line.split_once(['.', ' '])?.0));
    let own = names.filter(|name| name.starts_with("opencode-run"));
    own.map(|name| name.trim_start_matches("opencode-run-").trim_start_matches("opencode-")).collect()
}

#[test]
fn crates_import_only_lower_layers() {
    assert_eq!(imported_crates("\n[dependencies]\nopencode-runner.workspace = true\nurl = \"1\""), ["runner"]);
    assert!(imported_crates("\n[dev-dependencies]\nopencode-run-core.workspace = true").is_empty());
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    assert_eq!(std::fs::read_dir(&crates).unwrap().count(), LAYERS.len());
    for (name, allowed) in LAYERS {
        let manifest = std::fs::read_to_string(crates.join(name).join("Cargo.toml")).unwrap();
        let imported = imported_crates(&manifest);
        assert!(imported.iter().all(|import| allowed.contains(import)), "{name} imports {imported:?}");
    }
}

/// Modules that import each other can only be understood together, even if the import is a re-export.
#[test]
fn modules_of_a_crate_form_no_circle() {
    let mut crates: BTreeMap<String, Modules> = BTreeMap::new();
    for (name, text) in sources() {
        if let Some((of, file)) = name.split_once("/src/") {
            crates.entry(of.to_owned()).or_default().add(file, &code(&text).collect::<Vec<_>>().join("\n"));
        }
    }
    assert_eq!(crates.len(), LAYERS.len());
    let circles = crates
        .iter()
        .flat_map(|(of, modules)| modules.circles().into_iter().map(move |circle| format!("{of}: {circle}")));
    let circles: Vec<_> = circles.collect();
    assert!(circles.is_empty(), "{} circles\n{}", circles.len(), circles.join("\n"));
}

/// The crate that ends processes is of use for any program.
#[test]
fn containment_knows_nothing_of_opencode() {
    let knows = |line: &str| {
        let rest = line.replace("opencode_run_containment", "").replace("opencode-run", "");
        // The names of its processes and threads, which users know.
        let rest = ["opencode-watch", "opencode-job"].iter().fold(rest, |rest, own| rest.replace(own, ""));
        rest.contains("opencode") || rest.split("OPENCODE").skip(1).any(|name| !name.starts_with("_RUN_"))
    };
    assert!(knows("set(\"OPENCODE_DB\")") && knows("\"opencode serve\"") && !knows("OPENCODE_RUN_MARKER"));
    let of_containment = |name: &str| name.starts_with("containment/src/") && !name.ends_with("/tests.rs");
    let files: Vec<_> = sources().into_iter().filter(|(name, _)| of_containment(name)).collect();
    assert!(files.len() > 15, "only {} files", files.len());
    for (name, text) in files {
        let line = code(&text).find(|line| knows(line));
        assert!(line.is_none(), "{name}: {}", line.unwrap_or_default());
    }
}

/// opencode's names of errors.
const ERROR_NAMES: [&str; 8] = [
    "\"APIError\"",
    "\"ContentFilterError\"",
    "\"ContextOverflowError\"",
    "\"MessageAbortedError\"",
    "\"MessageOutputLengthError\"",
    "\"ProviderAuthError\"",
    "\"StructuredOutputError\"",
    "\"UnknownError\"",
];

/// Counts the names of opencode's variables and errors, and its routes, in a line.
fn names_of_opencode(line: &str) -> usize {
    let variables = line.split("OPENCODE_").skip(1).filter(|rest| !rest.starts_with("RUN"));
    let routes = ["\"/session", "\"/global/", "\"/permission", "\"/question", "\"/instance", "\"/api/", "/api/session"];
    variables.count() + routes.iter().chain(&ERROR_NAMES).filter(|name| line.contains(**name)).count()
}

/// Everything that depends on the generation of opencode is in one module.
#[test]
fn names_of_opencode_stay_in_the_protocol() {
    assert_eq!(names_of_opencode("set(\"OPENCODE_DB\", \"OPENCODE_RUN_X\"); get(\"/api/info\")"), 2);
    let mut files = 0;
    let mut naming = Vec::new();
    for (name, text) in sources() {
        let is_test = name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/examples/");
        if is_test || name.starts_with("process/src/protocol") || name.starts_with("scripted-model/") {
            continue;
        }
        files += 1;
        naming.extend(code(&text).filter(|line| names_of_opencode(line) > 0).map(|line| format!("{name}: {line}")));
    }
    assert!(naming.is_empty(), "move these names into the protocol:\n{}", naming.join("\n"));
    assert!(files > 150, "only {files} files");
}

/// Returns whether a line distinguishes the generations of opencode.
fn names_a_generation(line: &str) -> bool {
    ["v1::", "v2::", "::V1", "::V2", "::{v1", "::{v2"].iter().any(|name| line.contains(name))
}

/// A decision that depends on the generation is one of the protocol's.
#[test]
fn only_the_protocol_distinguishes_generations() {
    assert!(names_a_generation("use crate::protocol::v2::turn::Turn;") && names_a_generation("Client::V1(client) =>"));
    let mut files = 0;
    for (name, text) in sources() {
        let is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
        if is_test || !name.starts_with("process/src/") || name.starts_with("process/src/protocol") {
            continue;
        }
        files += 1;
        let naming = code(&text).find(|line| names_a_generation(line));
        assert!(naming.is_none(), "{name}: {}", naming.unwrap_or_default());
    }
    assert!(files > 40, "only {files} files");
}

/// Returns the names that a `lib.rs` re-exports from the modules or crates that are wanted.
fn reexported(library: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let statements = library.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let of_wanted = statements.filter(|statement| wanted(statement));
    let names = of_wanted.flat_map(|statement| {
        let (_, names) = statement.split_once("::").unwrap_or_default();
        names.trim_matches(|c| matches!(c, '{' | '}')).split(',').map(str::trim).filter(|name| !name.is_empty())
    });
    names.map(|name| name.rsplit("::").next().unwrap_or(name).replace('{', "")).collect()
}

/// Functions that an embedder does not need. Nor does it need the bounds, which are constants.
const NOT_OF_THE_LIBRARY: [&str; 6] =
    ["with_key", "read", "visible", "is_unsafe_on_terminal", "Redactor", "RedactorStream"];

/// Everything that the interface of the library names can be named through it alone.
#[test]
fn library_reexports_what_it_names() {
    let sources = sources();
    let library = |name: &str| &sources.iter().find(|(file, _)| file == name).unwrap().1;
    let own = reexported(library("runner/src/lib.rs"), |_| true);
    let mut names = Vec::new();
    for part in ["core/src/lib.rs", "config/src/lib.rs", "markdown/src/lib.rs"] {
        names.extend(reexported(library(part), |statement| !statement.starts_with("fuzzing")));
    }
    assert!(names.len() > 90, "only {} names", names.len());
    let is_bound = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    names.retain(|name| !own.contains(name) && !is_bound(name) && !NOT_OF_THE_LIBRARY.contains(&name.as_str()));
    assert!(names.is_empty(), "`opencode_runner` does not re-export {names:?}");
}

/// Returns whether a line packs values into a tuple that it unpacks.
fn packs_values(line: &str) -> bool {
    let names = line.trim_start().trim_start_matches("/// ").strip_prefix("let (");
    let names = names.and_then(|rest| rest.split_once(") = (")).map(|(names, _)| names);
    names.is_some_and(|names| names.chars().all(|c| c.is_alphanumeric() || "_ ,".contains(c)))
}

/// Every type in a signature of the library can be named through it alone.
#[test]
fn library_signatures_use_reexported_types() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let read = |path: &str| std::fs::read_to_string(crates.join(path)).unwrap();
    let own = reexported(&read("runner/src/lib.rs"), |_| true);
    // The interface of the feature `mock` is a module of its own.
    let mock = reexported(&read("runner/src/mock.rs"), |_| true);
    let interface = read("runner/public-api.txt");
    let paths = interface.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    let foreign = paths.filter(|path| path.starts_with("opencode_run_"));
    let mut names: Vec<&str> =
        foreign.filter_map(|path| Some(path.trim_end_matches(':').rsplit_once("::")?.1)).collect();
    assert!(names.len() > 60, "only {} names", names.len());
    names.retain(|name| name.starts_with(char::is_uppercase));
    names.retain(|name| !own.iter().chain(&mock).any(|exported| exported == name));
    assert!(names.is_empty(), "`opencode_runner` does not re-export {names:?}");
}

/// Values that are packed into a tuple only to be unpacked are harder to read than one `let` each.
#[test]
fn values_are_not_packed_into_tuples() {
    let packed = ["    let (a, mut b) =", "(1, 2);"].join(" ");
    assert!(packs_values(&packed) && !packs_values("let (a, b) = both();"));
    let mut packing = Vec::new();
    for folder in ["crates", "tests", "bench"] {
        let mut files = Vec::new();
        rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let lines = text.lines().enumerate().filter(|(_, line)| packs_values(line));
            packing.extend(lines.map(|(number, line)| format!("{}:{}: {line}", file.display(), number + 1)));
        }
    }
    assert!(packing.is_empty(), "{}", packing.join("\n"));
}

/// Type names that several modules define on purpose, with the reason.
const SHARED_TYPE_NAMES: [(&str, &str); 8] = [
    ("Host", "the blocking interface repeats the names of the async one"),
    ("Input", "an input of a state machine: of a turn's record, and of a generation's protocol"),
    ("Protocol", "the wire format of a provider, in two crates that know nothing of each other"),
    ("Report", "the command's alias of the library's report"),
    ("Runner", "the blocking interface repeats the names of the async one"),
    ("ToolCall", "a call as opencode reports it, and as a scripted answer makes it"),
    ("Turn", "the blocking interface repeats the names of the async one"),
    ("Usage", "tokens as opencode reports them, and as a scripted answer reports them"),
];

/// Returns the names of the types that code defines for other modules.
fn defined_types(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let item = line.strip_prefix("pub")?;
        let item = item.strip_prefix('(').map_or(item, |rest| rest.split_once(')').map_or("", |(_, item)| item));
        let (kind, rest) = item.trim_start().split_once(' ')?;
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        ["struct", "enum", "trait", "type"].contains(&kind).then_some(&rest[..end])
    })
}

/// A type name that a reader meets in two modules has one meaning.
#[test]
fn type_names_have_one_meaning() {
    let example = "pub(crate) struct A<T>(T);\npub enum B {}\nstruct C;\npub type D = A;\npub fn e() {}";
    assert_eq!(defined_types(example).collect::<Vec<_>>(), ["A", "B", "D"]);
    let mut definitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in sources() {
        // The shapes of a generation bear opencode's names and stay in their module; a system has a variant of its own, and so has
        // a build without a feature.
        let is_variant =
            ["protocol/v1", "protocol/v2", "without_proc.rs", "_absent.rs"].iter().any(|part| name.contains(part));
        let is_test = name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/examples/");
        if !is_variant && !is_test {
            for defined in defined_types(&code(&text).collect::<Vec<_>>().join("\n")) {
                definitions.entry(defined.to_owned()).or_default().push(name.clone());
            }
        }
    }
    assert!(definitions.len() > 400, "only {} types", definitions.len());
    let is_shared = |name: &str| SHARED_TYPE_NAMES.iter().any(|(shared, _)| *shared == name);
    definitions.retain(|name, places| places.len() > 1 && !is_shared(name));
    assert!(definitions.is_empty(), "{definitions:#?}");
}
