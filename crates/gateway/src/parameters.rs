//! Sets a source's parameters in the body of a request and keeps the rest byte for byte.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Parameters, endpoints::Kind, json};

/// A JSON object whose values are kept undecoded.
struct Object<'b>(Vec<(String, Field<'b>)>);

enum Field<'b> {
    Kept(&'b RawValue),
    Set(Box<RawValue>),
}

impl Parameters {
    /// Sets the parameters in a request of this kind.
    ///
    /// A body that is not a JSON object is left unchanged, so that the upstream reports the error.
    pub(crate) fn set(&self, kind: Kind, body: Bytes) -> Bytes {
        if *self == Self::default() || kind == Kind::Aside {
            return body;
        }
        let Ok(mut object) = serde_json::from_slice::<Object<'_>>(&body) else { return body };
        if kind == Kind::Generate {
            let config = object.kept("generationConfig").map_or("{}", RawValue::get).to_owned();
            let Ok(mut config) = serde_json::from_str::<Object<'_>>(&config) else { return body };
            config.set("temperature", self.temperature);
            config.set("topP", self.top_p);
            config.set("topK", self.top_k);
            config.set("maxOutputTokens", self.max_tokens);
            object.set("generationConfig", Some(config));
        } else {
            object.set("temperature", self.temperature);
            object.set("top_p", self.top_p);
            object.set("top_k", self.top_k);
            let max_tokens = match kind {
                Kind::Responses => "max_output_tokens",
                Kind::Chat if object.kept("max_completion_tokens").is_some() => "max_completion_tokens",
                _ => "max_tokens",
            };
            object.set(max_tokens, self.max_tokens);
        }
        serde_json::to_vec(&object).map_or(body, Bytes::from)
    }
}

impl<'b> Object<'b> {
    fn kept(&self, name: &str) -> Option<&'b RawValue> {
        self.0.iter().find_map(|(key, field)| match field {
            Field::Kept(value) if key == name => Some(*value),
            _ => None,
        })
    }

    /// Sets the value of a name, at its position or at the end.
    fn set(&mut self, name: &str, value: Option<impl Serialize>) {
        let Some(value) = value.and_then(|value| to_raw_value(&value).ok()) else { return };
        let at = self.0.iter().position(|(key, _)| key == name).unwrap_or(self.0.len());
        // Removes duplicates of the name.
        self.0.retain(|(key, _)| key != name);
        self.0.insert(at.min(self.0.len()), (name.to_owned(), Field::Set(value)));
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = json::Object::deserialize(deserializer)?.into_fields();
        Ok(Self(fields.map(|(name, value)| (name, Field::Kept(value))).collect()))
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, field)| {
            let value: &RawValue = match field {
                Field::Kept(value) => value,
                Field::Set(value) => value,
            };
            (name, value)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Parameters =
        Parameters { temperature: Some(0.25), top_p: Some(0.5), top_k: Some(40), max_tokens: Some(99) };

    fn set(parameters: Parameters, kind: Kind, body: &'static str) -> String {
        String::from_utf8(parameters.set(kind, body.into()).to_vec()).unwrap()
    }

    #[test]
    fn parameters_have_protocol_names() {
        assert_eq!(
            set(ALL, Kind::Chat, r#"{"model":"m","max_tokens":1}"#),
            r#"{"model":"m","max_tokens":99,"temperature":0.25,"top_p":0.5,"top_k":40}"#
        );
        assert_eq!(
            set(ALL, Kind::Chat, r#"{"max_completion_tokens":1}"#),
            r#"{"max_completion_tokens":99,"temperature":0.25,"top_p":0.5,"top_k":40}"#
        );
        assert_eq!(
            set(ALL, Kind::Responses, "{}"),
            r#"{"temperature":0.25,"top_p":0.5,"top_k":40,"max_output_tokens":99}"#
        );
        assert_eq!(
            set(ALL, Kind::Messages, r#"{"top_k":1,"messages":[]}"#),
            r#"{"top_k":40,"messages":[],"temperature":0.25,"top_p":0.5,"max_tokens":99}"#
        );
        let google = r#""generationConfig":{"temperature":0.25,"topP":0.5,"topK":40,"maxOutputTokens":99}"#;
        assert_eq!(set(ALL, Kind::Generate, "{}"), format!("{{{google}}}"));
        assert_eq!(
            set(ALL, Kind::Generate, r#"{"generationConfig":{"stop":["x"],"topK":1},"contents":[]}"#),
            r#"{"generationConfig":{"stop":["x"],"topK":40,"temperature":0.25,"topP":0.5,"maxOutputTokens":99},"contents":[]}"#
        );
    }

    #[test]
    fn other_fields_stay_unchanged() {
        let one = Parameters { top_k: Some(1), ..Parameters::default() };
        assert_eq!(
            set(
                one,
                Kind::Messages,
                r#"{ "z": 12345678901234567890123, "a":[1.50,  "\u00e9"],"top_k":null, "top_k":7 }"#
            ),
            r#"{"z":12345678901234567890123,"a":[1.50,  "\u00e9"],"top_k":1}"#
        );
        let body = r#"{ "a": 1 }"#;
        assert_eq!(set(Parameters::default(), Kind::Chat, body), body);
        assert_eq!(set(ALL, Kind::Aside, body), body);
    }

    #[test]
    fn non_object_body_is_unchanged() {
        for body in ["", "[]", "{", "null", r#"{"generationConfig":3}"#] {
            assert_eq!(set(ALL, Kind::Generate, body), body);
        }
    }
}
