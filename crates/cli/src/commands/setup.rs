//! `setup`: installs an opencode with npm, into the cache directory.

mod executable;
mod npm;
mod receipt;

use crate::args::{SetupArgs, SetupGeneration};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::TextKind;
use crate::package_name::PackageName;
use executable::find_executable;
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use opencode_run_process::{Locator, create_private_dir_all, find_untrusted};
use opencode_runner::TESTED_OPENCODE;
use opencode_runner::paths;
use opencode_runner::supervisor;
use receipt::Receipt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The integrity of the tested packages, as npm computes it. Packages of other platforms are missing here: npm
/// compares them with the registry's own value only.
const TESTED_PACKAGES: [(&str, &str); 3] = [
    ("opencode-ai", "sha512-58P1ffLRXiAY4QeoABqUjqf6DEzm1ihpovvn9Ad+oOLbLiwK/rf88wruT9IATJ7AtNjmi8iA7pC8tN4o5y799Q=="),
    (
        "opencode-linux-x64",
        "sha512-q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7ZSPBW2oyMIGMNRqiKQjiAWw==",
    ),
    (
        "opencode-linux-x64-baseline",
        "sha512-1KQGBiiDDeL/VHHbHkOvvFo8Jr97WT5+C1tear+p7IcDTnXgVHXqIjU4O4jM4mHQzykTP2i884FCnW5LDa+zCA==",
    ),
];

/// The package in which upstream publishes opencode 2.
const UPSTREAM2: &str = "@opencode/cli";

/// Installs opencode and prints the path of its executable.
pub(crate) async fn setup(args: &SetupArgs, console: Console) -> Code {
    let installed = match (&args.package, args.generation) {
        (Some(package), _) => install_named(package, args.integrity.as_deref(), args.force, console).await,
        (None, SetupGeneration::Two) => install_generation2(args.force, console).await,
        (None, SetupGeneration::One) => install(args.force, console).await,
    };
    match installed {
        Ok(path) => super::print::print(TextKind::Plain, |out| writeln!(out, "{}", path.display())).await,
        Err(error) => {
            Console::error(&error);
            Code::of_kind(error.kind)
        }
    }
}

/// Installs the tested opencode, unless a complete installation exists, and returns its path.
///
/// # Errors
///
/// If npm is missing or fails, or installs other packages than the tested ones. An earlier installation then stays.
pub(crate) async fn install(force: bool, console: Console) -> Result<PathBuf, CommandError> {
    let (Some(target), Some(executable)) = (paths::installation_dir(), paths::installed_opencode()) else {
        return Err(no_home());
    };
    let package = Package {
        name: "opencode-ai",
        version: TESTED_OPENCODE,
        integrity: &TESTED_PACKAGES,
        size: " (about 150 MB)",
        target,
        executable: Some(executable),
    };
    package.install(force, console).await
}

/// Installs upstream's opencode 2. The package does not exist on npm yet, so this usually fails with the way to get it.
async fn install_generation2(force: bool, console: Console) -> Result<PathBuf, CommandError> {
    let Some(published) = npm::view(UPSTREAM2).await? else {
        let message = format!("upstream has not published opencode 2 on npm: there is no package {UPSTREAM2}");
        let error = CommandError::new(FailureKind::Opencode, message);
        return Err(error.hint(
            "install it with opencode's own installer (`curl -fsSL https://opencode.ai/install | bash`); the opencode on PATH is used first",
        ));
    };
    let name = PackageName { name: UPSTREAM2.to_owned(), version: published.version.clone() };
    install_published(&name, &published, force, console).await
}

/// Installs a package that the user named, after printing its publisher.
async fn install_named(
    name: &PackageName,
    integrity: Option<&str>,
    force: bool,
    console: Console,
) -> Result<PathBuf, CommandError> {
    let Some(published) = npm::view(&name.to_string()).await? else {
        let error = CommandError::new(FailureKind::Opencode, format!("there is no package {name} on npm"));
        return Err(error.hint(format!("list its versions with `npm view {} versions`", name.name)));
    };
    if integrity.is_some_and(|integrity| integrity != published.integrity) {
        let message = format!("the integrity of {name} is {}, not the given one", visible(&published.integrity));
        let error = CommandError::new(FailureKind::Opencode, message);
        return Err(error.hint("do not install it, unless you know why it differs"));
    }
    install_published(name, &published, force, console).await
}

async fn install_published(
    name: &PackageName,
    published: &npm::Published,
    force: bool,
    console: Console,
) -> Result<PathBuf, CommandError> {
    let target = paths::installation_dir().ok_or_else(no_home)?;
    console.note(&published.describe(name));
    let package = Package {
        name: &name.name,
        version: &name.version,
        integrity: &[(&name.name, &published.integrity)],
        size: "",
        target: target.with_file_name(name.directory()),
        executable: None,
    };
    package.install(force, console).await
}

