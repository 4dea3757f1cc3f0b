//! Suggestions for mistyped names.

/// The maximum number of suggested names.
const MAX_SUGGESTIONS: usize = 3;
/// The minimum similarity of two names, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.5;

/// Returns at most three known names that are similar to an unknown one, the most similar first.
///
/// The model part of `provider/model` is also compared alone, since the provider is easily mistaken.
pub fn suggestions<'n>(wanted: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let mut alike: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (similarity(wanted, name), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    alike.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
    alike.truncate(MAX_SUGGESTIONS);
    alike.into_iter().map(|(_, name)| name).collect()
}

fn similarity(wanted: &str, name: &str) -> f64 {
    let wanted = wanted.to_lowercase();
    let name = name.to_lowercase();
    let alike = |a: &str, b: &str| {
        let distance = strsim::normalized_damerau_levenshtein(a, b);
        // A name with or without a trailing date.
        let shorter = a.len().min(b.len());
        if shorter >= 4 && (a.starts_with(b) || b.starts_with(a)) { distance.max(0.8) } else { distance }
    };
    let model = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    // The whole names decide between two providers of the same model.
    alike(&wanted, &name).max(0.9 * alike(&model(&wanted), &model(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "anthropic/claude-opus-4-1",
        "anthropic/claude-sonnet-4-5",
        "anthropic/claude-sonnet-4-5-20250929",
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
        "opencode/claude-sonnet-4-5",
    ];

    #[test]
    fn most_similar_name_comes_first() {
        let of = |wanted| suggestions(wanted, KNOWN);
        assert_eq!(of("openai/gtp-4o")[0], "openai/gpt-4o");
        assert_eq!(of("openai/GPT-4o")[0], "openai/gpt-4o");
        assert_eq!(of("openrouter/gpt-4o-mini")[0], "openai/gpt-4o-mini");
        assert_eq!(of("opencode/claude-sonet-4.5")[0], "opencode/claude-sonnet-4-5");
        assert_eq!(
            of("anthropic/claude-sonnet")[..2],
            ["anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929"]
        );
        assert!(of("anthropic/claude").len() <= MAX_SUGGESTIONS);
    }

    #[test]
    fn dissimilar_names_are_not_suggested() {
        assert_eq!(suggestions("nope/x", KNOWN), Vec::<&str>::new());
        assert_eq!(suggestions("x", []), Vec::<&str>::new());
        assert_eq!(suggestions("", KNOWN), Vec::<&str>::new());
    }
}
