//! Whole files: the sources, the messages, and that no message shows a key.

use crate::{DiscoveredEnvFile, EnvFileError, EnvKey, Ignored, ModelSource, ModelSourceType, with_key};
use opencode_run_core::ExposeSecret;
use proptest::prelude::*;
use std::fmt::Debug;
use std::path::Path;

/// The key that is planted in bad files.
const KEY: &str = "sk-Planted0Key";

fn with_file<T>(bytes: impl AsRef<[u8]>, read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.env");
    std::fs::write(&path, bytes).unwrap();
    read(&path)
}

fn named(text: impl AsRef<[u8]>) -> Result<ModelSource, EnvFileError> {
    with_file(text, |path| ModelSource::from_env_file(path))
}

fn found(text: impl AsRef<[u8]>) -> DiscoveredEnvFile {
    with_file(text, |path| ModelSource::from_discovered_env_file(path))
}

/// Removes the directory of the file from a message.
fn without_folder(text: &str) -> String {
    let cut = |line: &str| line.find("f.env").map_or(line.to_owned(), |at| line[at..].to_owned());
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// Returns the messages for a text: as a named file, and as an auto-discovered one with its remaining sources.
fn messages_for(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let strict = match named(text) {
        Ok(source) => format!("fine: {:?}", source.configured()),
        Err(error) => without_folder(&error.to_string()),
    };
    let found = found(text);
    let warnings: Vec<_> = found.warnings.iter().map(|warning| without_folder(&warning.to_string())).collect();
    format!("named:\n{strict}\nfound: {:?}\n{}", found.source.configured(), warnings.join("\n"))
}

#[test]
fn complete_file_is_read() {
    let text = "\u{feff}# ours\r\nexport MODEL_CODE_BASEURL = \"https://api.example.com/v1\" # there\r\n\
        MODEL_CODE_APIKEY='a$HOME${PATH}\\'\r\nMODEL_CODE_MODEL=large\r\nMODEL_CODE_TEMPERATURE=0.2\r\n\
        MODEL_CODE_MAX_TOKENS=4096\r\nMODEL_CODE_TOP_P=0.9\r\nMODEL_CODE_TOP_K=40\r\nMODEL_CODE_CONTEXT=128000\r\n\
        MODEL_CODE_PRICE_INPUT=3\r\nMODEL_CODE_PRICE_OUTPUT=15.5\r\nMODEL_CODE_PROVIDER=@ai-sdk/openai-compatible\r\n\
        MODEL_DEFAULT_MODEL=openai/gpt-5\r\nMODEL_PLAN_MODEL=\r\nDATABASE_URL='postgres://x'\r\nMODEL_PATH=/m";
    let source = named(text).unwrap();
    assert_eq!(source.configured(), [ModelSourceType::Code, ModelSourceType::Default]);
    let code = source.get_model(ModelSourceType::Code).unwrap();
    assert_eq!(code.api_key.as_ref().unwrap().expose_secret(), "a$HOME${PATH}\\");
    insta::assert_json_snapshot!(code.as_ref());
    let found = found(text);
    assert!(found.warnings.is_empty());
    assert_eq!(found.source.configured(), source.configured());
}

#[test]
fn invalid_values_are_reported() {
    insta::assert_snapshot!(messages_for(
        "MODEL_CODE_BASEURL=api.example.com/v1\nMODEL_CODE_MODEL=large\nMODEL_CODE_TEMPERATURE=hot\n\
         MODEL_CODE_MAX_TOKENS=4k\nMODEL_CODE_TOP_P=1.5\nMODEL_CODE_PRICE_INPUT=NaN\nMODEL_CODE_CONTEXT=99999999999\n\
         MODEL_PLAN_MODEL=openai/gpt-5\n"
    ));
}

#[test]
fn incomplete_sources_are_reported() {
    insta::assert_snapshot!(messages_for(
        "# url and no model\nMODEL_CODE_TEMPERATURE=\nMODEL_CODE_BASEURL=https://x/v1\n\n\
         MODEL_PLAN_BASEURL=https://x/v1\nMODEL_PLAN_MODEL=''\n\
         MODEL_THINK_MODEL=gpt-5\nMODEL_WRITE_APIKEY=k\nMODEL_WRITE_MODEL=openai/gpt-5\n\
         MODEL_DEFAULT_MODEL=openai/gpt-5\nMODEL_DEFAULT_PROVIDER=@ai-sdk/openai\n"
    ));
}

#[test]
fn top_k_of_anthropic_is_accepted() {
    insta::assert_snapshot!(messages_for(
        "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\nMODEL_CODE_PROVIDER=@ai-sdk/anthropic\nMODEL_CODE_TOP_K=5\n"
    ));
}

#[test]
fn foreign_packages_are_rejected_when_discovered() {
    let text =
        |package| format!("MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\nMODEL_CODE_PROVIDER={package}\n");
    insta::assert_snapshot!(messages_for(text("evil-package")));
    for package in ["@ai-sdk/../evil", "@ai-sdk/x@npm:evil", "@ai-sdk/", "file:///tmp/x", "@ai-sdkx/y"] {
        assert!(found(text(package)).source.is_empty(), "{package}");
    }
    assert!(found(text("@ai-sdk/google")).warnings.is_empty());
}

#[test]
fn misspelt_keys_are_reported() {
    insta::assert_snapshot!(messages_for(
        "MODEL_CODE_MODEL=openai/gpt-5\nMODEL_CODE_TEMPRATURE=0.2\nMODEL_PLAN_MODEL=openai/gpt-5\n\
         MODEL_CDOE_MODEL=x\nMODLE_CODE_MODEL=x\nmodel_code_model=x\nMODEL_CODE_BASE_URL=x\nMODEL_CODE_API_KEY=x\n\
         MODEL_THINK_URL=x\nMODEL_TEMPERATURE=1\nMODEL_REVIEW_MODEL=x\nMODEL_PATH=/m\nMODEL_WRITE=x\n"
    ));
}

#[test]
fn one_mistake_is_reported_once() {
    for text in [
        "MODEL_CODE_BASE_URL=https://x/v1\nMODEL_CODE_APIKEY=k\nMODEL_CODE_MODEL=m\nMODEL_CODE_PROVIDER=@ai-sdk/google",
        "MODEL_CODE_BASEURL https://x/v1\nMODEL_CODE_APIKEY=k\nMODEL_CODE_MODEL=m",
        "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODLE=m",
        "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=two words",
        "MODEL_CODE_MODEL=a/b\nMODEL_CODE_MODEL=a/b",
        "MODEL_CODE_MODEL=a/b\nMODEL_CODE_TEMPERATURE=hot\n",
    ] {
        let error = named(text).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
        assert_eq!(found(text).warnings.len(), 1, "{text}");
        assert!(found(text).source.is_empty(), "{text}");
    }
}

#[test]
fn duplicate_key_is_reported() {
    insta::assert_snapshot!(messages_for(
        "MODEL_CODE_MODEL=a/b\nMODEL_CODE_TOP_P=\nMODEL_CODE_TOP_P=0.5\n\nMODEL_CODE_MODEL=a/c\n"
    ));
}

#[test]
fn unreadable_lines_are_reported() {
    insta::assert_snapshot!(messages_for(
        "just some words\nMODEL_CODE_MODEL: gpt-5\nMODEL_PLAN_MODEL=two words\nMODEL_THINK_MODEL=a\\x\n\
         OTHER=two words\nset MODEL_WRITE_MODEL=x\nMODEL_DEFAULT_MODEL=\"open\n"
    ));
}

#[test]
fn quote_over_known_key_is_reported() {
    insta::assert_snapshot!(messages_for(
        "OTHER=\"open\nMODEL_CODE_MODEL=a/b\nMODEL_CODE_TOP_P=0.5\nMORE=x\"\nMODEL_CODE_TOP_K=4\n"
    ));
}

#[test]
fn non_utf8_bytes_are_reported() {
    insta::assert_snapshot!(messages_for(
        b"MODEL_CODE_MODEL=a/b\n# \xff\nMODEL_CODE_TOP_P=\0\nX='\xfe'\nMODEL_CODE_TOP_K=no\n"
    ));
    insta::assert_snapshot!(messages_for(b"\xff\xfeM\0O\0D\0"));
}

#[test]
fn unreadable_files_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.env");
    let messages = || {
        let error = ModelSource::from_env_file(&path).unwrap_err();
        let found = ModelSource::from_discovered_env_file(&path);
        assert!(found.source.is_empty());
        let warnings: Vec<_> = found.warnings.iter().map(|warning| without_folder(&warning.to_string())).collect();
        format!("{}\n{}", without_folder(&error.to_string()), warnings.join("\n"))
    };
    insta::assert_snapshot!(messages());
    std::fs::create_dir(&path).unwrap();
    insta::assert_snapshot!(messages());
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, vec![b'\n'; crate::MAX_FILE_BYTES + 1]).unwrap();
    insta::assert_snapshot!(messages());
}

