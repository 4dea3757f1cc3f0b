//! The model that a request's body names, and whether it requests a stream.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Returns the model that a body names; `None` if it names several or fallbacks.
pub(crate) fn model_of(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<RequestedModel>(body).ok().map(|asked| asked.0)
}

/// Returns whether a body requests a stream.
pub(crate) fn is_stream(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct RequestedModel {
        #[serde(default)]
        stream: Option<bool>,
    }
    serde_json::from_slice::<RequestedModel>(body).is_ok_and(|asked| asked.stream == Some(true))
}

struct RequestedModel(String);

/// The fields from which providers take fallback models.
const OTHER_MODELS: [&str; 3] = ["models", "fallbacks", "route"];

impl<'de> Deserialize<'de> for RequestedModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(String::new()))
    }
}

impl<'de> Visitor<'de> for RequestedModel {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request that names one model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut model = None;
        while let Some(name) = map.next_key::<String>()? {
            // A provider may ignore the case of names.
            let name = name.to_ascii_lowercase();
            if name == "model" {
                // If a body names two models, the provider may use either.
                if model.replace(map.next_value::<String>()?).is_some() {
                    return Err(A::Error::duplicate_field("model"));
                }
            } else if OTHER_MODELS.contains(&name.as_str()) {
                return Err(A::Error::custom("the request names fallback models"));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        model.map(Self).ok_or_else(|| A::Error::missing_field("model"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_is_read_from_body() {
        assert_eq!(model_of(br#"{"messages":[{"model":"dear"}],"model":"m","stream":true}"#).as_deref(), Some("m"));
        for other in [
            r#"{"model":"m","model":"dear"}"#,
            r#"{"model":"m","Model":"dear"}"#,
            r#"{"model":"m","models":["m","dear"]}"#,
            r#"{"fallbacks":[{"model":"dear"}],"model":"m"}"#,
            r#"{"model":"m","route":"fallback"}"#,
            r#"{"model":["m"]}"#,
            r#"{"messages":[]}"#,
            r#"["m"]"#,
            "no json",
        ] {
            assert_eq!(model_of(other.as_bytes()), None, "{other}");
        }
    }
}
