//! An attacker: `memory-reader FILE SECRET PROGRAM ARGUMENT...` opens the memory of a program at its start, and
//! searches it for a secret once the file exists.
//!
//! It does not depend on timing: it starts a shell that becomes the program, and traces that shell up to that
//! moment. It opens the memory and stops tracing before the program executes its first instruction. It also searches
//! the processes that the program has started until the file exists.
//!
//! It prints the processes in which it found the secret, and kills the program.

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use opencode_run_tests::children_of;
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The maximum size of a mapping that is read, in bytes.
const MAX_MAPPING: u64 = 64 << 20;
/// The timeout of the wait for the file.
const LIMIT: Duration = Duration::from_mins(1);

/// The memory of a process, opened once.
struct Memory {
    bytes: File,
    maps: File,
}

impl Memory {
    fn open(process: &str) -> std::io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{process}/{name}"));
        Ok(Self { bytes: open("mem")?, maps: open("maps")? })
    }

    /// Returns whether the memory contains a text, and the number of readable bytes.
    fn find(&mut self, text: &[u8]) -> std::io::Result<(bool, usize)> {
        let mut maps = String::new();
        self.maps.read_to_string(&mut maps)?;
        let ranges = maps.lines().filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let range = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
            rest.starts_with('r').then_some(range)
        });
        let mut found = false;
        let mut size = 0;
        for (from, to) in ranges.filter(|(from, to)| to - from <= MAX_MAPPING) {
            let mut bytes = vec![0; usize::try_from(to - from).unwrap_or_default()];
            let read = self.bytes.read_at(&mut bytes, from).unwrap_or_default();
            bytes.truncate(read);
            size += read;
            found |= bytes.windows(text.len()).any(|window| window == text);
        }
        Ok((found, size))
    }
}

/// Lets a stopped shell run until it has become another program, and leaves it there untraced.
fn open_at_start(shell: Pid) -> Result<Memory, Box<dyn Error>> {
    loop {
        match waitpid(shell, None)? {
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => break,
            WaitStatus::Stopped(_, signal) => ptrace::cont(shell, signal)?,
            WaitStatus::PtraceEvent(..) => ptrace::cont(shell, None)?,
            status => return Err(format!("{status:?}").into()),
        }
    }
    let memory = Memory::open(&shell.to_string())?;
    ptrace::detach(shell, None)?;
    Ok(memory)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(ready), Some(secret)) = (arguments.next(), arguments.next()) else { return Err("no arguments".into()) };
    let secret = secret.into_encoded_bytes();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "echo; read -r _; exec \"$@\" > /dev/null", "sh"]).args(arguments);
    let mut program = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let id = Pid::from_raw(i32::try_from(program.id())?);
    // The shell has become a process of the program itself.
    program.stdout.take().ok_or("no stdout")?.read_exact(&mut [0])?;
    // If the memory cannot be opened, the program ends with this process.
    ptrace::seize(id, Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL)?;
    drop(program.stdin.take().ok_or("no stdin")?.write_all(b"\n"));
    let mut memory = open_at_start(id)?;

    let began = Instant::now();
    while !Path::new(&ready).exists() && began.elapsed() < LIMIT && program.try_wait()?.is_none() {
        sleep(Duration::from_millis(10));
    }
    let (found, size) = memory.find(&secret)?;
    let mut report = std::io::stdout().lock();
    writeln!(report, "program: read {}, found {found}", size > 0)?;
    let mut processes = children_of(program.id());
    while let Some(process) = processes.pop() {
        processes.extend(children_of(process));
        let found = Memory::open(&process.to_string()).and_then(|mut memory| memory.find(&secret));
        writeln!(report, "below it: found {}", found.is_ok_and(|(found, _)| found))?;
    }
    program.kill()?;
    program.wait()?;
    Ok(())
}
