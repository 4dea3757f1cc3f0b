//! The model of a session's last turn.
//!
//! Newer versions name it in the session; for older ones it is read from the messages.

use crate::protocol::v1::configuration::source_of;
use crate::session_info::SessionModel;
use serde::Deserialize;
use serde_json::Value;

/// A model as opencode refers to it: a session calls the model `id`, a message calls it `modelID`.
#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "providerID")]
    provider: String,
    #[serde(rename = "modelID", alias = "id")]
    model: String,
}

/// A message, with the fields that name its model: an object in a user's message, two names in an assistant's.
#[derive(Deserialize)]
struct Message {
    info: MessageInfo,
}

#[derive(Deserialize)]
struct MessageInfo {
    #[serde(default)]
    role: String,
    #[serde(default)]
    model: Value,
    #[serde(rename = "providerID")]
    provider: Option<String>,
    #[serde(rename = "modelID")]
    name: Option<String>,
}

impl From<Reference> for SessionModel {
    fn from(Reference { provider, model }: Reference) -> Self {
        match source_of(&provider) {
            Some(source_type) => Self::Source { source_type, model },
            None => Self::Named(format!("{provider}/{model}")),
        }
    }
}

/// Reads the field `model` of a session. Returns `None` if it is absent or has another shape.
pub(crate) fn of_session(model: &Value) -> Option<SessionModel> {
    Reference::deserialize(model).ok().map(Into::into)
}

/// Returns the model of the user's last message, which opencode continues with, or that of the last answer if there is
/// no message of the user. Messages of an unknown shape are skipped.
pub(crate) fn of_messages(messages: &[Value]) -> Option<SessionModel> {
    let messages: Vec<_> = messages.iter().filter_map(|message| Message::deserialize(message).ok()).collect();
    let mut of_user = messages.iter().rev().filter(|message| message.info.role == "user");
    of_user.find_map(|message| of_session(&message.info.model)).or_else(|| {
        messages.iter().rev().find_map(|Message { info }| {
            let provider = info.provider.clone()?;
            let model = info.name.clone()?;
            Some(Reference { provider, model }.into())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::ModelSourceType;
    use serde_json::json;

    fn source(source_type: ModelSourceType, model: &str) -> SessionModel {
        SessionModel::Source { source_type, model: model.to_owned() }
    }

    #[test]
    fn session_model_is_a_source_or_a_name() {
        let of = |provider: &str, model: &str| of_session(&json!({"providerID": provider, "id": model}));
        assert_eq!(of("opencode-run-code", "meta/llama"), Some(source(ModelSourceType::Code, "meta/llama")));
        assert_eq!(of("opencode-run-default", "m"), Some(source(ModelSourceType::Default, "m")));
        assert_eq!(of("stub", "meta/llama"), Some(SessionModel::Named("stub/meta/llama".to_owned())));
        // A provider of the user may have the same prefix.
        for other in ["opencode-run-", "opencode-run-review", "opencode-run-CODE", "opencode"] {
            assert_eq!(of(other, "m"), Some(SessionModel::Named(format!("{other}/m"))), "{other}");
        }
        for unknown in [json!(null), json!("a/b"), json!({"id": "m"}), json!([1])] {
            assert_eq!(of_session(&unknown), None, "{unknown}");
        }
    }

    #[test]
    fn session_model_is_that_of_last_user_message() {
        let user =
            |provider: &str| json!({"info": {"role": "user", "model": {"providerID": provider, "modelID": "m"}}});
        let answer = json!({"info": {"role": "assistant", "providerID": "summarizer", "modelID": "s"}});
        let messages = [user("stub"), user("opencode-run-plan"), json!("odd"), answer.clone()];
        assert_eq!(of_messages(&messages), Some(source(ModelSourceType::Plan, "m")));
        assert_eq!(of_messages(&[answer]), Some(SessionModel::Named("summarizer/s".to_owned())));
        assert_eq!(of_messages(&[]), None);
    }
}
