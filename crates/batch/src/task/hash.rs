//! Hashes of a task and of its id.

use super::BatchTask;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// The first half of the SHA-256 of a task's id. A batch identifies tasks by it, so that an id of any length takes 16
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(pub(crate) [u8; 16]);

impl IdHash {
    /// Hashes an id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        Self::of_digest(&id_digest(id))
    }

    pub(crate) fn of_digest(digest: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

impl fmt::Debug for IdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Returns the SHA-256 of an id.
#[must_use]
pub fn id_digest(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// The SHA-256 of a task's effective fields, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskHash(pub(crate) String);

impl TaskHash {
    /// Hashes the fields that determine the work of the agent and its check. Limits, priority and metadata are not
    /// included: a changed limit must not run thousands of finished tasks again.
    #[must_use]
    pub fn of(task: &BatchTask) -> Self {
        // All fields are listed: for a new one it must be decided whether the hash includes it.
        let BatchTask {
            id,
            messages,
            dir,
            repo,
            git_ref,
            subdir,
            task_name: _,
            model,
            model_source_type,
            context,
            agent,
            files,
            json_schema,
            timeout: _,
            idle_timeout: _,
            permission,
            priority: _,
            setup,
            check,
            check_files,
            artifacts,
            metadata: _,
        } = task;
        let effective = json!({
            "id": id,
            "messages": messages,
            "dir": dir,
            "repo": repo,
            "ref": git_ref,
            "subdir": subdir,
            "model": model.as_ref().map(ToString::to_string),
            "model_source_type": model_source_type.map(|role| role.as_str().to_owned()),
            "context": context,
            "agent": agent,
            "files": files,
            "json_schema": json_schema,
            "permission": permission,
            "setup": setup,
            "check": check,
            "check_files": check_files,
            "artifacts": artifacts,
        });
        let mut text = String::new();
        write_sorted(&effective, &mut text);
        let digest = Sha256::digest(text.as_bytes());
        let mut hex = String::with_capacity(64);
        for byte in digest {
            // Writing to a string cannot fail.
            write!(hex, "{byte:02x}").ok();
        }
        Self(hex)
    }

    /// Returns the hash in hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes JSON whose objects are sorted by key, whatever order the build of `serde_json` keeps. Absent values are
/// omitted, so that a field added by a later version does not change existing hashes.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !is_absent(value)).collect();
            fields.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in fields {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_sorted(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_sorted(item, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn hash_depends_only_on_effective_fields() {
        let task = BatchTask { id: "a".into(), messages: vec!["go".into()], ..BatchTask::default() };
        let hash = TaskHash::of(&task);
        assert_eq!(hash.as_str().len(), 64);
        let same = BatchTask {
            priority: 3,
            timeout: Some(Duration::from_secs(1).into()),
            metadata: [("k".to_owned(), Value::from(1))].into_iter().collect(),
            ..task.clone()
        };
        assert_eq!(TaskHash::of(&same), hash);
        let other = BatchTask { check: Some("true".into()), ..task };
        assert_ne!(TaskHash::of(&other), hash);
    }
}
