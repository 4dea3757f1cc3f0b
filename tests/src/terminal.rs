//! Commands on a pseudo-terminal.

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io;
use std::process::{Child, Command};

/// Starts a command in a session with a new terminal of this size. Returns it, the terminal's
/// other end, which has to be read because a full terminal blocks the command, and the modes that the terminal had before.
///
/// # Errors
///
/// If the terminal cannot be created or the command cannot be started.
pub fn spawn_on_terminal(command: &Command, size: Winsize) -> io::Result<(Child, File, Termios)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags)?;
    unlockpt(&terminal)?;
    tcsetwinsize(&terminal, size)?;
    let modes = tcgetattr(&terminal)?;
    let end = || ioctl_tiocgptpeer(&terminal, flags);
    // It creates a session with the terminal on stdin, and becomes the command.
    let mut on_terminal = Command::new("setsid");
    on_terminal.arg("--ctty").arg(command.get_program()).args(command.get_args());
    on_terminal.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        on_terminal.current_dir(directory);
    }
    let child = on_terminal.stdin(end()?).stdout(end()?).stderr(end()?).spawn()?;
    Ok((child, File::from(terminal), modes))
}
