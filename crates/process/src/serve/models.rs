//! Errors for models and variants that a server does not have.

use crate::protocol::KnownModel;
use crate::suggestions;
use opencode_run_core::{FailureKind, Remedy, StartError};

/// Returns the error for a model that the server does not have, in opencode's words, with suggestions.
pub(super) fn err_no_model(model: &str, there: &[KnownModel]) -> StartError {
    let near = suggestions(model, there.iter().map(|known| known.name.as_str())).join(", ");
    let near = if near.is_empty() { near } else { format!(". Did you mean: {near}?") };
    StartError::new(FailureKind::ModelNotFound, format!("Model not found: {model}{near}")).remedy(Remedy::ListModels)
}

/// Returns the requested variant and the available ones if it is not one of them. If the variants are unknown, any is
/// accepted.
pub(super) fn missing_variant<'v>(
    variants: Option<&'v [String]>,
    wanted: Option<&'v str>,
) -> Option<(&'v str, &'v [String])> {
    let wanted = wanted?;
    let variants = variants?;
    let is_there = wanted.is_empty() || variants.iter().any(|variant| variant == wanted);
    (!is_there).then_some((wanted, variants))
}

/// Returns the error for a variant that a model does not have, with the variants that it has.
pub(super) fn err_no_variant(model: &str, wanted: &str, variants: &[String]) -> StartError {
    let mut variants = variants.to_vec();
    variants.sort_unstable();
    let (has, hint) = match variants.as_slice() {
        [] => ("it has no variants".to_owned(), "omit the variant"),
        variants => (format!("it has {}", variants.join(", ")), "choose one of these, or omit the variant"),
    };
    StartError::new(FailureKind::Usage, format!("the model {model} has no variant `{wanted}`: {has}")).hint(hint)
}
