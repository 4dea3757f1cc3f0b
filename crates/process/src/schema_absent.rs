//! Replaces the JSON Schema of an answer in a build without the feature `schema`: a prompt with one is refused.

use serde_json::Value;

/// A schema for validating answers.
#[derive(Debug)]
pub(crate) enum AnswerSchema {}

impl AnswerSchema {
    pub(crate) fn read(_: &Value) -> Result<Self, String> {
        Err("this build has no support for it".to_owned())
    }

    pub(crate) fn why_unmet(&self, _: Option<&Value>) -> Option<String> {
        match *self {}
    }
}
