//! Effects of a project's configuration.

use std::fmt;

/// An effect of a project's configuration that goes beyond advice to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProjectPower {
    /// The configuration starts programs: plugins, tools, MCP servers, language servers or formatters.
    StartsPrograms,
    /// The configuration chooses the model or its provider, and the model chooses the commands.
    ChoosesModel,
    /// The configuration changes which actions need a permission.
    ChangesPermissions,
}

impl fmt::Display for ProjectPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartsPrograms => "starts programs",
            Self::ChoosesModel => "chooses models or providers",
            Self::ChangesPermissions => "changes permissions",
        })
    }
}
