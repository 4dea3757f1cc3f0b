//! Servers that are used directly, to compare with.

pub(crate) mod v1;
pub(crate) mod v2;

use crate::stage::Stage;
use std::error::Error;
use std::path::Path;

/// The password of the servers.
pub(crate) const PASSWORD: &str = "benchmark";

/// A server of either generation.
pub(crate) enum Raw {
    V1(v1::Raw),
    V2(v2::Raw),
}

impl Raw {
    /// Runs a turn in a session of its own, and evicts the directory.
    pub(crate) async fn task(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        match self {
            Self::V1(server) => {
                server.turn(&server.session(directory).await?).await?;
                server.evict(directory).await
            }
            Self::V2(server) => {
                server.turn(&server.session(directory).await?).await?;
                server.evict(directory).await
            }
        }
    }

    /// Kills the server.
    pub(crate) async fn end(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::V1(server) => server.end().await,
            Self::V2(server) => server.end().await,
        }
    }
}

/// A generation of opencode.
#[derive(Clone, Copy)]
pub(crate) enum Generation {
    First,
    Second,
}

impl Generation {
    /// The name of its tool for commands.
    pub(crate) fn shell(self) -> &'static str {
        match self {
            Self::First => "bash",
            Self::Second => "shell",
        }
    }

    /// Starts a server of it.
    pub(crate) async fn start(self, stage: &Stage) -> Result<Raw, Box<dyn Error>> {
        Ok(match self {
            Self::First => Raw::V1(v1::Raw::start(stage).await?),
            Self::Second => Raw::V2(v2::Raw::start(stage).await?),
        })
    }
}
