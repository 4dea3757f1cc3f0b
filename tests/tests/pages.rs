//! README.md and the pages of `docs` agree with the command, the `.env` file and the library.

#![expect(clippy::unwrap_used, reason = "test helpers panic on failure")]

use opencode_runner::{FailureKind, ModelParameter, ModelSourceType, TESTED_OPENCODE};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The options of cargo's commands that the pages name.
const CARGOS_OPTIONS: [&str; 6] = ["--release", "--locked", "--path", "--example", "--bin", "--port"];

const SUBCOMMANDS: [&str; 12] =
    ["allow", "chat", "clean", "resume", "demo", "setup", "doctor", "models", "report", "completions", "man", "batch"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages for users.
const PAGES: [&str; 11] = [
    "README.md",
    "docs/batch.md",
    "docs/command.md",
    "docs/from-pyrunner.md",
    "docs/isolation.md",
    "docs/json.md",
    "docs/library.md",
    "docs/model-sources.md",
    "docs/outcomes.md",
    "docs/report.md",
    "docs/versions.md",
];

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// Returns the text below a heading, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, text) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    text.split("\n## ").next().unwrap()
}

/// Returns the rows of the tables in a text, without their headings.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let is_rule = |line: &str| line.starts_with("| ---");
    let is_head = |number: usize| lines.get(number + 1).is_some_and(|next| is_rule(next));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows = lines.iter().enumerate().filter(|(number, line)| !is_rule(line) && !is_head(*number));
    rows.map(|(_, line)| cells(line)).collect()
}

/// Returns the first code block of a language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, block) = text.split_once(&format!("```{language}\n")).unwrap();
    block.split("```").next().unwrap()
}

/// Returns the texts in backquotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn stdout(arguments: &[&str]) -> String {
    let output = Command::new(opencode_run_tests::opencode_run_bin!())
        .args(arguments)
        .stdin(Stdio::null())
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn exit_codes_match_the_help() {
    let help = stdout(&["--help"]);
    let listed: Vec<&str> = help.split_once("Exit codes:\n").unwrap().1.lines().collect();
    let page = page("docs/json.md");
    let rows = rows(section(&page, "Exit codes"));
    assert_eq!(rows.len(), listed.len());
    for (row, line) in rows.iter().zip(listed) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert_eq!(*row, [code, meaning.trim()]);
    }
}

#[test]
fn env_file_keys_are_complete() {
    let section = page("docs/model-sources.md");
    let keys: Vec<String> = rows(&section).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(keys, ModelParameter::ALL.map(|parameter| format!("`MODEL_<TYPE>_{}`", parameter.suffix())));
    let [others @ .., last] = &ModelSourceType::ALL.map(|kind| format!("`{}`", kind.as_str().to_uppercase()));
    let sentence = format!("`<TYPE>` is {} or {last}:", others.join(", "));
    assert!(section.contains(&sentence), "{sentence}");
}

#[test]
fn env_file_example_is_valid() {
    let page = page("docs/model-sources.md");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.env");
    std::fs::write(&file, block(&page, "sh")).unwrap();
    let source = opencode_runner::ModelSource::from_env_file(&file).unwrap();
    assert_eq!(source.configured(), [ModelSourceType::Code, ModelSourceType::Default]);
}

/// Returns a line of `.env.example` without the sign that comments it out, if it sets a key.
fn setting(line: &str) -> Option<(&str, &str)> {
    line.trim_start_matches("# ").split_once('=').filter(|(key, _)| key.starts_with("MODEL_") && !key.contains(' '))
}

/// Returns the problem of a file of model sources, if it has one.
fn env_file_problem(text: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.env");
    std::fs::write(&file, text).unwrap();
    opencode_runner::ModelSource::from_env_file(&file).err().map(|error| error.to_string())
}

#[test]
fn env_example_explains_every_key() {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut keys = BTreeSet::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((key, value)) = setting(line) else { continue };
        assert!(keys.insert(key.to_owned()), "{key} occurs twice");
        let is_explained = value.contains(" # ")
            || (number > 0 && lines[number - 1].starts_with("# ") && setting(lines[number - 1]).is_none());
        assert!(is_explained, "{key} has no comment");
    }
    assert_eq!(keys, opencode_run_config::EnvKey::all().map(|key| key.to_string()).collect());
}