#[cfg(unix)]
#[test]
fn path_through_file_reports_cause() {
    with_file("", |path| {
        let error = ModelSource::from_env_file(path.join("x")).unwrap_err();
        insta::assert_snapshot!(without_folder(&error.to_string()));
        assert!(std::error::Error::source(&error).is_none(), "the text names the cause already");
    });
}

#[cfg(unix)]
#[test]
fn pipe_is_read_only_when_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.env");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let found = ModelSource::from_discovered_env_file(&path);
    insta::assert_snapshot!(without_folder(&found.warnings[0].to_string()));
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, "MODEL_CODE_MODEL=a/b")
    });
    assert!(ModelSource::from_env_file(&path).unwrap().has_model(ModelSourceType::Code));
    writer.join().unwrap().unwrap();
}

#[test]
fn foreign_lines_may_have_any_form() {
    let text = "DESCRIPTION=two words, see MODEL_CODE_MODEL\nC:\\path=\\x\nMODEL_CODE_MODEL=a/b\nW=C:\\x\n";
    insta::assert_snapshot!(messages_for(text));
}

#[test]
fn name_is_cut_before_possible_secret() {
    insta::assert_snapshot!(messages_for(
        "MODEL_CODE_APIKEYabc0==\nMODEL_CODE_API_KEYXYZ==\nMODEL_CODE_APIKEY_URL=f\nmodel_code_url=x\nMODEL_CODE_X1==\n"
    ));
}

