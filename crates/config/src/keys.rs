//! The names of keys: our own, likely misspellings of them, and those of other programs.

use opencode_run_core::{ModelParameter, ModelSourceType};
use std::fmt;
use std::sync::LazyLock;

/// All keys with their spelling.
static KNOWN_KEYS: LazyLock<Vec<(String, EnvKey)>> =
    LazyLock::new(|| EnvKey::all().map(|key| (key.to_string(), key)).collect());

/// The maximum edit distance from a known key at which a name counts as a misspelling of it.
const MAX_EDIT_DISTANCE: usize = 2;

/// A key that a `.env` may set, such as `MODEL_CODE_TEMPERATURE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a key has a type and a setting and nothing else")]
pub struct EnvKey {
    /// The source of the setting.
    pub source_type: ModelSourceType,
    /// The setting, the last part of the key.
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

/// The owner of a key, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOwner {
    /// Exactly this key.
    Exactly(EnvKey),
    /// Probably a misspelling of this key.
    Similar(EnvKey),
    /// An unknown setting of a known type.
    UnknownSetting(ModelSourceType),
    /// A known setting without a type; with the type `default` it would be this key.
    NoType(EnvKey),
    /// A known setting of an unknown type.
    UnknownType,
    /// A key of another program.
    Foreign,
}

impl KeyOwner {
    /// Returns the key that is or may be meant.
    pub(crate) fn key(self) -> Option<EnvKey> {
        match self {
            Self::Exactly(key) | Self::Similar(key) | Self::NoType(key) => Some(key),
            Self::UnknownSetting(_) | Self::UnknownType | Self::Foreign => None,
        }
    }

    /// Returns the source that is ambiguous if the key is not used.
    pub(crate) fn source_type(self) -> Option<ModelSourceType> {
        match self {
            Self::Exactly(key) | Self::Similar(key) => Some(key.source_type),
            Self::UnknownSetting(source_type) => Some(source_type),
            Self::NoType(_) | Self::UnknownType | Self::Foreign => None,
        }
    }
}

/// Returns the owner of a key. The rules are in the crate's documentation.
pub(crate) fn owner_of(name: &str) -> KeyOwner {
    let spelt: String = name.to_ascii_uppercase().replace(['-', '.'], "_");
    if let Some((_, key)) = KNOWN_KEYS.iter().find(|(known, _)| *known == spelt) {
        return if spelt == name { KeyOwner::Exactly(*key) } else { KeyOwner::Similar(*key) };
    }
    if let Some(key) = most_similar(&spelt) {
        return KeyOwner::Similar(key);
    }
    let Some(rest) = spelt.strip_prefix("MODEL_") else { return KeyOwner::Foreign };
    for source_type in ModelSourceType::ALL {
        match rest.strip_prefix(&capitals(source_type)) {
            Some("") => return KeyOwner::Similar(EnvKey { source_type, parameter: ModelParameter::Model }),
            Some(setting) if setting.starts_with('_') => return KeyOwner::UnknownSetting(source_type),
            _ => {}
        }
    }
    let bare = |text: &str| text.replace('_', "");
    if let Some(parameter) = ModelParameter::ALL.into_iter().find(|setting| bare(setting.suffix()) == bare(rest)) {
        return KeyOwner::NoType(EnvKey { source_type: ModelSourceType::Default, parameter });
    }
    let of_unknown_type = ModelParameter::ALL.iter().any(|setting| {
        let word = rest.strip_suffix(setting.suffix()).and_then(|word| word.strip_suffix('_'));
        word.is_some_and(|word| !word.is_empty() && !word.contains('_'))
    });
    if of_unknown_type { KeyOwner::UnknownType } else { KeyOwner::Foreign }
}

/// Returns the owner of a line that is not `KEY=VALUE`, by the key that it seems to be about.
pub(crate) fn owner_of_line(line: &str) -> KeyOwner {
    let line = line.trim_start();
    let line = line.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or(line);
    let word = line.trim_start().split(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).next();
    match owner_of(word.unwrap_or_default()) {
        KeyOwner::Foreign => key_in_text(line).map_or(KeyOwner::Foreign, KeyOwner::Similar),
        owner => owner,
    }
}

