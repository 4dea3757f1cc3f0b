//! Checks the model sources: which exist, which are incomplete, and who can read their file.

use super::finding::Finding;
use crate::found_file::{FoundFile, Trust};
use crate::models::{ALLOW_HINT, FOUND_FILE, KeyFiles, others_can_read};
use opencode_run_core::{ErrorChain, ModelConfig};
use opencode_runner::ModelSource;
use opencode_runner::read_key;
use opencode_runner::supervisor;
use std::path::Path;
use std::sync::Arc;

const CHECK: &str = "model sources";

/// The sources and the findings about them.
pub(super) struct CheckedSources {
    /// The usable sources, with their keys.
    pub(super) source: ModelSource,
    /// The files that contain keys.
    pub(super) key_files: KeyFiles,
    pub(super) findings: Vec<Finding>,
}

impl CheckedSources {
    fn none(findings: Vec<Finding>) -> Self {
        Self { source: ModelSource::new(), key_files: KeyFiles::default(), findings }
    }
}

/// Reads a named file on another thread, because it may be a pipe without a writer.
async fn read_named(file: &Path) -> Result<ModelSource, String> {
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || ModelSource::from_env_file(file)).await;
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Reads the sources: strictly from a named file, or like a turn from an auto-discovered one.
pub(super) async fn read(named: Option<&Path>) -> CheckedSources {
    let mut findings = Vec::new();
    let (file, source) = match named {
        Some(file) => match read_named(file).await {
            Ok(source) => (file, source),
            Err(error) => {
                findings.push(Finding::error(CHECK, error, "correct the file"));
                return CheckedSources::none(findings);
            }
        },
        None if let Ok(Some(found)) = FoundFile::read(Path::new(FOUND_FILE)) => {
            if let Trust::Unclear(reason) = found.trust().await
                && !found.content.source.is_empty()
            {
                let message = format!("./{FOUND_FILE} is not used because {reason}: {}", found.summary());
                findings.push(Finding::warning(CHECK, message, ALLOW_HINT));
                return CheckedSources::none(findings);
            }
            let warnings = found.content.warnings.iter();
            findings.extend(warnings.map(|warning| Finding::warning(CHECK, warning.to_string(), "correct the line")));
            (Path::new(FOUND_FILE), found.content.source)
        }
        None => {
            findings.push(Finding::ok(CHECK, format!("no {FOUND_FILE} here: opencode's own models are used")));
            return CheckedSources::none(findings);
        }
    };
    findings.insert(0, Finding::ok(CHECK, described(file, &source)));
    let key_files = KeyFiles::of(file, &source);
    findings.extend(key_files.0.iter().filter(|file| others_can_read(file)).map(|file| {
        Finding::warning(
            CHECK,
            format!("{} contains a key, and other users can read it", file.display()),
            format!("chmod 600 {}", file.display()),
        )
    }));
    CheckedSources { source: with_keys(&source, &mut findings).await, key_files, findings }
}

fn described(file: &Path, source: &ModelSource) -> String {
    let found: Vec<String> = source.summaries().map(|summary| summary.to_string()).collect();
    let found = if found.is_empty() { "no model source".to_owned() } else { found.join("; ") };
    format!("{}: {found}", file.display())
}

/// Returns the sources whose keys are available.
async fn with_keys(source: &ModelSource, findings: &mut Vec<Finding>) -> ModelSource {
    let mut usable = ModelSource::new();
    for (source_type, config) in source.iter() {
        match read_key(config, supervisor::current().as_ref()).await {
            Ok(config) => {
                if lacks_key(&config) {
                    findings.push(Finding::warning(
                        CHECK,
                        format!("{source_type}: there is no key; only endpoints of your own need none"),
                        format!("set MODEL_{}_APIKEY", source_type.as_str().to_uppercase()),
                    ));
                }
                usable.set_model(source_type, config);
            }
            Err(error) => findings.push(Finding::error(
                CHECK,
                format!("{source_type}: {}", ErrorChain::new(&error)),
                "correct the file or the command for the key",
            )),
        }
    }
    usable
}

fn lacks_key(config: &Arc<ModelConfig>) -> bool {
    config.base_url.is_some() && config.api_key.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingStatus;
    use super::*;

    fn statuses(sources: &CheckedSources) -> Vec<FindingStatus> {
        sources.findings.iter().map(|finding| finding.status).collect()
    }

    #[tokio::test]
    async fn named_file_is_read_strictly() {
        let sources = read(Some(Path::new("/nowhere/.env"))).await;
        assert_eq!(statuses(&sources), [FindingStatus::Error]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn readable_key_file_is_reported() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models.env");
        std::fs::write(&file, "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\nMODEL_CODE_APIKEY=sk-1\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let sources = read(Some(&file)).await;
        assert_eq!(statuses(&sources), [FindingStatus::Ok, FindingStatus::Warning]);
        assert!(sources.findings[1].fix.as_ref().unwrap().starts_with("chmod 600 "));
        mode(0o600);
        assert_eq!(statuses(&read(Some(&file)).await), [FindingStatus::Ok]);
        // A key file that the source names is checked too.
        let key = folder.path().join("key");
        std::fs::write(&key, "sk-1").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let text = "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\nMODEL_CODE_APIKEY_FILE=key\n";
        std::fs::write(&file, text).unwrap();
        let sources = read(Some(&file)).await;
        assert_eq!(statuses(&sources), [FindingStatus::Ok, FindingStatus::Warning]);
        assert!(sources.findings[1].message.contains("/key contains a key"), "{:?}", sources.findings);
    }

    #[tokio::test]
    async fn source_without_key_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models.env");
        let head = "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\n";
        std::fs::write(&file, head).unwrap();
        let sources = read(Some(&file)).await;
        assert_eq!(statuses(&sources), [FindingStatus::Ok, FindingStatus::Warning]);
        std::fs::write(&file, format!("{head}MODEL_CODE_APIKEY_FILE=none\n")).unwrap();
        let sources = read(Some(&file)).await;
        assert_eq!(statuses(&sources), [FindingStatus::Ok, FindingStatus::Error]);
        assert!(sources.source.is_empty());
    }
}