#[test]
fn further_problems_are_counted() {
    let error = named("x\n".repeat(1000)).unwrap_err();
    assert_eq!(error.problems().len(), 1000);
    assert_eq!(error.to_string().lines().count(), 21);
    assert!(error.to_string().ends_with("\nand 980 more"));
}

#[test]
fn file_of_open_quotes_is_fast() {
    let started = std::time::Instant::now();
    // Of all short lines, these leave a quote open most often.
    let error = named("K=x\"\\''\n".repeat(1 << 13)).unwrap_err();
    assert!(!error.problems().is_empty());
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// Asserts that the planted key, or most of it, does not occur in the output.
fn is_hidden(shown: &[&dyn Debug], text: &[u8]) {
    for part in shown {
        let debug = format!("{part:?}");
        assert!(!debug.contains("Planted"), "{debug} of {:?}", String::from_utf8_lossy(text));
    }
}

fn shows_no_key(text: &[u8]) {
    let strict = named(text);
    let found = found(text);
    let mut displays: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    match &strict {
        Ok(source) => {
            displays.extend(source.summaries().map(|summary| summary.to_string()));
            displays.push(serde_json::to_string(source).unwrap());
        }
        Err(error) => displays.push(error.to_string()),
    }
    is_hidden(&[&strict, &found, &displays], text);
}

#[test]
fn messages_never_show_the_key() {
    let set = format!("MODEL_CODE_APIKEY={KEY}");
    let around = "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\n";
    for bad in [
        set.clone(),
        format!("{set}\n{set}2"),
        format!("{set} and more"),
        format!("MODEL_CODE_APIKEY='{KEY} x'"),
        format!("MODEL_CODE_APIKEY='{KEY}"),
        format!("MODEL_CODE_APIKEY=\"{KEY}\\x\""),
        format!("MODEL_CODE_APIKEY=\"{KEY}\n\""),
        format!("MODEL_CODE_APIKEY {KEY}"),
        format!("MODEL_CODE_APIKEY: {KEY}"),
        format!("MODEL_CODE_APIKEY{KEY}"),
        "MODEL_CODE_APIKEYPlanted0Key==".to_owned(),
        "MODEL_CDOE_API_KEYPlanted0Key==".to_owned(),
        "MODEL_APIKEYPlanted0Key==".to_owned(),
        "MODEL_CODE_API_KEYPlanted0Key==".to_owned(),
        "MODEL_CODE_API_KEY_Planted0Key==".to_owned(),
        "MODEL_CODE_TOKENPlanted0Key==".to_owned(),
        "MODEL_Planted0Key_APIKEY==".to_owned(),
        "MODEL_CODE_Planted0Key==".to_owned(),
        format!("MODEL_CODE_API_KEY={KEY}"),
        format!("MODEL_CODE_SECRET={KEY}"),
        format!("MODEL_APIKEY={KEY}"),
        format!("MODEL_REVIEW_APIKEY={KEY}"),
        format!("model_code_apikey={KEY}"),
        format!("OTHER=\"\n{set}\nMORE=\""),
        format!("OTHER=\"\n{set}\n"),
        KEY.to_owned(),
        format!("MODEL_CODE_TEMPERATURE={KEY}"),
        format!("MODEL_CODE_MAX_TOKENS={KEY}"),
        format!("MODEL_PLAN_BASEURL=\"https://x/v1\n{set}\nMODEL_PLAN_MODEL=\"m"),
        format!("MODEL_PLAN_MODEL=\"m\n{set}\n\""),
        format!("MODEL_PLAN_MODEL=m\nMODEL_PLAN_PROVIDER=\"x\n{set}\n\""),
        format!("MODEL_PLAN_BASEURL=https://{KEY}@x/v1"),
        format!("MODEL_PLAN_BASEURL=https://x/v1?key={KEY}"),
        format!("MODEL_PLAN_MODEL={KEY}"),
        format!("{set}\0"),
        format!("\u{feff}\u{feff}{set}"),
    ] {
        for text in [bad.clone(), format!("{around}{bad}"), format!("{bad}\n{around}"), bad.replace('\n', "\r\n")] {
            shows_no_key(text.as_bytes());
            shows_no_key(&[text.as_bytes(), b"\n\xff"].concat());
            shows_no_key(&[b"\xfe", text.as_bytes()].concat());
        }
    }
}

/// Lines as written by hand: keys of ours, correct and damaged, with good and bad values and the planted key.
fn line() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(EnvKey::all().map(|key| key.to_string()).collect::<Vec<_>>());
    let damage = (any::<proptest::sample::Index>(), proptest::option::of("[A-Z_. =-]"));
    let key = (key, proptest::option::of(damage)).prop_map(|(mut key, damage)| {
        if let Some((at, with)) = damage {
            let at = at.index(key.len());
            key.replace_range(at..=at, &with.unwrap_or_default());
        }
        key
    });
    let value =
        proptest::sample::select(vec!["", "0.5", "7", "a/b", "https://x/v1", "'open", "\"open", "two words", "\\"]);
    prop_oneof![
        (key, value).prop_map(|(key, value)| format!("{key}={value}")),
        proptest::sample::select(vec!["MODEL_CODE_APIKEY", "MODEL_PLAN_API_KEY", "MODEL_CODE_APIKEY:"])
            .prop_flat_map(|key| "['\" \\\\]{0,2}".prop_map(move |quote| format!("{key}={quote}{KEY}{quote}"))),
        "[ -~]{0,12}",
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_keep_properties(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzzing::env_file(&bytes);
    }

    #[test]
    fn handwritten_lines_keep_properties(lines in proptest::collection::vec(line(), 0..8)) {
        crate::fuzzing::env_file(lines.join("\n").replace(KEY, "\u{1}").as_bytes());
    }

    #[test]
    fn lenient_reading_is_never_laxer(lines in proptest::collection::vec(line(), 0..8)) {
        let text = lines.join("\n");
        shows_no_key(text.as_bytes());
        let strict = named(&text);
        let found = found(&text);
        for warning in &found.warnings {
            prop_assert!(warning.line.is_some_and(|line| line >= 1 && line <= lines.len()));
            if let Ignored::Source(ignored) = warning.ignored {
                prop_assert!(!found.source.has_model(ignored));
            }
        }
        prop_assert!(found.source.problems().is_empty());
        match strict {
            Ok(strict) if found.warnings.is_empty() => prop_assert_eq!(strict.configured(), found.source.configured()),
            Ok(_) => prop_assert!(["_PROVIDER", "_APIKEY_FILE", "_APIKEY_COMMAND"].iter().any(|key| text.contains(key))),
            Err(error) => prop_assert!(error.problems().len() >= found.warnings.len().min(1)),
        }
    }
}

#[tokio::test]
async fn key_file_is_relative_to_env_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.env");
    let head = "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\n";
    std::fs::write(&file, format!("{head}MODEL_CODE_APIKEY_FILE=keys/code\nMODEL_CODE_APIKEY_HEADER=X-Key\n")).unwrap();
    let source = ModelSource::from_env_file(&file).unwrap();
    let code = source.get_model(ModelSourceType::Code).unwrap();
    assert_eq!(code.api_key_file.as_deref(), Some(folder.path().join("keys/code").as_path()));
    assert_eq!(code.api_key_header.as_deref(), Some("X-Key"));
    let by_file = async || with_key(code, async |_| panic!("there is no command")).await;
    assert!(by_file().await.is_err());
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    std::fs::write(folder.path().join("keys/code"), "sk-1\n").unwrap();
    assert_eq!(by_file().await.unwrap().api_key.as_ref().unwrap().expose_secret(), "sk-1");
}

#[test]
fn discovered_file_cannot_use_key_origins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    for origin in ["COMMAND='pass show code'", "FILE=../.vault-token", "FILE=key"] {
        let text = format!("MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\nMODEL_CODE_APIKEY_{origin}\n");
        std::fs::write(&file, text).unwrap();
        let found = ModelSource::from_discovered_env_file(&file);
        assert!(found.source.is_empty(), "{origin}");
        assert!(found.warnings[0].to_string().contains("name the file explicitly"), "{}", found.warnings[0]);
        let named = ModelSource::from_env_file(&file).unwrap();
        let code = named.get_model(ModelSourceType::Code).unwrap();
        assert!(code.api_key_command.is_some() != code.api_key_file.is_some(), "{origin}");
    }
}
