//! The JSON Schema of an answer.
//!
//! opencode 1 gives the schema to the model as that of a tool's input, and does not validate the input of the call.

use boon::{CompileError, Compiler, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::Value;
use std::error::Error;
use std::fmt;

/// The identifier of the schema while it is compiled.
const NAME: &str = "schema:///answer";

/// A schema for validating answers.
pub(crate) struct AnswerSchema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl AnswerSchema {
    /// Parses a schema of any draft: the one that it names, or the newest. Its references must be internal.
    ///
    /// # Errors
    ///
    /// The reason why the schema is invalid.
    pub(crate) fn read(schema: &Value) -> Result<Self, String> {
        let mut compiler = Compiler::new();
        let mut schemas = Schemas::new();
        compiler.use_loader(Box::new(NoRetriever));
        compiler.add_resource(NAME, schema.clone()).map_err(|error| error.to_string())?;
        let index = compiler.compile(NAME, &mut schemas).map_err(|error| match error {
            CompileError::LoadUrlError { .. } => "it refers to another schema, which is not loaded".to_owned(),
            CompileError::ValidationError { src, .. } => wrong(&src),
            other => other.to_string().replace(NAME, "it"),
        })?;
        Ok(Self { schemas, index })
    }

    /// Returns why an answer does not match the schema, for the first mismatch only; `None` if it matches.
    pub(crate) fn why_unmet(&self, answer: Option<&Value>) -> Option<String> {
        let Some(answer) = answer else { return Some("opencode answered without a value".to_owned()) };
        let error = self.schemas.validate(answer, self.index).err()?;
        Some(wrong(&error))
    }
}

/// Describes the first mismatch of a value, and its place.
fn wrong(error: &ValidationError<'_, '_>) -> String {
    if let Some(cause) = error.causes.first() {
        return wrong(cause);
    }
    let ValidationError { instance_location, kind, .. } = error;
    let place = instance_location.to_string();
    if place.is_empty() { kind.to_string() } else { format!("{place}: {kind}") }
}

impl fmt::Debug for AnswerSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerSchema").finish_non_exhaustive()
    }
}

/// A loader that loads no schema: a schema may be untrusted, and must not make us read files or send requests.
struct NoRetriever;

impl UrlLoader for NoRetriever {
    fn load(&self, _: &str) -> Result<Value, Box<dyn Error>> {
        Err("nothing is loaded".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mismatch_is_reported_with_its_place() {
        let count = json!({"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]});
        let schema = AnswerSchema::read(&count).unwrap();
        assert_eq!(schema.why_unmet(Some(&json!({"count": 3, "more": true}))), None);
        let why = |value: Value| schema.why_unmet(Some(&value)).unwrap();
        assert_eq!(why(json!({"count": "three"})), "/count: want integer, but got string");
        assert_eq!(why(json!({})), "missing properties 'count'");
        assert!(schema.why_unmet(None).is_some());
        let either = AnswerSchema::read(&json!({"anyOf": [{"type": "integer"}, {"type": "null"}]})).unwrap();
        assert_eq!(either.why_unmet(Some(&json!(null))), None);
        assert_eq!(either.why_unmet(Some(&json!("three"))).unwrap(), "want integer, but got string");
    }

    #[test]
    fn invalid_schema_is_refused_without_fetching() {
        let file = std::path::absolute("Cargo.toml").unwrap();
        let why = |schema: Value| AnswerSchema::read(&schema).unwrap_err();
        assert!(why(json!({"type": "nonsense"})).starts_with("/type: value must be one of 'array',"));
        for without_proc in ["https://example.com/schema.json".to_owned(), format!("file://{}", file.display())] {
            assert_eq!(why(json!({"$ref": without_proc})), "it refers to another schema, which is not loaded");
        }
        assert!(AnswerSchema::read(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}})).is_ok());
        assert!(AnswerSchema::read(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).is_ok());
    }
}