/// Returns a key of ours that occurs in a text.
fn key_in_text(text: &str) -> Option<EnvKey> {
    if !text.contains("MODEL_") {
        return None;
    }
    KNOWN_KEYS.iter().find(|(known, _)| text.contains(known)).map(|(_, key)| *key)
}

/// Returns the most similar known key within the maximum edit distance.
fn most_similar(spelt: &str) -> Option<EnvKey> {
    KNOWN_KEYS
        .iter()
        // A name of another length cannot be similar, and measuring a name of a megabyte would take seconds.
        .filter(|(known, _)| known.len().abs_diff(spelt.len()) <= MAX_EDIT_DISTANCE)
        .map(|(known, key)| (strsim::damerau_levenshtein(known, spelt), *key))
        .filter(|(edits, _)| *edits <= MAX_EDIT_DISTANCE)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, key)| key)
}

/// Returns a type as it is spelt in a key.
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
    fn known_keys_are_recognised() {
        assert_eq!(EnvKey::all().count(), 75);
        for key in EnvKey::all() {
            assert_eq!(owner_of(&key.to_string()), KeyOwner::Exactly(key));
            assert_eq!(owner_of(&key.to_string().to_lowercase()), KeyOwner::Similar(key));
            assert_eq!(owner_of(&key.to_string().replacen("MODEL", "MODLE", 1)), KeyOwner::Similar(key));
        }
    }

    #[test]
    fn misspelt_keys_are_recognised() {
        use ModelParameter as P;
        use ModelSourceType as T;
        for (name, meaning) in [
            ("MODEL_CDOE_MODEL", KeyOwner::Similar(key(T::Code, P::Model))),
            ("MODEL_CODE_TEMPRATURE", KeyOwner::Similar(key(T::Code, P::Temperature))),
            ("MODEL_CODE_BASE_URL", KeyOwner::Similar(key(T::Code, P::BaseUrl))),
            ("MODEL_CODE_API_KEY", KeyOwner::Similar(key(T::Code, P::ApiKey))),
            ("MODELS_DEFUALT_MODEL", KeyOwner::Similar(key(T::Default, P::Model))),
            ("model-think-top-p", KeyOwner::Similar(key(T::Think, P::TopP))),
            ("MODEL_PLAN", KeyOwner::Similar(key(T::Plan, P::Model))),
            ("MODEL_CODE_URL", KeyOwner::UnknownSetting(T::Code)),
            ("MODEL_WRITE_FREQUENCY_PENALTY", KeyOwner::UnknownSetting(T::Write)),
            ("MODEL_CODE_APIKEY_FIEL", KeyOwner::Similar(key(T::Code, P::ApiKeyFile))),
            ("MODEL_CODE_APIKEY_URL", KeyOwner::UnknownSetting(T::Code)),
            ("MODEL_API_KEY", KeyOwner::NoType(key(T::Default, P::ApiKey))),
            ("MODEL_MAX_TOKENS", KeyOwner::NoType(key(T::Default, P::MaxTokens))),
            ("MODEL_REVIEW_BASEURL", KeyOwner::UnknownType),
        ] {
            assert_eq!(owner_of(name), meaning, "{name}");
        }
    }

    #[test]
    fn foreign_keys_are_ignored() {
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
            assert_eq!(owner_of(name), KeyOwner::Foreign, "{name}");
        }
        assert_eq!(owner_of(&"M".repeat(1 << 20)), KeyOwner::Foreign);
    }

    #[test]
    fn malformed_line_may_mention_known_key() {
        for line in
            ["MODEL_CODE_MODEL gpt", "export  MODEL_CODE_MODEL: x", "set MODEL_CODE_MODEL=x", "MODEL-CODE-MODEL=x"]
        {
            assert_eq!(
                owner_of_line(line).key().map(|key| key.to_string()).as_deref(),
                Some("MODEL_CODE_MODEL"),
                "{line}"
            );
        }
        assert_eq!(owner_of_line("if [ -f x ]; then"), KeyOwner::Foreign);
    }
}
