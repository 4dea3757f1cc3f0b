//! The list of models in the format of each protocol.

use serde_json::{Value, json};

use crate::Protocol;

/// Returns the answer to `GET /models`.
///
/// OpenAI and Anthropic share a path, so their list has the fields of both.
pub(crate) fn model_list(protocol: Protocol, models: &[String]) -> Value {
    if protocol == Protocol::Google {
        let entry = |name: &String| {
            json!({
                "name": format!("models/{name}"),
                "displayName": name,
                "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
            })
        };
        json!({"models": models.iter().map(entry).collect::<Vec<_>>()})
    } else {
        let entry = |name: &String| {
            json!({
                "id": name,
                "object": "model",
                "type": "model",
                "display_name": name,
                "created": 0,
                "created_at": "1970-01-01T00:00:00Z",
                "owned_by": "script",
            })
        };
        let data: Vec<_> = models.iter().map(entry).collect();
        json!({"object": "list", "data": data, "has_more": false})
    }
}
