//! Lists the usable models: those of the model sources and opencode's own.

use crate::advice::sentence;
use crate::args::{ModelsArgs, ReportFormat};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::models::read_from;
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use opencode_run_process::{Launch, known_models};
use opencode_runner::ModelSource;
use opencode_runner::locate_opencode;
use opencode_runner::supervisor;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// The usable models.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Usable {
    sources: Vec<Source>,
    /// The values for `--model`.
    models: Vec<String>,
}

/// A model source.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Source {
    /// The value for `--model-source-type`.
    #[serde(rename = "type")]
    kind: String,
    model: String,
    /// The host of its endpoint; `None` for a model that opencode knows.
    host: Option<String>,
    provider: String,
}

/// Prints the usable models, one per line with the option that selects it.
pub(crate) async fn models(args: &ModelsArgs, console: Console) -> Code {
    match usable(args, console).await {
        Ok(usable) => {
            let printed = super::print::print(args.output_format.text_kind(), |out| match args.output_format {
                ReportFormat::Json => writeln!(out, "{}", serde_json::to_string(&usable)?),
                ReportFormat::Text => write_text(out, &usable),
            });
            printed.await
        }
        Err(error) => {
            Console::error(&error);
            Code::of_kind(error.kind)
        }
    }
}

async fn usable(args: &ModelsArgs, console: Console) -> Result<Usable, CommandError> {
    let directory = args.dir.as_deref().unwrap_or(Path::new("."));
    let directory = directory.canonicalize().ok().filter(|directory| directory.is_dir()).ok_or_else(|| {
        CommandError::usage(format!("{} is not a directory", directory.display())).hint("name a directory that exists")
    })?;
    let config = args.config.clone();
    let no_env = args.no_env;
    // Blocking: the file may be a pipe without a writer.
    let read = tokio::task::spawn_blocking(move || read_from(config.as_deref(), no_env, false, console)).await;
    let sources = sources(&read.map_err(|error| CommandError::of(FailureKind::Io, &error))??.source);
    let variables: Vec<_> = std::env::vars_os().collect();
    let opencode = locate_opencode(args.opencode.clone(), &variables, supervisor::current())
        .await
        .map_err(|error| CommandError::new(FailureKind::Opencode, error.to_string()).hint(sentence(&error.remedy())))?;
    let models = known_models(&Launch::new(opencode, variables).supervised_by(supervisor::current()), &directory)
        .await
        .map_err(|error| CommandError::of(FailureKind::Opencode, &error))?;
    Ok(Usable { sources, models })
}

fn sources(sources: &ModelSource) -> Vec<Source> {
    let source = |summary: opencode_run_config::SourceSummary<'_>| Source {
        kind: summary.source_type.to_string(),
        model: summary.model.to_owned(),
        host: summary.host.map(str::to_owned),
        provider: summary.provider.to_string(),
    };
    sources.summaries().map(source).collect()
}

fn write_text(out: &mut dyn Write, usable: &Usable) -> std::io::Result<()> {
    for source in &usable.sources {
        let place = source.host.as_ref().map(|host| format!(" at {host}")).unwrap_or_default();
        writeln!(out, "--model-source-type {}    {}{}", source.kind, visible(&source.model), visible(&place))?;
    }
    usable.models.iter().try_for_each(|model| writeln!(out, "--model {}", visible(model)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{ModelConfig, ModelSourceType};

    #[test]
    fn each_model_is_listed_with_its_option() {
        let config = ModelConfig { base_url: Some("https://x:1/v1".to_owned()), ..ModelConfig::new("large") };
        let source = [(ModelSourceType::Code, config)].into_iter().collect();
        let usable = Usable { sources: sources(&source), models: vec!["a/b".to_owned(), "a/\u{1b}c".to_owned()] };
        let mut text = Vec::new();
        write_text(&mut text, &usable).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "--model-source-type code    large at x:1\n--model a/b\n--model a/␛c\n"
        );
    }
}