#[test]
fn env_example_is_valid_with_any_key_uncommented() {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    assert_eq!(env_file_problem(&text), None);
    let keys: Vec<&str> = text.lines().filter_map(setting).map(|(key, _)| key).collect();
    for key in keys {
        let (source, parameter) = key.trim_start_matches("MODEL_").split_once('_').unwrap();
        let is_other_key = ["APIKEY_FILE", "APIKEY_COMMAND"].contains(&parameter);
        // A setting needs the rest of a source: a model, a base URL and one key.
        let needed = if is_other_key { &["BASEURL", "MODEL"][..] } else { &["BASEURL", "MODEL", "APIKEY"] };
        let is_set =
            |other: &str| other == key || needed.iter().any(|parameter| other == format!("MODEL_{source}_{parameter}"));
        let changed: Vec<&str> = text
            .lines()
            .map(|line| match setting(line) {
                Some((other, _)) if is_set(other) => line.trim_start_matches("# "),
                _ => line,
            })
            .collect();
        assert_eq!(env_file_problem(&changed.join("\n")), None, "with {key}");
    }
}

#[test]
fn warning_codes_are_documented() {
    let page = page("docs/json.md");
    let (_, table) = page.split_once("The codes of `warnings`:").unwrap();
    let (table, _) = table.split_once("\n\n## ").unwrap();
    let codes: Vec<String> = rows(table).into_iter().map(|row| row[0].clone()).collect();
    let known = opencode_runner::WarningCode::ALL
        .map(|code| format!("`{}`", serde_json::to_value(code).unwrap().as_str().unwrap()));
    assert_eq!(codes, known);
    let tests = include_str!("real/warnings.rs");
    for code in &known {
        assert!(tests.contains(&code.replace('`', "\"")), "{code} has no test on the real opencode");
    }
}

#[test]
fn every_option_exists() {
    let mut help = stdout(&["--help"]);
    for subcommand in SUBCOMMANDS {
        help.push_str(&stdout(&[subcommand, "--help"]));
    }
    for nested in ["ctl", "export", "merge"] {
        help.push_str(&stdout(&["batch", nested, "--help"]));
    }
    let option = |word: &str| word.chars().take_while(|c| *c == '-' || c.is_ascii_alphanumeric()).collect::<String>();
    let known: BTreeSet<String> = help.split_whitespace().filter(|word| word.starts_with("--")).map(option).collect();
    let page = PAGES.map(page).concat();
    let words = page.split([' ', '\n', '`', '(', '"']).filter(|word| word.starts_with("--"));
    let named: BTreeSet<String> = words.map(option).filter(|option| option.ends_with(char::is_alphanumeric)).collect();
    for option in &named {
        assert!(known.contains(option) || CARGOS_OPTIONS.contains(&option.as_str()), "there is no {option}");
    }
    assert!(named.len() > 15, "only these were found: {named:?}");
}

#[test]
fn policy_of_batches_is_the_table_of_the_code() {
    let page = page("docs/batch.md");
    let table = opencode_run_batch::policy::table();
    assert!(section(&page, "How outcomes are treated").contains(&table), "it has to have this table:\n{table}");
}

/// Returns the options that a page gives to `opencode-run` in its shell commands, with those of other programs left out.
fn options_of_recipe(page: &str) -> BTreeSet<String> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().replace("\\\n", " "));
    let lines: Vec<String> = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let ours = lines.iter().filter_map(|line| line.rsplit_once("opencode-run --").map(|(_, rest)| format!("--{rest}")));
    let words = ours.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let name = |word: String| word.split('=').next().unwrap().to_owned();
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(name).collect()
}

