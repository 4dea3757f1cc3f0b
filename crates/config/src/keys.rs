//! The names of the keys: which are ours, which are nearly ours, which are another program's.

use opencode_run_core::{ModelParameter, ModelSourceType};
use std::fmt;
use std::sync::LazyLock;

/// All keys and how each is written.
static KNOWN: LazyLock<Vec<(String, EnvKey)>> =
    LazyLock::new(|| EnvKey::all().map(|key| (key.to_string(), key)).collect());

/// How many edits a key may be from one of ours and still count as meant for us.
const NEAR: usize = 2;

/// A key that a `.env` may set, such as `MODEL_CODE_TEMPERATURE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a key has a type and a setting and nothing else")]
pub struct EnvKey {
    /// The source that it is about.
    pub source_type: ModelSourceType,
    /// The setting of that source.
    pub parameter: ModelParameter,
}

impl EnvKey {
    /// Returns all keys, by type and then by setting.
    pub fn all() -> impl Iterator<Item = Self> {
        ModelSourceType::ALL.into_iter().flat_map(|source_type| {
            ModelParameter::ALL.into_iter().map(move |parameter| Self { source_type, parameter })
        })
    }
}

impl fmt::Display for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MODEL_{}_{}", capitals(self.source_type), self.parameter)
    }
}

/// What a key's name says about whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    /// It is this key.
    Exactly(EnvKey),
    /// It is nearly this key.
    Nearly(EnvKey),
    /// It is of a known type and of no known setting.
    UnknownSetting(ModelSourceType),
    /// It is a known setting of no type; with `default` it would be this key.
    NoType(EnvKey),
    /// It is a known setting of an unknown type.
    UnknownType,
    /// It is another program's.
    Foreign,
}

impl Meant {
    /// Returns the key that is or may be meant.
    pub(crate) fn key(self) -> Option<EnvKey> {
        match self {
            Self::Exactly(key) | Self::Nearly(key) | Self::NoType(key) => Some(key),
            Self::UnknownSetting(_) | Self::UnknownType | Self::Foreign => None,
        }
    }

    /// Returns the source that is in doubt when the key is not used.
    pub(crate) fn source_type(self) -> Option<ModelSourceType> {
        match self {
            Self::Exactly(key) | Self::Nearly(key) => Some(key.source_type),
            Self::UnknownSetting(source_type) => Some(source_type),
            Self::NoType(_) | Self::UnknownType | Self::Foreign => None,
        }
    }
}

/// Tells whose a key is by its name. The rule is written down in the crate's documentation.
pub(crate) fn meant(name: &str) -> Meant {
    let spelt: String = name.to_ascii_uppercase().replace(['-', '.'], "_");
    if let Some((_, key)) = KNOWN.iter().find(|(known, _)| *known == spelt) {
        return if spelt == name { Meant::Exactly(*key) } else { Meant::Nearly(*key) };
    }
    if let Some(key) = nearest(&spelt) {
        return Meant::Nearly(key);
    }
    let Some(rest) = spelt.strip_prefix("MODEL_") else { return Meant::Foreign };
    for source_type in ModelSourceType::ALL {
        match rest.strip_prefix(&capitals(source_type)) {
            Some("") => return Meant::Nearly(EnvKey { source_type, parameter: ModelParameter::Model }),
            Some(setting) if setting.starts_with('_') => return Meant::UnknownSetting(source_type),
            _ => {}
        }
    }
    let bare = |text: &str| text.replace('_', "");
    if let Some(parameter) = ModelParameter::ALL.into_iter().find(|setting| bare(setting.suffix()) == bare(rest)) {
        return Meant::NoType(EnvKey { source_type: ModelSourceType::Default, parameter });
    }
    let of_unknown_type = ModelParameter::ALL.iter().any(|setting| {
        let word = rest.strip_suffix(setting.suffix()).and_then(|word| word.strip_suffix('_'));
        word.is_some_and(|word| !word.is_empty() && !word.contains('_'))
    });
    if of_unknown_type { Meant::UnknownType } else { Meant::Foreign }
}

/// Returns the key that a line which is no `KEY=VALUE` seems to be about.
pub(crate) fn meant_by_line(line: &str) -> Meant {
    let line = line.trim_start();
    let line = line.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or(line);
    let word = line.trim_start().split(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).next();
    match meant(word.unwrap_or_default()) {
        Meant::Foreign => mentioned(line).map_or(Meant::Foreign, Meant::Nearly),
        meant => meant,
    }
}

