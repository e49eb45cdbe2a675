//! The application that the tests pack: it says what reached it, and ends as it is told.
//!
//! Without a Rust `main` there is no Rust runtime start-up, which opens closed descriptors and ignores SIGPIPE: what is
//! reported is what execve handed over.

#![no_main]
#![expect(unsafe_code, reason = "the entry point that the C library calls, and three calls of that library")]

use std::ffi::{OsStr, OsString, c_char, c_int};
use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};
use std::{env, fs, io};

/// What the C library calls; it keeps the arguments for `env::args_os`.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    let args: Vec<OsString> = env::args_os().collect();
    let word = |at: usize| args.get(at).map_or("", |arg| arg.to_str().unwrap_or(""));
    let number = |at: usize| word(at).parse().unwrap_or(99);
    match word(1) {
        "args" => say(&lines(args.iter().map(OsString::as_os_str))),
        "count" => say(&format!("{} {}\n", args.len(), args.iter().map(|arg| arg.len()).sum::<usize>())),
        "env" => say(&environment()),
        "cwd" => say(&format!("{}\n", escaped(env::current_dir().unwrap_or_default().as_os_str()))),
        "process" => {
            let text = process();
            write_to(Path::new(args.get(2).map_or(OsStr::new("/dev/stdout"), |path| path)), &text);
        }
        "cat" => {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::stdout().lock());
        }
        "exit" => return number(2),
        "kill" => raise(number(2)),
        "wait" => wait(),
        "mark" => write_to(Path::new(&args[2]), "the payload ran\n"),
        "run" => {
            let error = Command::new(&args[2]).args(&args[3..]).exec();
            say(&format!("cannot execute {}: {error}\n", escaped(&args[2])));
            return 98;
        }
        "measure" => measure(Path::new(&args[2]), &args[3], &args[4..]),
        "closed" => closed(word(2), &args[3], &args[4..]),
        "signals" => signals(word(2), word(3), &args[4], &args[5..]),
        _ => say("hello from the probe\n"),
    }
    0
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn write_to(path: &Path, text: &str) {
    if fs::write(path, text).is_err() {
        exit(97);
    }
}

fn escaped(text: &OsStr) -> String {
    text.as_bytes().escape_ascii().to_string()
}

fn lines<'a>(texts: impl Iterator<Item = &'a OsStr>) -> String {
    texts.map(|text| escaped(text) + "\n").collect()
}

/// Every entry as it was handed over, also those without `=`.
fn environment() -> String {
    let bytes = fs::read("/proc/self/environ").unwrap_or_default();
    let entries = bytes.split(|&byte| byte == 0).filter(|entry| !entry.is_empty());
    lines(entries.map(OsStr::from_bytes))
}

/// Descriptors, signals, umask, limits and directory.
fn process() -> String {
    let mut text = String::new();
    let mut numbers: Vec<u32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    for number in numbers {
        // The one that the list was read from is closed again.
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) {
            let flags = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
            let flags = flags.lines().find(|line| line.starts_with("flags:")).unwrap_or_default().to_owned();
            let _ = writeln!(text, "fd {number} {} {flags}", escaped(target.as_os_str()));
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = ["Umask:", "SigQ:", "SigPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:"];
    for line in status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name) && *name != "SigQ:")) {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&fs::read_to_string("/proc/self/limits").unwrap_or_default());
    let _ = writeln!(text, "cwd {}", escaped(env::current_dir().unwrap_or_default().as_os_str()));
    text
}

fn raise(signal: c_int) {
    // SAFETY: raise has no preconditions.
    unsafe { libc::raise(signal) };
}

/// Blocks the signals that the tests send, says so, and tells which one came first.
fn wait() {
    // SAFETY: the set is initialised by sigemptyset before its use; `signal` is valid for the call.
    let signal = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        say("ready\n");
        let mut signal = 0;
        libc::sigwait(&raw const set, &raw mut signal);
        signal
    };
    say(&format!("signal {signal}\n"));
    exit(40 + signal);
}

/// Runs a program to its end and writes the peak of its resident memory, in kB.
fn measure(report: &Path, program: &OsStr, args: &[OsString]) {
    let status = Command::new(program).args(args).status();
    // SAFETY: zero is a value of every field, and the structure is valid for the call.
    let peak = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage.ru_maxrss
    };
    write_to(report, &peak.to_string());
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))),
        Err(_) => exit(98),
    }
}

/// Closes descriptors, then becomes a program.
fn closed(numbers: &str, program: &OsStr, args: &[OsString]) {
    for number in numbers.split(',').filter_map(|number| number.parse::<c_int>().ok()) {
        // SAFETY: nothing here uses the standard descriptors as owned ones.
        unsafe { libc::close(number) };
    }
    become_program(program, args);
}

/// Blocks and ignores signals, then becomes a program.
fn signals(blocked: &str, ignored: &str, program: &OsStr, args: &[OsString]) {
    let numbers = |text: &str| text.split(',').filter_map(|n| n.parse::<c_int>().ok()).collect::<Vec<_>>();
    // SAFETY: the set is initialised before its use, and ignoring a signal installs no handler.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in numbers(blocked) {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in numbers(ignored) {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    become_program(program, args);
}

/// execve itself: the standard library would change the signals.
fn become_program(program: &OsStr, args: &[OsString]) {
    let c_string = |text: &OsStr| std::ffi::CString::new(text.as_bytes()).unwrap_or_default();
    let strings: Vec<_> = std::iter::once(program).chain(args.iter().map(OsString::as_os_str)).map(c_string).collect();
    let pointers: Vec<_> = strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: the array ends with a null pointer and the strings outlive the call.
    unsafe { libc::execv(strings[0].as_ptr(), pointers.as_ptr()) };
    exit(98);
}