fn no_home() -> CommandError {
    CommandError::new(FailureKind::Config, "there is no home directory to install into").hint("set HOME")
}

/// A package of npm that contains opencode, and its place.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// The expected integrity by package name.
    integrity: &'a [(&'a str, &'a str)],
    size: &'static str,
    /// The directory of the installation.
    target: PathBuf,
    /// The executable within `target`; found by its package if absent.
    executable: Option<PathBuf>,
}

impl Package<'_> {
    /// Installs the package, unless a complete installation exists, and returns the executable.
    async fn install(&self, force: bool, console: Console) -> Result<PathBuf, CommandError> {
        let Self { name, version, target, .. } = self;
        let folder = target.parent().unwrap_or(target);
        let io = |error: std::io::Error| {
            CommandError::new(FailureKind::Config, format!("cannot install into {}: {error}", folder.display()))
                .hint("make room and check the permissions, or set XDG_CACHE_HOME to another directory")
        };
        create_private_dir_all(folder).map_err(io)?;
        let receipt = Receipt::read(target);
        let executable = self.executable.clone().or_else(|| receipt.as_ref()?.executable(target));
        let was_untrusted = executable.as_ref().is_some_and(|executable| find_untrusted(executable).is_some());
        revoke_write_access(folder)?;
        // Of two concurrent installations, the second waits and finds the complete first one.
        let _lock = lock(&folder.join(".lock")).await.map_err(io)?;
        // Other users may have changed files that the receipt does not cover.
        if let Some(executable) = executable.filter(|_| !force && !was_untrusted)
            && Receipt::read(target).is_some_and(|receipt| receipt.is_valid(version, &executable))
        {
            console.note(&format!("{} is already installed", self.title()));
            return Ok(executable);
        }
        let staging = tempfile::Builder::new().prefix(".installing-").tempdir_in(folder).map_err(io)?;
        console.note(&format!("installing {} with npm{}", self.title(), self.size));
        npm::install(staging.path(), &format!("{name}@{version}"), console).await?;
        npm::check_integrity(staging.path(), self.integrity)?;

        let staged = find_executable(staging.path(), name)?;
        let locator = Locator::default().explicit(Some(staged.clone())).supervised_by(supervisor::current());
        let opencode = locator.locate().await.map_err(|error| {
            CommandError::new(FailureKind::Opencode, format!("npm installed an opencode that does not work: {error}"))
                .hint("npm may have been configured not to run install scripts (ignore-scripts): allow them and run setup again")
        })?;
        if self.executable.is_some() && opencode.version().to_string() != *version {
            let message = format!("npm installed opencode {} instead of {version}", opencode.version());
            return Err(CommandError::new(FailureKind::Opencode, message));
        }
        let within = staged.strip_prefix(staging.path()).unwrap_or(&staged).to_owned();
        Receipt::new(version, &within, &staged).and_then(|receipt| receipt.write(staging.path())).map_err(io)?;
        if target.exists() {
            std::fs::remove_dir_all(target).map_err(io)?;
        }
        std::fs::rename(staging.keep(), target).map_err(io)?;
        let of_package =
            if self.executable.is_none() { format!(": opencode {}", opencode.version()) } else { String::new() };
        console.note(&format!("{} is installed{of_package}", self.title()));
        Ok(target.join(within))
    }

    fn title(&self) -> String {
        match self.executable {
            Some(_) => format!("opencode {}", self.version),
            None => format!("{} {}", self.name, self.version),
        }
    }
}

/// Revokes other users' write permission on the cache directory, and checks its parents.
///
/// # Errors
///
/// If other users can still change the directory.
fn revoke_write_access(folder: &Path) -> Result<(), CommandError> {
    #[cfg(unix)]
    if let Some(cache) = paths::cache_dir() {
        use std::os::unix::fs::PermissionsExt;
        for own in folder.ancestors().take_while(|place| place.starts_with(&cache)) {
            // The check below reports a failure.
            std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o700)).ok();
        }
    }
    let Some(untrusted) = find_untrusted(folder) else { return Ok(()) };
    let error =
        CommandError::new(FailureKind::Config, format!("cannot install into {}: {untrusted}", folder.display()));
    let hint = format!(
        "deny them write access (`chmod go-w {}`), or set XDG_CACHE_HOME to another directory",
        untrusted.place.display()
    );
    Err(error.hint(hint))
}

async fn lock(path: &Path) -> std::io::Result<File> {
    let path = path.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).write(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.map_err(std::io::Error::other)?
}
