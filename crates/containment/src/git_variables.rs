//! The variables by which git hooks point every git that they start to their own repository.

/// The variables that point git to the repository of a hook, as `git rev-parse --local-env-vars` lists them.
///
/// A git that inherits them works on that repository and its index, wherever it is started. `GIT_CONFIG_PARAMETERS`,
/// `GIT_CONFIG_COUNT` and its keys and values are listed there too, but kept: containers and CI systems pass
/// `safe.directory`, credentials and proxies in them. Two variables are added: `GIT_INTERNAL_SUPER_PREFIX`, which git
/// listed before 2.42, and `GIT_QUARANTINE_PATH` of a `pre-receive` hook, which makes git refuse every commit.
pub const GIT_REPOSITORY_VARIABLES: [&str; 15] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];
