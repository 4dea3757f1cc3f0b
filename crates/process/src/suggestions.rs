//! Names that somebody may have meant.

/// How many names are offered.
const MAX_SUGGESTIONS: usize = 3;
/// How much alike two names have to be, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.5;

/// Returns the names that are most like one that is not there, the nearest first: three at most, and none that is far from it.
///
/// Of `provider/model` the model counts alone as well, since its provider is what is easily mistaken.
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
    let (wanted, name) = (wanted.to_lowercase(), name.to_lowercase());
    let alike = |a: &str, b: &str| {
        let distance = strsim::normalized_damerau_levenshtein(a, b);
        // A name with a date behind it, or without it.
        let shorter = a.len().min(b.len());
        if shorter >= 4 && (a.starts_with(b) || b.starts_with(a)) { distance.max(0.8) } else { distance }
    };
    let model = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    // The whole names decide between two of the same model.
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
    fn the_nearest_come_first() {
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
    fn what_is_far_is_not_offered() {
        assert_eq!(suggestions("nope/x", KNOWN), Vec::<&str>::new());
        assert_eq!(suggestions("x", []), Vec::<&str>::new());
        assert_eq!(suggestions("", KNOWN), Vec::<&str>::new());
    }
}
