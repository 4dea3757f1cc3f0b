//! Validates the request of a turn before any process is started.

use opencode_run_core::{
    Budget, FailureKind, ModelChoice, ModelParameter, ModelSourceType, Remedy, StartError, TurnRequest,
};
use std::path::Path;

/// Checks a request, and makes the paths of its files absolute. `has_gateway` is whether model sources are reached
/// through one.
///
/// # Errors
///
/// If the request is invalid, with a hint.
pub(crate) fn check(request: &mut TurnRequest, has_gateway: bool) -> Result<(), StartError> {
    let usage = |message: String| StartError::new(FailureKind::Usage, message);
    let prompt = &mut request.prompt;
    if prompt.message.trim().is_empty() {
        return Err(usage("the message is blank".to_owned()).hint("describe the task for the agent"));
    }
    let words =
        [("title", &prompt.options.title), ("agent", &prompt.options.agent), ("variant", &prompt.options.variant)];
    if let Some((name, _)) = words.iter().find(|(_, word)| word.as_ref().is_some_and(|word| word.contains('\0'))) {
        return Err(usage(format!("the {name} contains a NUL byte, which cannot be passed to a program")));
    }
    // An empty name differs from an absent one: `run` would pass it on, a server would ignore it.
    if let Some((name, _)) = words[1..].iter().find(|(_, word)| word.as_ref().is_some_and(String::is_empty)) {
        return Err(usage(format!("the {name} is empty")).hint(format!("set it to a name, or omit the {name}")));
    }
    if !request.task.directory.is_dir() {
        let message = format!("the task's directory {} no longer exists", request.task.directory.display());
        return Err(usage(message).hint("it was deleted or moved since: start a new task, or put it back"));
    }
    if request.task.directory.to_str().is_none() {
        return Err(err_wrong_directory(request, "opencode can only be given paths in UTF-8"));
    }
    let prompt = &mut request.prompt;
    for file in &mut prompt.files {
        let missing = |file: &Path, why: String| usage(format!("cannot attach {}: {why}", file.display()));
        // Checked before it is opened: opening a pipe waits for its writer.
        let metadata = std::fs::metadata(&*file).map_err(|error| missing(file, error.to_string()))?;
        if !metadata.is_file() {
            return Err(missing(file, "it is not a file".to_owned()));
        }
        std::fs::File::open(&*file).map_err(|error| missing(file, error.to_string()))?;
        *file = std::path::absolute(&*file).map_err(|error| missing(file, error.to_string()))?;
        if file.to_str().is_none() {
            return Err(missing(file, "opencode can only be given paths in UTF-8".to_owned()));
        }
    }
    if prompt.schema.is_some() && !cfg!(feature = "schema") {
        return Err(usage("an answer cannot be validated: this build lacks the feature `schema`".to_owned())
            .hint("omit the schema, or build with that feature"));
    }
    check_budget(prompt.options.budget(), prompt.options.model.as_ref(), has_gateway)?;
    if let Some(ModelChoice::Source { source, config }) = &prompt.options.model {
        let problems: Vec<String> =
            config.problems().iter().map(|problem| format!("{}: {problem}", problem.parameter)).collect();
        if !problems.is_empty() {
            let message = format!("the model source `{source}` cannot be used: {}", problems.join("; "));
            return Err(StartError::new(FailureKind::Config, message));
        }
        if config.top_k.is_some() && !has_gateway && !config.provider.carries(ModelParameter::TopK) {
            let message = format!("the model source `{source}` cannot be used: its provider's package drops TOP_K");
            return Err(StartError::new(FailureKind::Config, message).remedy(Remedy::RemoveParameterOrUseGateway));
        }
        if config.api_key_header.is_some() && !has_gateway {
            let message =
                format!("the model source `{source}` cannot be used: only the gateway sends its key in that header");
            return Err(StartError::new(FailureKind::Config, message).remedy(Remedy::UseGateway));
        }
    }
    Ok(())
}

/// Returns the error of a task whose directory opencode cannot work in.
pub(crate) fn err_wrong_directory(request: &TurnRequest, why: &str) -> StartError {
    let message = format!("cannot work in {}: {why}", request.task.directory.display());
    StartError::new(FailureKind::Usage, message).hint("rename the directory")
}

/// Checks that a turn's budget can be enforced.
///
/// # Errors
///
/// If the turn's usage cannot be metered, or has no price.
fn check_budget(budget: Budget, model: Option<&ModelChoice>, has_gateway: bool) -> Result<(), StartError> {
    match model {
        _ if budget.is_unlimited() => Ok(()),
        Some(ModelChoice::Source { source, config }) if has_gateway && config.base_url.is_some() => {
            let has_prices = config.price_input.is_some() && config.price_output.is_some();
            if budget.max_cost_usd.is_some() && !has_prices { Err(err_no_prices(*source)) } else { Ok(()) }
        }
        _ => Err(err_unmetered()),
    }
}

/// Returns the error for a limit on the cost of a source without prices.
pub(crate) fn err_no_prices(source: ModelSourceType) -> StartError {
    let message = format!("the model source `{source}` has no prices, so a limit on the cost cannot be enforced");
    StartError::new(FailureKind::Config, message).remedy(Remedy::SetPrices(source))
}

/// Returns the error for a budget without a route through the gateway.
pub(crate) fn err_unmetered() -> StartError {
    let message = "a limit on cost, requests or tokens can only be enforced for a model source with a base URL that is reached \
                   through the gateway";
    StartError::new(FailureKind::Config, message).remedy(Remedy::UseSourceWithGateway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Prompt, Task};

    #[test]
    fn empty_agent_or_variant_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let checked = |prompt: Prompt| {
            let mut request = TurnRequest::new(prompt, Task::new("t", directory.path()));
            check(&mut request, true).map_err(|error| error.to_string())
        };
        assert_eq!(checked(Prompt::new("m").agent("")), Err("the agent is empty".to_owned()));
        assert_eq!(checked(Prompt::new("m").variant("")), Err("the variant is empty".to_owned()));
        assert_eq!(checked(Prompt::new("m").context("").agent("a")), Ok(()));
    }
}
