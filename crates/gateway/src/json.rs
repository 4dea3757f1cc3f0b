//! JSON objects that are read field by field, with undecoded values.
//!
//! Values are decoded only if necessary: a lone surrogate in a text is not a reason to reject the rest.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The fields of an object, including duplicates.
pub(crate) struct Object<'o>(Vec<(String, &'o RawValue)>);

impl<'o> Object<'o> {
    pub(crate) fn parse(text: &'o str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_fields(self) -> impl Iterator<Item = (String, &'o RawValue)> {
        self.0.into_iter()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &'o RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'o RawValue> {
        self.0.iter().find_map(|(key, value)| (key == name).then_some(*value))
    }

    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.get(name)?.get())
    }

    /// Returns the objects of an array; nothing if the field is not an array.
    pub(crate) fn objects(&self, name: &str) -> impl Iterator<Item = Self> + use<'o> {
        let items = self.get(name).and_then(|value| array(value.get())).unwrap_or_default();
        items.into_iter().filter_map(|item| Self::parse(item.get()))
    }

    pub(crate) fn text(&self, name: &str) -> Option<Cow<'o, str>> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Returns whether a field is a non-empty string.
    pub(crate) fn has_text(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get().starts_with('"') && value.get().len() > 2)
    }
}

/// Returns the items of an array.
pub(crate) fn array(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

impl<'de: 'o, 'o> Deserialize<'de> for Object<'o> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
