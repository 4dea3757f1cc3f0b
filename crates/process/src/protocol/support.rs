//! The supported versions, and their restrictions.

use super::{Generation, v2};
use crate::Version;
use opencode_run_core::Remedy;

/// The oldest supported version: 1.0 waits forever for permissions on its terminal, even without one.
const OLDEST: Version = Version::new(1, 1, 65);

/// The reason why a version is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsupported {
    TooOld { oldest: Version },
    TooNew,
}

impl Generation {
    /// Returns the generation of a version.
    ///
    /// # Errors
    ///
    /// If it is not supported.
    pub(crate) fn of(version: Version) -> Result<Self, Unsupported> {
        match version.major {
            _ if version < OLDEST => Err(Unsupported::TooOld { oldest: OLDEST }),
            1 => Ok(Self::V1),
            2 if version < v2::api::OLDEST => Err(Unsupported::TooOld { oldest: v2::api::OLDEST }),
            2 => Ok(Self::V2),
            _ => Err(Unsupported::TooNew),
        }
    }
}

/// Returns why the `run` of a version is not supported, or `None` if it is.
pub(crate) fn why_not_run(version: Version) -> Option<&'static str> {
    if version.major == 2 {
        return Some(
            "its `run` never ends when a sub-agent asks for a permission, and loses the end of steps; use its server",
        );
    }
    (version == Version::new(1, 15, 13)).then_some("its `run --format json` loses the last events of every turn")
}

/// Returns the remedy if a server of a version fails before a turn begins.
pub(crate) fn remedy_for_server(version: Version) -> Remedy {
    if why_not_run(version).is_some() { Remedy::CheckOpencode } else { Remedy::CheckOpencodeOrRunWithoutServer }
}

/// Checks that the server of a version is supported.
pub(crate) fn check_server_support(version: Version) -> Result<(), &'static str> {
    match Generation::of(version) {
        Ok(Generation::V1 | Generation::V2) => Ok(()),
        Err(Unsupported::TooOld { .. }) if version.major == 2 => Err("whose routes changed in 2.0.4"),
        Err(Unsupported::TooOld { .. }) => Err("which has no password for its server"),
        Err(Unsupported::TooNew) => Err("a generation that is not supported yet"),
    }
}

/// Returns whether a version requests a title from the model for every message: measured up to 1.2.1, and no more in
/// 1.2.6. The title of a session, which all versions request, is not requested if the session is created with one.
pub(crate) fn names_messages(version: Version) -> bool {
    version < Version::new(1, 2, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_measured_versions_are_supported() {
        assert_eq!(Generation::of(Version::new(1, 18, 33)), Ok(Generation::V1));
        assert_eq!(Generation::of(OLDEST), Ok(Generation::V1));
        assert_eq!(Generation::of(Version::new(1, 0, 185)), Err(Unsupported::TooOld { oldest: OLDEST }));
        let oldest = v2::api::OLDEST;
        assert_eq!(Generation::of(oldest), Ok(Generation::V2));
        assert_eq!(Generation::of(Version::new(2, 0, 3)), Err(Unsupported::TooOld { oldest }));
        assert_eq!(Generation::of(Version::new(3, 0, 0)), Err(Unsupported::TooNew));
        assert!(why_not_run(oldest).is_some() && !names_messages(oldest));
        assert_eq!(remedy_for_server(oldest), Remedy::CheckOpencode);
        assert_eq!(remedy_for_server(Version::new(1, 18, 33)), Remedy::CheckOpencodeOrRunWithoutServer);
        assert!(why_not_run(Version::new(1, 15, 13)).is_some());
        assert!(why_not_run(Version::new(1, 18, 33)).is_none());
        assert!(names_messages(Version::new(1, 2, 1)) && !names_messages(Version::new(1, 2, 6)));
    }
}
