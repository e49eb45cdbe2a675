//! Starting a program and waiting for it, with as little around it as possible, and the same for every case.
//!
//! `posix_spawn` shares the memory of the bench with the child until its execve, so its cost does not depend on how
//! large the bench is. All that it needs is made before the clock starts.

#![expect(unsafe_code, reason = "posix_spawn, and wait4 for what the kernel accounts, which std does not offer")]

use std::ffi::{CString, OsString, c_char};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

/// A program with its arguments and all of its environment.
#[derive(Clone, Debug)]
pub(super) struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// `argv[0]` is an absolute path. Words that hold a zero byte are cut there.
    pub(super) fn new(
        argv: impl IntoIterator<Item = impl Into<OsString>>,
        env: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Self {
        let pairs = env.into_iter().map(|(name, value)| {
            let mut pair = name.into();
            pair.push("=");
            pair.push(value.into());
            pair
        });
        Self { argv: argv.into_iter().map(|word| c_string(word.into())).collect(), env: pairs.map(c_string).collect() }
    }

    /// The same program, run by another one.
    pub(super) fn under(&self, outer: impl Into<OsString>) -> Self {
        let argv = std::iter::once(c_string(outer.into())).chain(self.argv.iter().cloned()).collect();
        Self { argv, env: self.env.clone() }
    }

    /// How a shell would take it.
    pub(super) fn shown(&self) -> String {
        let quoted = |word: &CString| {
            let text = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,+@%".contains(c);
            if !text.is_empty() && text.chars().all(plain) {
                text.into_owned()
            } else {
                format!("'{}'", text.replace('\'', r"'\''"))
            }
        };
        self.argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}

fn c_string(word: OsString) -> CString {
    let mut bytes = word.into_vec();
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    CString::new(bytes).unwrap_or_default()
}

/// Where programs write: two files, emptied before every run.
#[derive(Debug)]
pub(super) struct Streams {
    nothing: File,
    out: File,
    err: File,
}

impl Streams {
    /// Without names: they go with the bench.
    pub(super) fn new() -> io::Result<Self> {
        let file = |name: &str| rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map(File::from);
        Ok(Self { nothing: File::open("/dev/null")?, out: file("out")?, err: file("err")? })
    }

    fn empty(&mut self) -> io::Result<()> {
        for file in [&mut self.out, &mut self.err] {
            file.set_len(0)?;
            file.rewind()?;
        }
        Ok(())
    }

    /// What the last program wrote to standard output and to standard error.
    pub(super) fn said(&mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut said = (Vec::new(), Vec::new());
        for (file, text) in [(&mut self.out, &mut said.0), (&mut self.err, &mut said.1)] {
            file.rewind()?;
            file.read_to_end(text)?;
        }
        Ok(said)
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// From before the start to after the end.
    pub(super) wall: Duration,
    /// In user and kernel mode, of it and of the children that it waited for.
    pub(super) cpu: Duration,
    /// As `wait4` has it.
    pub(super) status: i32,
}

/// Runs a program to its end.
pub(super) fn run(program: &Program, streams: &mut Streams) -> io::Result<Run> {
    streams.empty()?;
    let pointers = |words: &[CString]| -> Vec<*mut c_char> {
        words.iter().map(|word| word.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
    };
    let (argv, env) = (pointers(&program.argv), pointers(&program.env));
    let setup = Setup::new(streams)?;
    let (mut pid, mut status) = (0, 0);
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let started = Instant::now();
    // SAFETY: both lists end with a null and point to strings that live on; `setup` was initialised.
    let error = unsafe {
        libc::posix_spawn(&raw mut pid, argv[0], &setup.actions, &setup.attributes, argv.as_ptr(), env.as_ptr())
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: `pid` is a child of ours that nobody else waits for; both places are valid.
    while unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let wall = started.elapsed();
    // SAFETY: all zero is a valid rusage, and wait4 has written one over it.
    let usage = unsafe { usage.assume_init() };
    Ok(Run { wall, cpu: duration(usage.ru_utime) + duration(usage.ru_stime), status })
}

fn duration(time: libc::timeval) -> Duration {
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(number(time.tv_sec)) + Duration::from_micros(number(time.tv_usec))
}

/// What the child does before its execve.
struct Setup {
    actions: libc::posix_spawn_file_actions_t,
    attributes: libc::posix_spawnattr_t,
}

impl Setup {
    fn new(streams: &Streams) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the two are initialised before anything else is done with them, and the set of signals before it is used.
        unsafe {
            checked(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            checked(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut setup = Self { actions: actions.assume_init(), attributes: attributes.assume_init() };
            for (number, file) in [&streams.nothing, &streams.out, &streams.err].into_iter().enumerate() {
                let to = i32::try_from(number).unwrap_or_default();
                checked(libc::posix_spawn_file_actions_adddup2(&raw mut setup.actions, file.as_raw_fd(), to))?;
            }
            // Rust programs ignore SIGPIPE, and what they start would too; a pipeline needs it.
            let mut signals = MaybeUninit::uninit();
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            checked(libc::posix_spawnattr_setsigdefault(&raw mut setup.attributes, signals.as_ptr()))?;
            let flags = libc::c_short::try_from(libc::POSIX_SPAWN_SETSIGDEF).unwrap_or_default();
            checked(libc::posix_spawnattr_setflags(&raw mut setup.attributes, flags))?;
            Ok(setup)
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        // SAFETY: both were initialised.
        unsafe {
            libc::posix_spawn_file_actions_destroy(&raw mut self.actions);
            libc::posix_spawnattr_destroy(&raw mut self.attributes);
        }
    }
}

fn checked(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Run, Vec<u8>, Vec<u8>) {
        let mut streams = Streams::new().unwrap();
        let program = Program::new(["/bin/sh", "-c", script], [("NAME", "a value")]);
        let run = run(&program, &mut streams).unwrap();
        let (out, err) = streams.said().unwrap();
        (run, out, err)
    }

    #[test]
    fn a_program_gets_its_words_and_its_environment_and_nothing_to_read() {
        let (run, out, err) = shell("echo \"$NAME\"; wc -c >&2; exit 3");
        assert_eq!((out.as_slice(), String::from_utf8_lossy(&err).trim()), (b"a value\n".as_slice(), "0"));
        assert_eq!(libc::WEXITSTATUS(run.status), 3);
    }

    #[test]
    fn a_pipe_that_nobody_reads_ends_its_writer() {
        let (run, out, _) = shell("yes | head -n 1");
        assert_eq!((run.status, out.as_slice()), (0, b"y\n".as_slice()));
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let none: [(&str, &str); 0] = [];
        let program = Program::new(["/bin/sh", "-c", "it's"], none).under("/meter");
        assert_eq!(program.shown(), r"/meter /bin/sh -c 'it'\''s'");
    }
}
