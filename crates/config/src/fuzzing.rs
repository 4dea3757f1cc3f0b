//! Properties that hold for every file, shared by the property tests of this crate, whose files resemble real ones,
//! and the fuzz target in `/fuzz`, which tries all others.
//!
//! Not part of the interface. Each function panics if a property does not hold.

use crate::{DiscoveredEnvFile, EnvFileError, Ignored, ModelSource, assemble};
use opencode_run_core::{ExposeSecret, ModelConfig, ModelParameter, ModelSourceType};
use std::fmt::Write;
use std::path::Path;

/// The secret that replaces each [`MARK`] in a file. Like real secrets it has letters of both cases and digits, so
/// no name of a key can be made of it.
const SECRET: &str = "Zq9Planted0Key7x";

/// The part of the secret whose presence proves a leak.
const LEAKED_PART: &str = "Planted";

/// The byte that is replaced by the secret.
const MARK: u8 = 1;

/// Asserts that no message shows the secret (the byte 1 stands for it), that lenient reading accepts no more than
/// strict reading does, and that parsed sources can be written and read again.
///
/// # Panics
///
/// If one of these properties does not hold.
pub fn env_file(bytes: &[u8]) {
    let mut planted = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match *byte {
            MARK => planted.extend_from_slice(SECRET.as_bytes()),
            byte => planted.push(byte),
        }
    }
    let path = Path::new("f.env");
    let named = assemble::named(path, Ok(planted.clone())).map_err(EnvFileError::new);
    let (source, warnings) = assemble::found(path, Ok(Some(planted.clone())));
    let found = DiscoveredEnvFile { source, warnings };
    hides_the_secret(&named, &found);
    ignores_what_it_reports(&planted, &found);
    is_never_laxer(&named, &found);
    for source in [named.as_ref().ok(), Some(&found.source)].into_iter().flatten() {
        assert!(source.problems().is_empty(), "a file's sources are validated");
        is_read_again(source);
    }
}

fn hides_the_secret(named: &Result<ModelSource, EnvFileError>, found: &DiscoveredEnvFile) {
    let mut shown = format!("{:?}", found.warnings);
    for warning in &found.warnings {
        write!(shown, "\n{warning}").ok();
    }
    if let Err(error) = named {
        write!(shown, "\n{error}\n{error:?}").ok();
    }
    for source in [named.as_ref().ok(), Some(&found.source)].into_iter().flatten() {
        for (kind, model) in source.iter() {
            // Settings other than the key may be shown, whatever they contain.
            if settings(model).iter().all(|(is, value)| *is == ModelParameter::ApiKey || !value.contains(LEAKED_PART)) {
                write!(shown, "\n{kind} {model:?}").ok();
            }
        }
    }
    assert!(!shown.contains(LEAKED_PART), "{shown}");
}

fn ignores_what_it_reports(bytes: &[u8], found: &DiscoveredEnvFile) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for warning in &found.warnings {
        assert!(warning.line.is_none_or(|line| (1..=lines).contains(&line)));
        match warning.ignored {
            Ignored::Nothing => {}
            Ignored::Source(kind) => assert!(!found.source.has_model(kind)),
            Ignored::File => assert!(found.source.is_empty()),
        }
    }
}

fn is_never_laxer(named: &Result<ModelSource, EnvFileError>, found: &DiscoveredEnvFile) {
    match named {
        Ok(source) => {
            for (kind, model) in found.source.iter() {
                assert_eq!(source.get_model(kind).map(|model| settings(model)), Some(settings(model)));
            }
            // Lenient reading ignores a valid source only if it would run an untrusted package or command, or send
            // a file.
            let lacks = |kind: &ModelSourceType| !found.source.has_model(*kind);
            let doubted = source.configured().into_iter().filter(lacks).count();
            assert!(doubted <= found.warnings.len(), "{doubted}");
        }
        Err(error) => assert!(!error.problems().is_empty()),
    }
}

/// Writes the source as a file with every value in double quotes, and reads it back.
fn is_read_again(source: &ModelSource) {
    let mut text = String::new();
    for (kind, model) in source.iter() {
        for (parameter, value) in settings(model) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            writeln!(text, "MODEL_{}_{parameter}=\"{value}\"", kind.as_str().to_uppercase()).ok();
        }
    }
    match assemble::named(Path::new("f.env"), Ok(text.clone().into_bytes())) {
        Ok(read) => {
            let all =
                |source: &ModelSource| source.iter().map(|(kind, model)| (kind, settings(model))).collect::<Vec<_>>();
            assert_eq!(all(&read), all(source));
        }
        Err(problems) => panic!("{problems:?} in {text}"),
    }
}

/// Returns the settings of a model that a file would have to contain, and their values.
fn settings(model: &ModelConfig) -> Vec<(ModelParameter, String)> {
    let number = |value: Option<f64>| value.map(|value| value.to_string());
    let count = |value: Option<u32>| value.map(|value| value.to_string());
    let all = [
        (ModelParameter::Model, Some(model.model.clone())),
        (ModelParameter::BaseUrl, model.base_url.clone()),
        (ModelParameter::ApiKey, model.api_key.as_ref().map(|key| key.expose_secret().to_owned())),
        (ModelParameter::ApiKeyFile, model.api_key_file.as_ref().map(|file| file.to_string_lossy().into_owned())),
        (ModelParameter::ApiKeyCommand, model.api_key_command.clone()),
        (ModelParameter::ApiKeyHeader, model.api_key_header.clone()),
        // Without a base URL, no package can be set.
        (ModelParameter::Provider, model.base_url.as_ref().map(|_| model.provider.to_string())),
        (ModelParameter::Temperature, number(model.temperature)),
        (ModelParameter::MaxTokens, count(model.max_tokens)),
        (ModelParameter::TopP, number(model.top_p)),
        (ModelParameter::TopK, count(model.top_k)),
        (ModelParameter::Context, count(model.context)),
        (ModelParameter::PriceInput, number(model.price_input)),
        (ModelParameter::PriceOutput, number(model.price_output)),
        (
            ModelParameter::Input,
            model.input.as_ref().map(|kinds| kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        ),
    ];
    all.into_iter().filter_map(|(parameter, value)| Some((parameter, value?))).collect()
}
