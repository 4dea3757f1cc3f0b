//! The fields of a task by their names and aliases, and the detection of mistyped names.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A field of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the field of that name")]
pub enum Field {
    Id,
    Message,
    Dir,
    Repo,
    Ref,
    Subdir,
    TaskName,
    Model,
    ModelSourceType,
    Context,
    Agent,
    Files,
    JsonSchema,
    Timeout,
    IdleTimeout,
    Permission,
    Priority,
    Setup,
    Check,
    CheckFiles,
    Artifacts,
    Metadata,
}

/// All names of all fields; the first one of a field is its canonical name.
const NAMES: [(&str, Field); 35] = [
    ("id", Field::Id),
    ("instance_id", Field::Id),
    ("task_id", Field::Id),
    ("message", Field::Message),
    ("messages", Field::Message),
    ("prompt", Field::Message),
    ("problem_statement", Field::Message),
    ("instruction", Field::Message),
    ("input", Field::Message),
    ("dir", Field::Dir),
    ("workdir", Field::Dir),
    ("cwd", Field::Dir),
    ("repo", Field::Repo),
    ("repo_name", Field::Repo),
    ("git_url", Field::Repo),
    ("ref", Field::Ref),
    ("base_commit", Field::Ref),
    ("subdir", Field::Subdir),
    ("task_name", Field::TaskName),
    ("model", Field::Model),
    ("model_source_type", Field::ModelSourceType),
    ("context", Field::Context),
    ("system_prompt", Field::Context),
    ("agent", Field::Agent),
    ("files", Field::Files),
    ("json_schema", Field::JsonSchema),
    ("timeout", Field::Timeout),
    ("idle_timeout", Field::IdleTimeout),
    ("permission", Field::Permission),
    ("priority", Field::Priority),
    ("setup", Field::Setup),
    ("check", Field::Check),
    ("check_files", Field::CheckFiles),
    ("artifacts", Field::Artifacts),
    ("metadata", Field::Metadata),
];

impl Field {
    /// Returns the field of a name, which may be an alias.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// Returns the field's canonical name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }
}

/// Returns the known name that an unknown name is probably a misspelling of.
pub(super) fn near_miss(name: &str) -> Option<&'static str> {
    let plain = name.trim().to_lowercase().replace(['-', ' '], "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&plain, known);
    // Too many other names differ from a short name by one letter.
    let allowed = match plain.len() {
        0..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    let nearest = NAMES.iter().map(|(known, _)| (distance(known), *known)).min()?;
    (nearest.0 <= allowed).then_some(nearest.1)
}

/// The unparsed fields of a task, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct RawFields<'a>(pub(crate) Vec<(Cow<'a, str>, RawField<'a>)>);

/// The value of a field.
#[derive(Debug, Clone)]
pub(crate) enum RawField<'a> {
    /// Unparsed JSON.
    Json(&'a RawValue),
    /// A cell of a table, which has no type.
    Cell(Cow<'a, str>),
    /// A parsed value.
    Value(Value),
}

impl RawFields<'_> {
    /// Returns the value of the field of this name as a text: a string as it is, everything else as JSON.
    pub(crate) fn text(&self, name: &str) -> Option<Result<String, String>> {
        let (_, field) = self.0.iter().find(|(known, _)| known == name)?;
        Some(field.value().map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        }))
    }
}

impl RawField<'_> {
    /// Returns the value. Half of a UTF-16 surrogate pair in a string is replaced.
    pub(crate) fn value(&self) -> Result<Value, String> {
        match self {
            Self::Json(raw) => match serde_json::from_str(raw.get()) {
                Ok(value) => Ok(value),
                // A string that a JavaScript program truncated within a character is valid JSON.
                Err(error) => match serde_json::from_str::<LossyText>(raw.get()) {
                    Ok(LossyText(text)) => Ok(Value::String(text)),
                    Err(_) => Err(error.to_string()),
                },
            },
            Self::Cell(text) => Ok(Value::String(text.clone().into_owned())),
            Self::Value(value) => Ok(value.clone()),
        }
    }

    /// Returns whether this is certainly a text that is not blank, without parsing it.
    pub(crate) fn is_text_at_a_glance(&self) -> bool {
        match self {
            Self::Json(raw) => {
                let text = raw.get().as_bytes();
                text.first() == Some(&b'"') && text.get(1).is_some_and(u8::is_ascii_alphanumeric)
            }
            Self::Cell(text) => text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric),
            Self::Value(_) => false,
        }
    }
}

/// A JSON string in which half of a surrogate pair is replaced by U+FFFD.
struct LossyText(String);

impl<'de> Deserialize<'de> for LossyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = LossyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<LossyText, E> {
                Ok(LossyText(String::from_utf8_lossy(bytes).into_owned()))
            }

            fn visit_str<E>(self, text: &str) -> Result<LossyText, E> {
                Ok(LossyText(text.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the fields of a task")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, RawField::Json(map.next_value()?)));
                }
                Ok(RawFields(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The name of a field, borrowed if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_name_finds_its_field() {
        for (wrong, right) in [
            ("promt", "prompt"),
            ("Prompt", "prompt"),
            ("check-files", "check_files"),
            ("problem_statment", "problem_statement"),
            ("tiemout", "timeout"),
            ("ID", "id"),
        ] {
            assert_eq!(near_miss(wrong), Some(right), "{wrong}");
        }
    }

    #[test]
    fn known_data_set_columns_are_not_misspellings() {
        let columns = [
            "patch",
            "test_patch",
            "hints_text",
            "created_at",
            "version",
            "FAIL_TO_PASS",
            "PASS_TO_PASS",
            "difficulty",
            "environment_setup_commit",
            "language",
            "stars",
            "owner",
            "category",
            "tags",
            "url",
            "answer",
            "level",
            "name",
        ];
        for column in columns {
            assert_eq!(near_miss(column), None, "{column}");
        }
    }

    #[test]
    fn every_field_has_a_name() {
        for (name, field) in NAMES {
            assert_eq!(Field::of_name(name), Some(field));
            assert!(!field.name().is_empty());
        }
    }
}
