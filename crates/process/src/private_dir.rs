//! Private directories of the user: their content is executed or trusted, so other users must not be able to change it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file or directory, on the way to a path, that other users can change; so they can also change everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Untrusted {
    /// The file or directory.
    pub place: PathBuf,
    /// Whether it belongs to another user. Otherwise other users can write to it.
    pub is_foreign: bool,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.display();
        if self.is_foreign {
            write!(f, "{place} belongs to another user")
        } else {
            write!(f, "other users can write to {place}")
        }
    }
}

/// Creates a directory with its parents, accessible only to the user, whatever the umask.
///
/// # Errors
///
/// If one cannot be created.
pub fn create_private_dir_all(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Returns the file or directory on the way to a path that other users can change. The path and the directories above
/// it are checked, up to the user's home or, outside of it, the root. Returns `None` if others can change none of them,
/// or if the path does not exist.
///
/// Trusted users are the user, the superuser and the owner of the home. A group counts as other users unless it is the
/// user's own and has no other members. In a directory with the sticky bit, such as `/tmp`, only the owner of an entry
/// can change it.
#[must_use]
pub fn find_untrusted(path: &Path) -> Option<Untrusted> {
    #[cfg(unix)]
    {
        let absolute = std::path::absolute(path).ok()?;
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let judge = unix::Judge::new(home.as_deref());
        // The links on the way can be replaced as well as their targets.
        judge.examine(&absolute).or_else(|| judge.examine(&absolute.canonicalize().ok()?))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(unix)]
mod unix {
    use super::Untrusted;
    use rustix::process::{getegid, geteuid};
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    const GROUP_CAN_WRITE: u32 = 0o020;
    const OTHERS_CAN_WRITE: u32 = 0o002;
    const OTHERS_CAN_ENTER: u32 = 0o011;
    const STICKY: u32 = 0o1000;

    pub(super) struct Judge {
        user: u32,
        /// The user's group, if it has no other members.
        own_group: Option<u32>,
        home_owner: Option<u32>,
        /// The home directory, as given and with its links resolved.
        homes: Vec<PathBuf>,
    }

    impl Judge {
        pub(super) fn new(home: Option<&Path>) -> Self {
            let user = geteuid().as_raw();
            let group = getegid().as_raw();
            let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
            let is_own = is_alone_in_group(user, group, &read("/etc/passwd"), &read("/etc/group"));
            let homes = home.into_iter().flat_map(|home| [Some(home.to_owned()), home.canonicalize().ok()]);
            Self {
                user,
                own_group: is_own.then_some(group),
                home_owner: home.and_then(|home| home.metadata().ok()).map(|data| data.uid()),
                homes: homes.flatten().collect(),
            }
        }

        /// Examines each directory on the way, the uppermost first.
        pub(super) fn examine(&self, path: &Path) -> Option<Untrusted> {
            let home = self.homes.iter().find(|home| path.starts_with(home));
            let mut places: Vec<_> =
                path.ancestors().filter(|place| home.is_none_or(|home| place.starts_with(home))).collect();
            places.reverse();
            for place in places {
                let data = place.metadata().ok()?;
                let untrusted = |is_foreign| Some(Untrusted { place: place.to_owned(), is_foreign });
                let mode = data.mode();
                let owner = data.uid();
                if owner != self.user && owner != 0 && Some(owner) != self.home_owner {
                    return untrusted(true);
                }
                let by_group = mode & GROUP_CAN_WRITE != 0 && self.own_group != Some(data.gid());
                let is_sticky = data.is_dir() && mode & STICKY != 0;
                if (by_group || mode & OTHERS_CAN_WRITE != 0) && !is_sticky {
                    return untrusted(false);
                }
                if data.is_dir() && owner == self.user && mode & OTHERS_CAN_ENTER == 0 {
                    // Other users cannot reach the entries of this directory, whatever their mode.
                    return None;
                }
            }
            None
        }
    }

    /// Returns whether a user's group has no other members, according to the account files. The superuser does not
    /// count.
    pub(super) fn is_alone_in_group(user: u32, group: u32, accounts: &str, groups: &str) -> bool {
        let accounts = entries(accounts);
        let groups = entries(groups);
        let is = |field: Option<&&str>, id: u32| field.is_some_and(|field| field.parse() == Ok(id));
        let name = accounts.iter().find(|account| is(account.get(2), user)).and_then(|account| account.first());
        let others = accounts
            .iter()
            .any(|account| is(account.get(3), group) && !is(account.get(2), user) && !is(account.get(2), 0));
        let Some(listed) = groups.iter().find(|entry| is(entry.get(2), group)) else {
            // Accounts outside of the files: a user's own group usually has the same number.
            return user == group;
        };
        let mut members = listed.get(3).unwrap_or(&"").split(',').filter(|member| !member.is_empty());
        !others && members.all(|member| Some(&member) == name)
    }

    /// Splits an account file into the fields of its lines.
    fn entries(text: &str) -> Vec<Vec<&str>> {
        text.lines().map(|line| line.split(':').collect()).collect()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn paths_that_others_can_change_are_found() {
        let root = tempfile::tempdir().unwrap();
        set(root.path(), 0o755);
        let dir = root.path().join("a/b");
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("program");
        std::fs::write(&file, "").unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (place, usual) in [(root.path().join("a"), 0o755), (dir, 0o755), (file.clone(), 0o755)] {
            set(&file, 0o755);
            assert_eq!(find_untrusted(&file), None);
            set(&place, 0o777);
            for path in [&file, &link] {
                let found = find_untrusted(path).unwrap();
                assert_eq!(
                    (found.place.canonicalize().unwrap(), found.is_foreign),
                    (place.canonicalize().unwrap(), false)
                );
            }
            // Other users can no longer reach it.
            set(root.path(), 0o700);
            assert_eq!(find_untrusted(&file), None);
            set(root.path(), 0o755);
            set(&place, usual);
        }
        set(&root.path().join("a"), 0o1777);
        assert_eq!(find_untrusted(&file), None, "the sticky bit keeps others from what is there");
        assert_eq!(find_untrusted(&root.path().join("none")), None);
    }

    #[test]
    fn created_directories_are_private() {
        let root = tempfile::tempdir().unwrap();
        create_private_dir_all(&root.path().join("a/b")).unwrap();
        for dir in ["a", "a/b"] {
            assert_eq!(root.path().join(dir).metadata().unwrap().permissions().mode() & 0o777, 0o700, "{dir}");
        }
    }

    #[test]
    fn shared_group_counts_as_other_users() {
        use super::unix::is_alone_in_group;
        let accounts = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\nyou:x:1001:100::/:/bin/sh\n";
        for (user, group, groups, is_alone) in [
            (1000, 1000, "me:x:1000:\n", true),
            (1000, 1000, "me:x:1000:me\n", true),
            (1000, 1000, "me:x:1000:you\n", false),
            (1000, 100, "users:x:100:\n", false),
            (1000, 0, "root:x:0:\n", true),
            (1000, 1000, "", true),
            (1000, 2000, "", false),
            (77, 77, "x:x:77:me\n", false),
        ] {
            assert_eq!(is_alone_in_group(user, group, accounts, groups), is_alone, "{user} {group} {groups:?}");
        }
    }
}
