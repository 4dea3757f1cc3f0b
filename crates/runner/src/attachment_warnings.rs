//! Warnings about attached files.

use opencode_run_core::{InputType, ModelChoice, Warning, WarningCode};
use std::path::Path;

/// Returns the warnings about attached files that the model does not get. Images and PDFs are only checked for model
/// sources with a base URL.
#[must_use]
pub fn attachment_warnings<'f>(files: impl IntoIterator<Item = &'f Path>, model: Option<&ModelChoice>) -> Vec<Warning> {
    let inputs = match model {
        Some(ModelChoice::Source { source, config }) if config.base_url.is_some() => Some((source, &config.input)),
        _ => None,
    };
    let warning = |file: &'f Path| {
        let name = file.file_name().unwrap_or(file.as_os_str()).display();
        let (kind, needed) = match Attachment::of(file)? {
            Attachment::Text => return None,
            Attachment::Image => ("an image", InputType::Image),
            Attachment::Pdf => ("a PDF", InputType::Pdf),
            Attachment::Binary => {
                let message = format!("{name} is neither text, an image nor a PDF: the model does not get its content");
                let warning = Warning::new(WarningCode::AttachmentNotSent, message);
                return Some(warning.hint("let the agent convert it, or attach it as text"));
            }
        };
        let (source, accepted) = inputs?;
        let accepted = accepted.as_deref().unwrap_or(&[InputType::Text]);
        (!accepted.contains(&needed)).then(|| {
            let message = format!("{name} is {kind}, which the model source `{source}` does not accept");
            let role = source.as_str().to_uppercase();
            let inputs: Vec<_> = accepted.iter().chain([&needed]).map(ToString::to_string).collect();
            let hint = format!("if the model accepts it, set MODEL_{role}_INPUT={}", inputs.join(","));
            Warning::new(WarningCode::AttachmentNotSent, message).hint(hint)
        })
    };
    files.into_iter().filter_map(warning).collect()
}

/// The kind of an attached file, by its first bytes.
enum Attachment {
    Text,
    Image,
    Pdf,
    Binary,
}

impl Attachment {
    /// Reads the beginning of a file. `None` if it cannot be read.
    fn of(file: &Path) -> Option<Self> {
        use std::io::Read;
        let mut start = Vec::new();
        std::fs::File::open(file).ok()?.take(8 << 10).read_to_end(&mut start).ok()?;
        let is_image = [&b"\x89PNG\r\n"[..], b"\xff\xd8\xff", b"GIF8"].iter().any(|magic| start.starts_with(magic))
            || (start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP"));
        Some(if is_image {
            Self::Image
        } else if start.starts_with(b"%PDF-") {
            Self::Pdf
        } else if start.contains(&0) {
            Self::Binary
        } else {
            Self::Text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{ModelConfig, ModelSourceType};

    #[test]
    fn attachment_warns_unless_model_accepts_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let files = [
            file("a.png", b"\x89PNG\r\n\x1a\n\0"),
            file("b.pdf", b"%PDF-1.7"),
            file("c.bin", b"a\0"),
            file("d.txt", b"a"),
        ];
        let warnings = |input: Option<Vec<InputType>>| {
            let config = ModelConfig { base_url: Some("https://x/v1".to_owned()), input, ..ModelConfig::new("m") };
            let model = ModelChoice::Source { source: ModelSourceType::Code, config: config.into() };
            attachment_warnings(files.iter().map(std::path::PathBuf::as_path), Some(&model))
        };
        let of = |input| {
            warnings(input)
                .into_iter()
                .map(|warning| warning.message.split(' ').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(None), ["a.png", "b.pdf", "c.bin"]);
        assert_eq!(of(Some(vec![InputType::Text, InputType::Image])), ["b.pdf", "c.bin"]);
        assert_eq!(of(Some(vec![InputType::Image, InputType::Pdf])), ["c.bin"]);
        let hint = warnings(Some(vec![InputType::Text, InputType::Image])).swap_remove(0).hint.unwrap();
        assert!(hint.ends_with("MODEL_CODE_INPUT=text,image,pdf"), "{hint}");
    }
}
