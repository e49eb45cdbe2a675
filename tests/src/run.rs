//! Running a program and comparing all that it says: silence and exit code 0 are the default.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::Sandbox;

/// What a stream is expected to hold.
#[derive(Debug)]
enum Expected {
    Exactly(Vec<u8>),
    Parts(Vec<String>),
    Anything,
}

/// A program, what it gets and what is expected of it.
#[must_use]
#[derive(Debug)]
pub struct Run<'s> {
    sandbox: &'s Sandbox,
    program: PathBuf,
    args: Vec<OsString>,
    prefix: Vec<OsString>,
    mounts: String,
    env: Vec<(OsString, OsString)>,
    removed: Vec<&'static str>,
    cwd: PathBuf,
    stdin: Vec<u8>,
    status: i32,
    signal: Option<i32>,
    stdout: Expected,
    stderr: Expected,
}

/// How it went.
#[derive(Debug)]
pub struct Ran {
    /// Standard output, lossy.
    pub stdout: String,
    /// Standard error, lossy.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl<'s> Run<'s> {
    /// A program in the sandbox's work directory, with an environment of its own.
    pub fn new(sandbox: &'s Sandbox, program: impl AsRef<Path>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let env = [
            ("PATH", path),
            ("HOME", sandbox.home().into()),
            // The place that HOME leads to. Named, so that no start looks into the home of whoever runs the tests.
            ("PSPF_CACHE_DIR", sandbox.home().join(".cache/pspf").into()),
            ("TMPDIR", sandbox.root().join("tmp").into()),
            ("LC_ALL", "C".into()),
        ];
        Self {
            sandbox,
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            prefix: Vec::new(),
            mounts: String::new(),
            env: env.map(|(name, value)| (name.into(), value)).into(),
            removed: Vec::new(),
            cwd: sandbox.work(""),
            stdin: Vec::new(),
            status: 0,
            signal: None,
            stdout: Expected::Exactly(Vec::new()),
            stderr: Expected::Exactly(Vec::new()),
        }
    }

    /// `pspf` with these arguments.
    pub fn pspf<A: AsRef<OsStr>>(sandbox: &'s Sandbox, args: impl IntoIterator<Item = A>) -> Self {
        Self::new(sandbox, crate::pspf()).args(args)
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Puts a program and its arguments in front of the command; it runs as the sandbox's user too.
    pub fn under<A: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = A>) -> Self {
        let mut prefix: Vec<OsString> = prefix.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        prefix.append(&mut self.prefix);
        self.prefix = prefix;
        self
    }

    /// Runs it where a script of mounts was run before, as root: of the machine, or of a new user namespace.
    pub fn mounting(mut self, script: impl Into<String>) -> Self {
        self.mounts = script.into();
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes a variable that is set by default.
    pub fn without(mut self, name: &'static str) -> Self {
        self.removed.push(name);
        self
    }

    /// Starts it elsewhere.
    pub fn cwd(mut self, cwd: impl AsRef<Path>) -> Self {
        self.cwd = cwd.as_ref().to_owned();
        self
    }

    /// What it reads.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_owned();
        self
    }

    /// The exit code that is expected.
    pub fn status(mut self, code: u8) -> Self {
        self.status = code.into();
        self
    }

    /// The signal that is expected to end it.
    pub fn signal(mut self, signal: i32) -> Self {
        self.signal = Some(signal);
        self
    }

    /// All of standard output.
    pub fn stdout(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdout = Expected::Exactly(text.as_ref().to_owned());
        self
    }

    /// A part of standard output; several are expected in any order.
    pub fn stdout_part(mut self, text: impl Into<String>) -> Self {
        self.stdout = self.stdout.with(text.into());
        self
    }

    /// Takes any output.
    pub fn any_stdout(mut self) -> Self {
        self.stdout = Expected::Anything;
        self
    }

    /// All of standard error.
    pub fn stderr(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stderr = Expected::Exactly(text.as_ref().to_owned());
        self
    }

    /// A part of standard error; several are expected in any order.
    pub fn stderr_part(mut self, text: impl Into<String>) -> Self {
        self.stderr = self.stderr.with(text.into());
        self
    }

    /// Takes any diagnostics.
    pub fn any_stderr(mut self) -> Self {
        self.stderr = Expected::Anything;
        self
    }

    /// Expects an error of this class: its exit code, one line that starts so, nothing on standard output.
    pub fn fails(self, class: &str) -> Self {
        let code = match class {
            "FORMAT" => 120,
            "INTEGRITY" => 121,
            "TRUST" => 122,
            "IO" => 123,
            "EXEC" => 126,
            "ENTRY" => 127,
            "USAGE" => 2,
            _ => panic!("no such class: {class}"),
        };
        self.status(code).stderr_part(format!("pspf: error[{class}]: "))
    }

    /// The command, for tests that do something with the process.
    pub fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if !self.mounts.is_empty() {
            crate::need("unshare");
            let space = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
            words.extend(["unshare", space, "sh", "-ec"].map(OsString::from));
            words.extend([format!("{}\nexec \"$@\"", self.mounts).into(), "sh".into()]);
        }
        if self.sandbox.switches_user() {
            crate::need("setpriv");
            let id = crate::sandbox::STRANGER.to_string();
            words.extend(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"].map(OsString::from));
        }
        words.extend(self.prefix.iter().cloned());
        words.push(self.program.clone().into());
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().current_dir(&self.cwd);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.removed.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and does not wait.
    #[track_caller]
    pub fn spawn(&self) -> Child {
        crate::forks::spawn(&mut self.command()).unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// Runs it and compares.
    #[track_caller]
    pub fn run(self) -> Ran {
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let input = self.stdin.clone();
        // A program that reads nothing closes its end.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("the program can be waited for");
        writer.join().expect("the writer ends");
        let ran = Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status,
        };
        let told = format!("{} {:?}\n{ran}", self.program.display(), self.args);
        let told: String = told.chars().take(6000).collect();
        match self.signal {
            Some(signal) => assert_eq!(output.status.signal(), Some(signal), "the signal that ended it; {told}"),
            None => assert_eq!(output.status.code(), Some(self.status), "exit code; {told}"),
        }
        self.stdout.compare(&output.stdout, "standard output", &told);
        self.stderr.compare(&output.stderr, "standard error", &told);
        assert!(!ran.stderr.contains("panicked"), "a panic text; {told}");
        ran
    }
}

impl Expected {
    fn with(self, part: String) -> Self {
        match self {
            Self::Parts(mut parts) => {
                parts.push(part);
                Self::Parts(parts)
            }
            Self::Exactly(_) | Self::Anything => Self::Parts(vec![part]),
        }
    }

    #[track_caller]
    fn compare(&self, found: &[u8], stream: &str, told: &str) {
        match self {
            Self::Exactly(expected) => {
                assert!(found == expected, "{stream} is not {}; {told}", String::from_utf8_lossy(expected));
            }
            Self::Parts(parts) => {
                let text = String::from_utf8_lossy(found);
                for part in parts {
                    assert!(text.contains(part.as_str()), "{stream} lacks `{part}`; {told}");
                }
            }
            Self::Anything => {}
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n-- standard output:\n{}\n-- standard error:\n{}", self.status, self.stdout, self.stderr)
    }
}