#[test]
fn recipes_use_existing_options() {
    let help = stdout(&["--help"]) + &SUBCOMMANDS.map(|subcommand| stdout(&[subcommand, "--help"])).concat();
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("docs/recipes")).unwrap() {
        let path = entry.unwrap().path();
        for option in options_of_recipe(&std::fs::read_to_string(&path).unwrap()) {
            assert!(help.contains(&option), "{}: there is no {option}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen}");
}

#[test]
fn counterparts_of_the_original_exist() {
    let page = page("docs/from-pyrunner.md");
    let sources = root().join("crates/runner/src");
    let source = ["runner.rs", "runner/start.rs", "builder.rs", "report.rs"]
        .map(|name| std::fs::read_to_string(sources.join(name)).unwrap())
        .concat();
    let methods: BTreeSet<String> = quoted(&page)
        .iter()
        .filter_map(|code| code.strip_prefix("runner.").or_else(|| code.strip_prefix('.')))
        .filter_map(|call| call.split_once('('))
        .map(|(method, _)| method.to_owned())
        .collect();
    for method in &methods {
        assert!(source.contains(&format!("fn {method}(")), "there is no {method}");
    }
    assert!(methods.len() > 15, "{methods:?}");
}

#[test]
fn json_result_has_these_fields() {
    let printed = stdout(&["--no-env", "--output-format", "json", "--opencode", "/nonexistent/opencode", "message"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let page = page("docs/json.md");
    let section = section(&page, "Output formats");
    let shown: serde_json::Value = serde_json::from_str(block(section, "json")).unwrap();
    let fields = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(&shown), fields(&printed));
    assert_eq!(fields(&shown["usage"]), fields(&printed["usage"]));
    let explained: BTreeSet<String> = rows(section).iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(explained, fields(&printed));
    let error = rows(section).into_iter().find(|row| row[0] == "`error`").unwrap();
    assert_eq!(quoted(&error[1]), fields(&printed["error"]));
}

#[test]
fn error_kinds_are_valid() {
    let page = page("docs/json.md");
    let (_, list) = page.split_once("`error.kind` is one of ").unwrap();
    for name in quoted(list.split("\n\n").next().unwrap()) {
        let kind: FailureKind = serde_json::from_value(name.as_str().into()).unwrap();
        assert_eq!(kind.as_str(), name);
    }
}

#[test]
fn rust_snippets_are_in_linked_examples() {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let examples = root().join("crates/runner/examples");
    let pages = ["README.md", "docs/library.md"].map(page);
    for page in &pages {
        let mut example = Vec::new();
        let mut rest = page.as_str();
        while let Some((before, after)) = rest.split_once("```rust\n") {
            if let Some((_, link)) = before.rsplit_once("crates/runner/examples/") {
                let file = examples.join(link.split(')').next().unwrap());
                example = lines(&std::fs::read_to_string(file).unwrap());
            }
            let (piece, after) = after.split_once("```").unwrap();
            let wanted = lines(piece);
            assert!(example.windows(wanted.len()).any(|window| window == wanted), "not in its example:\n{piece}");
            rest = after;
        }
    }
    for entry in std::fs::read_dir(examples).unwrap() {
        let link = format!("(../crates/runner/examples/{})", entry.unwrap().file_name().to_str().unwrap());
        assert!(pages[1].contains(&link), "{link} is missing");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let anchor =
        |heading: &str| heading.trim_matches(['#', ' ']).to_lowercase().replace(' ', "-").replace([',', '`', '.'], "");
    for name in PAGES.into_iter().chain([
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.zh-CN.md",
        "SECURITY.md",
        "docs/recipes/untrusted-tasks.md",
        "tests/README.md",
    ]) {
        let folder = root().join(name).parent().unwrap().to_owned();
        let page = std::fs::read_to_string(root().join(name)).unwrap();
        let anchors: BTreeSet<String> = page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        for target in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let leads = match target.strip_prefix('#') {
                Some(place) => anchors.contains(place),
                None if target.starts_with("https://") => true,
                None => {
                    let (file, place) =
                        target.split_once('#').map_or((target, None), |(file, place)| (file, Some(place)));
                    let there = |text: String| {
                        let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                        place.is_none_or(|place| headings.any(|heading| heading == place))
                    };
                    let path = folder.join(file);
                    path.is_dir() || std::fs::read_to_string(path).is_ok_and(there)
                }
            };
            assert!(leads, "{name}: {target}");
        }
    }
}

/// The rows of the table of the generations' features, each with the tests that hold it on opencode 1 and on opencode 2.
const FEATURES: [(&str, &[&str], &[&str]); 12] = [
    (
        "text, reasoning, tools, steps, usage, cost, sub-agents, retries",
        &["conformance/cases::reasoning", "conformance/cases::priced", "conformance/cases::subagent_with_tool"],
        &[
            "real2/turns::turn_has_text_reasoning_tools_and_usage",
            "real2/turns::retries_are_events_and_the_turn_recovers",
        ],
    ),
    (
        "sessions, resume, `--ephemeral`, files, agent, variant",
        &["real/resume::killed_turn_continues_in_its_session", "real/messages::files_and_title_reach_opencode"],
        &["real2/sessions::ephemeral_session_is_deleted", "real2/sessions::agent_and_variant_reach_the_session"],
    ),
    (
        "sessions of the other generation",
        &["real2/sessions::generations_work_on_a_shared_database"],
        &["real2/sessions::generations_work_on_a_shared_database"],
    ),
    ("`--context`", &["real/context::context_file_reaches_the_model"], &["real2/sessions::context_holds_for_one_turn"]),
    (
        "permissions",
        &["real/failures::agent_continues_after_refused_permission"],
        &[
            "real2/turns::permission_is_refused_or_allowed_by_policy",
            "real2/turns::sub_agents_permission_is_answered",
            "real2/permissions::only_always_is_kept_for_the_project",
        ],
    ),
    ("questions", &["conformance/cases::question"], &["real2/turns::answered_question_lets_agent_continue"]),
    (
        "`--json-schema`",
        &["real/output::stdout_has_only_the_structured_value"],
        &["real2/turns::answer_matches_schema_after_repair"],
    ),
    (
        "model sources, gateway, limits on cost",
        &["real/gateway::key_and_parameters_reach_other_providers", "real/secrets::budget_ends_a_turn"],
        &["real2/sources::parameters_reach_every_provider", "real2/sources::budget_ends_a_turn"],
    ),
    (
        "a background command of the agent",
        &["real/no_survivor::end_of_turn"],
        &["real2/endings::background_command_ends_with_its_turn"],
    ),
    (
        "`--transport run`",
        &["conformance/cases::plain_text"],
        &["real2/sessions::models_are_listed_and_run_is_refused"],
    ),
    (
        "`--attach`",
        &["conformance/faults/attached::attached_server_is_left_alone"],
        &["real2/attached::turns_run_on_attached_server"],
    ),
    ("tool names", &["conformance/cases::tool_then_text"], &["real2/turns::events_are_those_of_opencode_1"]),
];

#[test]
fn features_of_generations_have_tests() {
    let page = page("docs/versions.md");
    let named: Vec<String> = rows(section(&page, "opencode 2")).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(named, FEATURES.map(|(feature, ..)| feature));
    for test in FEATURES.iter().flat_map(|(_, first, second)| first.iter().chain(*second)) {
        let (file, name) = test.split_once("::").unwrap();
        let text = std::fs::read_to_string(root().join(format!("tests/tests/{file}.rs"))).unwrap();
        let is_there = text.contains(&format!("fn {name}()")) || text.contains(&format!("    {name}: Case::new"));
        assert!(is_there, "there is no test {test}");
    }
}

#[test]
fn tested_version_is_named() {
    let page = page("docs/versions.md");
    assert!(page.contains(&format!("The tests run on {TESTED_OPENCODE}")));
}

#[test]
fn picture_script_counts_columns() {
    match Command::new("python3").arg(root().join("tests/picture")).arg("--check").output() {
        Ok(checked) => assert!(checked.status.success(), "{checked:?}"),
        Err(error) => writeln!(std::io::stderr(), "skipped: python3 cannot be started: {error}").unwrap(),
    }
}

#[test]
fn chinese_front_page_follows_the_english_one() {
    let [english, chinese] = ["README.md", "README.zh-CN.md"].map(page);
    let code = |page: &str| page.split("```").skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(code(&english), code(&chinese));
    let levels = |page: &str| {
        let text: String = page.split("```").step_by(2).collect();
        let headings = text.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| line.split(' ').next().unwrap().len()).collect::<Vec<_>>()
    };
    assert_eq!(levels(&english), levels(&chinese));
    // The links of each row are the same, in the same order.
    let links = |page: &str| {
        let targets = |row: Vec<String>| {
            let text = row.join("|");
            text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        rows(page).into_iter().map(targets).collect::<Vec<_>>()
    };
    assert_eq!(links(&english), links(&chinese));
}

#[test]
fn front_page_is_short_and_links_every_page() {
    let front = page("README.md");
    assert!(front.lines().count() <= 150);
    for name in &PAGES[1..] {
        assert!(front.contains(&format!("]({name}")), "{name} is not linked");
    }
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    for entry in docs.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file()) {
        let name = format!("docs/{}", entry.file_name().to_str().unwrap());
        assert!(PAGES.contains(&name.as_str()), "{name} is not checked");
    }
}
