//! Decides whether an auto-discovered file of model sources in the current directory is used.
//!
//! The provider of a model determines the commands that the agent runs. A repository, an archive or another user
//! may have put the file there, so it is used without confirmation only if nothing indicates that.

use super::allowed::{Allowed, AllowedFiles};
use opencode_run_config::{DiscoveredEnvFile, MAX_FILE_BYTES};
use opencode_run_core::ModelConfig;
use opencode_run_process::{find_untrusted, tracking_reason};
use opencode_runner::ModelSource;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// An auto-discovered file. It is read once, so that the checked content is the used content.
#[derive(Debug)]
pub(crate) struct FoundFile {
    name: PathBuf,
    pub(crate) identity: Allowed,
    metadata: Metadata,
    pub(crate) content: DiscoveredEnvFile,
}

/// Whether an auto-discovered file is used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The user allowed the file with this content.
    Allowed,
    /// The file appears to be the user's own.
    Own,
    /// The user must allow the file first, for this reason.
    Unclear(String),
}

impl FoundFile {
    /// Reads a file; `None` if it is absent or not a regular file.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read.
    pub(crate) fn read(name: &Path) -> io::Result<Option<Self>> {
        if !name.is_file() {
            return Ok(None);
        }
        let mut file = open(name)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let identity = Allowed::new(&place(name)?, &bytes);
        let content = ModelSource::from_discovered_env_bytes(name, bytes);
        Ok(Some(Self { name: name.to_owned(), identity, metadata, content }))
    }

    /// Returns a summary of its sources: one line without secrets.
    pub(crate) fn summary(&self) -> String {
        let sources: Vec<String> = self.content.source.summaries().map(|summary| summary.to_string()).collect();
        sources.join("; ")
    }

    /// Decides whether it is used.
    pub(crate) async fn trust(&self) -> Trust {
        if AllowedFiles::of_user().is_some_and(|allowed| allowed.has(&self.identity)) {
            return Trust::Allowed;
        }
        match self.doubt().await {
            Some(reason) => Trust::Unclear(reason),
            None => Trust::Own,
        }
    }

    async fn doubt(&self) -> Option<String> {
        if is_foreign(&self.metadata) {
            return Some("it belongs to another user".to_owned());
        }
        if let Some(untrusted) = find_untrusted(&self.name) {
            return Some(untrusted.to_string());
        }
        if let Some(reason) = tracking_reason(&self.name).await {
            return Some(reason);
        }
        let (source, _) = self.content.source.iter().find(|(_, config)| is_keyless_and_remote(config))?;
        Some(format!("its model source `{source}` uses another machine without a key"))
    }
}

/// Returns the path of a file with symbolic links in its directory resolved. The file itself may be a link.
pub(crate) fn place(file: &Path) -> io::Result<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(folder.canonicalize()?.join(name))
}

/// Opens a file without blocking, in case it has become a pipe.
fn open(name: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    options.open(name)
}

#[cfg(unix)]
fn is_foreign(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid())
}

#[cfg(not(unix))]
fn is_foreign(_: &Metadata) -> bool {
    false
}

/// Returns whether a source uses another machine without a key, which the user's own sources would have.
fn is_keyless_and_remote(config: &ModelConfig) -> bool {
    let has_key = config.api_key.is_some() || config.api_key_file.is_some() || config.api_key_command.is_some();
    config.base_url.as_deref().is_some_and(|url| !has_key && !is_loopback(url))
}

fn is_loopback(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised() {
        for (url, expected) in [
            ("http://127.0.0.1:8000/v1", true),
            ("http://LocalHost/v1", true),
            ("http://[::1]:1/", true),
            ("http://localhost.example.com/v1", false),
            ("http://localhost@example.com/v1", false),
            ("http://example.com#@localhost/", false),
            ("http://127.0.0.1.example.com", false),
            ("localhost", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn suspicious_file_needs_permission() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join(".env");
        let trust = async |text: &str| {
            std::fs::write(&file, text).unwrap();
            FoundFile::read(&file).unwrap().unwrap().trust().await
        };
        let keyless = "MODEL_CODE_BASEURL=https://x.example/v1\nMODEL_CODE_MODEL=m\n";
        assert_eq!(trust(&format!("{keyless}MODEL_CODE_APIKEY=sk-1\n")).await, Trust::Own);
        assert!(matches!(trust(keyless).await, Trust::Unclear(why) if why.contains("`code`")));
        assert_eq!(trust(&keyless.replace("https://x.example", "http://127.0.0.1:1")).await, Trust::Own);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(trust("MODEL_CODE_MODEL=a/b\n").await, Trust::Unclear(why) if why.contains("can write")));
    }

    #[test]
    fn directory_and_absent_file_are_not_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FoundFile::read(folder.path()).unwrap().is_none());
        assert!(FoundFile::read(&folder.path().join("none")).unwrap().is_none());
    }
}
