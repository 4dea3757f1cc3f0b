//! The environment variables of opencode that matter outside of a launch, for all generations.

use super::{v1, v2};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The variable for the user name of a server's password.
const SERVER_USER: &str = "OPENCODE_SERVER_USERNAME";
/// The variable with the path of opencode's database.
const DATABASE: &str = "OPENCODE_DB";
/// The variable with the credentials of all providers.
const CREDENTIALS: &str = "OPENCODE_AUTH_CONTENT";

/// The variables that an opencode sets for the commands of its agent. They would make an opencode that is started there a
/// part of the surrounding one, or point it to another server.
const OF_SURROUNDING: [&str; 10] = [
    "OPENCODE",
    "OPENCODE_PID",
    "OPENCODE_CLIENT",
    "OPENCODE_SESSION_ID",
    v1::api::PASSWORD,
    v2::api::PASSWORD,
    SERVER_USER,
    "OPENCODE_WORKSPACE_ID",
    "OPENCODE_ROUTE",
    "AGENT",
];

/// The variables that bring in the user's configuration of opencode, or its database.
const OF_USER: [&str; 6] = [
    "OPENCODE_CONFIG",
    v1::configuration::CONFIG_CONTENT,
    "OPENCODE_CONFIG_DIR",
    "OPENCODE_PERMISSION",
    CREDENTIALS,
    DATABASE,
];

/// The variable, and its value, with which opencode does not download the catalog of models.
pub const NO_CATALOG_DOWNLOAD: (&str, &str) = v1::configuration::EMPTY_CATALOG.variable;

/// The variables for the credentials of an attached server, for messages.
pub(crate) const SERVER_CREDENTIALS: &str = "OPENCODE_SERVER_PASSWORD (and OPENCODE_SERVER_USERNAME)";

/// Returns whether a variable belongs to the opencode around this process.
pub(crate) fn is_of_surrounding(variable: &OsStr) -> bool {
    OF_SURROUNDING.iter().any(|name| variable == *name)
}

/// Returns whether a variable brings in the user's configuration of opencode, or its database.
#[must_use]
pub fn is_users_configuration(variable: &OsStr) -> bool {
    OF_USER.iter().any(|name| variable == *name)
}

/// Returns whether a variable contains the credentials of all of opencode's providers.
#[must_use]
pub fn holds_credentials(variable: &str) -> bool {
    variable == CREDENTIALS
}

/// Returns the variables with which opencode uses the database at this path.
#[must_use]
pub fn with_database(variables: Vec<(OsString, OsString)>, path: &Path) -> Vec<(OsString, OsString)> {
    let kept = variables.into_iter().filter(|(name, _)| name != DATABASE);
    kept.chain([(DATABASE.into(), path.into())]).collect()
}

/// Returns the user and the password of an attached server, as far as these variables contain them.
#[must_use]
pub fn server_credentials(variables: &[(OsString, OsString)]) -> (Option<String>, Option<String>) {
    let value = |wanted: &str| {
        let (_, value) = variables.iter().find(|(name, _)| name == wanted)?;
        value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
    };
    (value(SERVER_USER), value(v1::api::PASSWORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(given: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        given.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn messages_name_the_variables_that_are_read() {
        assert!([SERVER_USER, v1::api::PASSWORD].iter().all(|name| SERVER_CREDENTIALS.contains(name)));
    }

    #[test]
    fn empty_credentials_count_as_absent() {
        let both = variables(&[(SERVER_USER, "me"), (v1::api::PASSWORD, "secret")]);
        assert_eq!(server_credentials(&both), (Some("me".to_owned()), Some("secret".to_owned())));
        assert_eq!(server_credentials(&variables(&[(SERVER_USER, "")])), (None, None));
    }

    #[test]
    fn chosen_database_replaces_the_inherited_one() {
        let of_database = with_database(variables(&[(DATABASE, "/old"), ("HOME", "/h")]), Path::new("/new"));
        assert_eq!(of_database, variables(&[("HOME", "/h"), (DATABASE, "/new")]));
    }
}
