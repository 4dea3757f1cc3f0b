//! The environment of commands other than opencode.

use crate::environment::Environment;
use opencode_run_core::SecretString;
use std::ffi::OsString;

/// Returns the caller's variables as opencode gets them: without those of a surrounding opencode or git hook, and without
/// those that contain one of these secrets in any form.
pub fn command_environment<'s>(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    secrets: impl IntoIterator<Item = &'s SecretString>,
) -> Vec<(OsString, OsString)> {
    let mut environment = Environment::from_caller(variables);
    for secret in secrets {
        environment.strip_secret(secret);
    }
    environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_get_no_secret_or_hook() {
        let variables = [("PATH", "/usr/bin:/bin"), ("A", "sk-1234567890"), ("B", "2"), ("GIT_DIR", "/x")];
        let secret = SecretString::from("sk-1234567890");
        let environment = command_environment(variables.map(|(name, value)| (name.into(), value.into())), [&secret]);
        let names: Vec<_> = environment.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert!(names.contains(&"PATH") && names.contains(&"B"), "{names:?}");
        assert!(!names.contains(&"A") && !names.contains(&"GIT_DIR"), "{names:?}");
    }
}