/// Returns a key of ours that stands somewhere in a text.
fn mentioned(text: &str) -> Option<EnvKey> {
    if !text.contains("MODEL_") {
        return None;
    }
    KNOWN.iter().find(|(known, _)| text.contains(known)).map(|(_, key)| *key)
}

/// Returns the known key that is the fewest edits away, if they are few.
fn nearest(spelt: &str) -> Option<EnvKey> {
    KNOWN
        .iter()
        // A name of another length is not near, and to measure one of a megabyte would cost seconds.
        .filter(|(known, _)| known.len().abs_diff(spelt.len()) <= NEAR)
        .map(|(known, key)| (strsim::damerau_levenshtein(known, spelt), *key))
        .filter(|(edits, _)| *edits <= NEAR)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, key)| key)
}

/// Returns a type as it stands in a key.
pub(crate) fn capitals(source_type: ModelSourceType) -> String {
    source_type.as_str().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source_type: ModelSourceType, parameter: ModelParameter) -> EnvKey {
        EnvKey { source_type, parameter }
    }

    #[test]
    fn our_keys_are_ours() {
        assert_eq!(EnvKey::all().count(), 70);
        for key in EnvKey::all() {
            assert_eq!(meant(&key.to_string()), Meant::Exactly(key));
            assert_eq!(meant(&key.to_string().to_lowercase()), Meant::Nearly(key));
            assert_eq!(meant(&key.to_string().replacen("MODEL", "MODLE", 1)), Meant::Nearly(key));
        }
    }

    #[test]
    fn near_misses_are_meant_for_us() {
        use ModelParameter as P;
        use ModelSourceType as T;
        for (name, meaning) in [
            ("MODEL_CDOE_MODEL", Meant::Nearly(key(T::Code, P::Model))),
            ("MODEL_CODE_TEMPRATURE", Meant::Nearly(key(T::Code, P::Temperature))),
            ("MODEL_CODE_BASE_URL", Meant::Nearly(key(T::Code, P::BaseUrl))),
            ("MODEL_CODE_API_KEY", Meant::Nearly(key(T::Code, P::ApiKey))),
            ("MODELS_DEFUALT_MODEL", Meant::Nearly(key(T::Default, P::Model))),
            ("model-think-top-p", Meant::Nearly(key(T::Think, P::TopP))),
            ("MODEL_PLAN", Meant::Nearly(key(T::Plan, P::Model))),
            ("MODEL_CODE_URL", Meant::UnknownSetting(T::Code)),
            ("MODEL_WRITE_FREQUENCY_PENALTY", Meant::UnknownSetting(T::Write)),
            ("MODEL_CODE_APIKEY_FIEL", Meant::Nearly(key(T::Code, P::ApiKeyFile))),
            ("MODEL_CODE_APIKEY_URL", Meant::UnknownSetting(T::Code)),
            ("MODEL_API_KEY", Meant::NoType(key(T::Default, P::ApiKey))),
            ("MODEL_MAX_TOKENS", Meant::NoType(key(T::Default, P::MaxTokens))),
            ("MODEL_REVIEW_BASEURL", Meant::UnknownType),
        ] {
            assert_eq!(meant(name), meaning, "{name}");
        }
    }

    #[test]
    fn what_is_another_programs_is_left_to_it() {
        for name in [
            "MODEL_PATH",
            "MODEL_NAME",
            "MODEL_MODE",
            "MODEL_CONTENT",
            "MODEL",
            "MODEL_",
            "OPENAI_API_KEY",
            "PATH",
            "",
            "MODEL_CODEC",
            "MODEL_PLANET_SIZE",
            "MODEL_OUTPUT_DIR_CONTEXT",
            "CODE_MODEL",
            "DATABASE_URL",
        ] {
            assert_eq!(meant(name), Meant::Foreign, "{name}");
        }
        assert_eq!(meant(&"M".repeat(1 << 20)), Meant::Foreign);
    }

    #[test]
    fn a_line_that_sets_nothing_may_still_be_about_us() {
        for line in
            ["MODEL_CODE_MODEL gpt", "export  MODEL_CODE_MODEL: x", "set MODEL_CODE_MODEL=x", "MODEL-CODE-MODEL=x"]
        {
            assert_eq!(
                meant_by_line(line).key().map(|key| key.to_string()).as_deref(),
                Some("MODEL_CODE_MODEL"),
                "{line}"
            );
        }
        assert_eq!(meant_by_line("if [ -f x ]; then"), Meant::Foreign);
    }
}
