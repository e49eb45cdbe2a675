//! Steers a program system call by system call: every call is shown before and after it happens, and can be the moment
//! in which the program dies, or be refused, or be held while something else goes on.
//!
//! Calls are counted over all threads from the moment in which the program was executed, so one number names one
//! moment. When the program becomes another one it is let go.

#![expect(unsafe_code, reason = "ptrace, which std does not offer")]

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::{fs, ptr};

/// A system call that is about to happen, or has happened.
pub(crate) struct Call {
    /// The first one of the program is number 1.
    pub(crate) number: usize,
    /// The kernel's number of the call.
    pub(crate) nr: i64,
    pub(crate) args: [u64; 6],
    /// What it returned; `None` before it happens.
    pub(crate) result: Option<i64>,
    tid: i32,
}

/// What becomes of a call. After it has happened only `Go`, `Kill` and `Signal` mean something.
pub(crate) enum Do {
    Go,
    /// The program dies here.
    Kill,
    /// The program gets a signal here.
    Signal(i32),
    /// The call does not happen, and returns this.
    Return(i64),
    /// The call happens, and returns this whatever came of it.
    Claim(i64),
    /// It transfers about half of what it was asked to: its third argument is halved.
    Short,
}

impl Do {
    pub(crate) fn fail(errno: i32) -> Self {
        Self::Return(-i64::from(errno))
    }
}

/// How a program ended, what it said, and how many calls it made before it became another program.
pub(crate) struct Driven {
    pub(crate) output: Output,
    pub(crate) calls: usize,
}

impl Call {
    /// A NUL-terminated argument.
    pub(crate) fn text(&self, arg: usize) -> Vec<u8> {
        let mut bytes = self.bytes(self.args[arg], 4096);
        bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
        bytes
    }

    /// The program's memory, as far as it reaches.
    pub(crate) fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let memory = fs::File::open(format!("/proc/{}/mem", self.tid)).expect("the memory of a child can be read");
        let mut bytes = vec![0; len];
        let mut done = 0;
        // Page by page: the last one may end what can be read.
        while done < len {
            let at = address + done as u64;
            let end = len.min(done + 4096 - usize::try_from(at % 4096).unwrap_or(0));
            match memory.read_at(&mut bytes[done..end], at) {
                Ok(read) if read > 0 => done += read,
                _ => break,
            }
        }
        bytes.truncate(done);
        bytes
    }

    /// Changes the program's memory.
    pub(crate) fn put(&self, address: u64, bytes: &[u8]) {
        let memory = fs::File::options().write(true).open(format!("/proc/{}/mem", self.tid));
        memory.and_then(|memory| memory.write_all_at(bytes, address)).expect("the memory of a child can be written");
    }

    /// Where a path argument leads: by the descriptor in another argument, or from the working directory.
    pub(crate) fn path(&self, descriptor: Option<usize>, arg: usize) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let name = PathBuf::from(std::ffi::OsString::from_vec(self.text(arg)));
        let base = match descriptor {
            Some(at) if self.args[at] as i32 != libc::AT_FDCWD => self.descriptor(at),
            _ => fs::read_link(format!("/proc/{}/cwd", self.tid)).unwrap_or_default(),
        };
        base.join(name)
    }

    /// What an argument that is a descriptor stands for.
    pub(crate) fn descriptor(&self, arg: usize) -> PathBuf {
        self.open_file(i64::from(self.args[arg] as i32))
    }

    /// What a descriptor stands for.
    pub(crate) fn open_file(&self, descriptor: i64) -> PathBuf {
        fs::read_link(format!("/proc/{}/fd/{descriptor}", self.tid)).unwrap_or_default()
    }
}

/// Runs `command`, which is or becomes `program`, and shows `visit` every call that this program makes.
pub(crate) fn drive(mut command: Command, program: &Path, mut visit: impl FnMut(&Call) -> Do) -> Driven {
    // SAFETY: the closure makes system calls alone and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            // Whoever runs the tests in the background ignores the first, and a child would do so too.
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            request(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)
        });
    }
    #[expect(clippy::zombie_processes, reason = "it is waited for by its id, as ptrace has it")]
    let mut child = pspf_tests::forks::spawn(&mut command).expect("the program can be started");
    drop(child.stdin.take());
    let leader = i32::try_from(child.id()).expect("a process id");
    let mut tracer = Tracer { leader, inside: false, calls: 0, known: HashSet::new(), pending: HashMap::new() };
    let status = tracer.until_the_end(program, &mut visit);
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    child.stdout.take().expect("a pipe").read_to_end(&mut output.stdout).expect("its output can be read");
    child.stderr.take().expect("a pipe").read_to_end(&mut output.stderr).expect("its output can be read");
    Driven { output, calls: tracer.calls }
}

struct Tracer {
    leader: i32,
    /// Whether the program was executed.
    inside: bool,
    calls: usize,
    known: HashSet<i32>,
    /// Of each thread in a call: the call, and what it is to return whatever comes of it.
    pending: HashMap<i32, (Call, Option<i64>)>,
}

impl Tracer {
    fn until_the_end(&mut self, program: &Path, visit: &mut dyn FnMut(&Call) -> Do) -> ExitStatus {
        loop {
            let (tid, status) = wait(-1, libc::__WALL | libc::__WNOTHREAD).expect("there is a child");
            if !libc::WIFSTOPPED(status) {
                if tid == self.leader {
                    return ExitStatus::from_raw(status);
                }
                continue;
            }
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            let first = self.known.insert(tid);
            let mut deliver = 0;
            if first && tid == self.leader {
                let options = libc::PTRACE_O_TRACESYSGOOD
                    | libc::PTRACE_O_EXITKILL
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_TRACEEXEC;
                request(libc::PTRACE_SETOPTIONS, tid, 0, options as usize).expect("options can be set");
                self.inside = runs(tid, program);
            } else if event == libc::PTRACE_EVENT_EXEC {
                if self.inside {
                    // It has become the application, which nobody looks at.
                    request(libc::PTRACE_DETACH, tid, 0, 0).expect("a stopped child can be let go");
                    return ExitStatus::from_raw(wait(self.leader, 0).expect("there is a child").1);
                }
                self.inside = runs(tid, program);
            } else if signal == libc::SIGTRAP | 0x80 {
                self.call(tid, visit);
            } else if event == 0 && !(first && signal == libc::SIGSTOP) {
                deliver = usize::try_from(signal).unwrap_or_default();
            }
            // A thread that was killed meanwhile is waited for above.
            let _ = request(libc::PTRACE_SYSCALL, tid, 0, deliver);
        }
    }

    fn call(&mut self, tid: i32, visit: &mut dyn FnMut(&Call) -> Do) {
        if !self.inside {
            return;
        }
        let Some(now) = stopped_at(tid) else { return };
        let action = match now {
            At::Entry { nr, args } => {
                self.calls += 1;
                let call = Call { number: self.calls, nr, args, result: None, tid };
                let action = visit(&call);
                let mut instead = None;
                match action {
                    Do::Return(value) => {
                        instead = Some(value);
                        set(tid, Register::Number, u64::MAX);
                    }
                    Do::Claim(value) => instead = Some(value),
                    Do::Short => set(tid, Register::ThirdArgument, args[2].div_ceil(2)),
                    Do::Go | Do::Kill | Do::Signal(_) => {}
                }
                self.pending.insert(tid, (call, instead));
                action
            }
            At::Exit { mut result } => {
                let Some((mut call, instead)) = self.pending.remove(&tid) else { return };
                if let Some(value) = instead {
                    set(tid, Register::Result, value.cast_unsigned());
                    result = value;
                }
                // A program may rely on its arguments being as they were.
                set(tid, Register::ThirdArgument, call.args[2]);
                call.result = Some(result);
                visit(&call)
            }
        };
        let signal = match action {
            Do::Kill => libc::SIGKILL,
            Do::Signal(signal) => signal,
            Do::Go | Do::Return(_) | Do::Claim(_) | Do::Short => return,
        };
        // SAFETY: kill has no memory preconditions.
        unsafe { libc::kill(self.leader, signal) };
    }
}

fn runs(pid: i32, program: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program)
}

enum At {
    Entry { nr: i64, args: [u64; 6] },
    Exit { result: i64 },
}

fn stopped_at(tid: i32) -> Option<At> {
    let mut info = std::mem::MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let len = size_of::<libc::ptrace_syscall_info>();
    request(libc::PTRACE_GET_SYSCALL_INFO, tid, len, info.as_mut_ptr().addr()).ok()?;
    // SAFETY: zero is a value of every field, and the kernel says by `op` which of the union it wrote.
    unsafe {
        let info = info.assume_init();
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                Some(At::Entry { nr: info.u.entry.nr.cast_signed(), args: info.u.entry.args })
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => Some(At::Exit { result: info.u.exit.sval }),
            _ => None,
        }
    }
}

enum Register {
    Number,
    Result,
    ThirdArgument,
}

#[cfg(target_arch = "x86_64")]
fn set(tid: i32, register: Register, value: u64) {
    let offset = match register {
        Register::Number => std::mem::offset_of!(libc::user_regs_struct, orig_rax),
        Register::Result => std::mem::offset_of!(libc::user_regs_struct, rax),
        Register::ThirdArgument => std::mem::offset_of!(libc::user_regs_struct, rdx),
    };
    // Whoever was killed meanwhile has no registers.
    let _ = request(libc::PTRACE_POKEUSER, tid, offset, usize::try_from(value).unwrap_or_default());
}

#[cfg(not(target_arch = "x86_64"))]
fn set(_: i32, _: Register, _: u64) {
    panic!("this test changes system calls, which is written for x86-64 alone");
}

fn wait(pid: i32, flags: i32) -> io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: a place for the status.
    match unsafe { libc::waitpid(pid, &raw mut status, flags) } {
        -1 => Err(io::Error::last_os_error()),
        tid => Ok((tid, status)),
    }
}

/// A request with two addresses or numbers.
fn request(what: libc::c_uint, tid: i32, address: usize, data: usize) -> io::Result<i64> {
    let pointer = |value: usize| ptr::with_exposed_provenance_mut::<libc::c_void>(value);
    // SAFETY: callers pass numbers, or addresses of live memory that the kernel may write.
    match unsafe { libc::ptrace(what, tid, pointer(address), pointer(data)) } {
        -1 => Err(io::Error::last_os_error()),
        done => Ok(done),
    }
}

/// The name of a call, where a launcher is known to make it.
pub(crate) fn name(nr: i64) -> String {
    macro_rules! names {
        ($($(#[$attribute:meta])* $call:ident $text:literal)*) => {
            [$($(#[$attribute])* (libc::$call, $text)),*]
        };
    }
    let names = names! {
        SYS_brk "brk" SYS_chdir "chdir" SYS_clock_gettime "clock_gettime" SYS_clone "clone" SYS_clone3 "clone3" SYS_close "close"
        SYS_copy_file_range "copy_file_range" SYS_execve "execve" SYS_exit "exit" SYS_exit_group "exit_group"
        SYS_faccessat "faccessat" SYS_fchmod "fchmod" SYS_fchmodat "fchmodat" SYS_fcntl "fcntl" SYS_flock "flock"
        SYS_fstat "fstat" SYS_fstatfs "fstatfs" SYS_fsync "fsync" SYS_ftruncate "ftruncate" SYS_futex "futex"
        SYS_getcwd "getcwd" SYS_getdents64 "getdents64" SYS_geteuid "geteuid" SYS_getpid "getpid"
        SYS_getrandom "getrandom" SYS_getuid "getuid" SYS_ioctl "ioctl" SYS_kill "kill" SYS_linkat "linkat"
        SYS_lseek "lseek" SYS_madvise "madvise" SYS_membarrier "membarrier" SYS_mkdirat "mkdirat" SYS_mmap "mmap"
        SYS_mprotect "mprotect" SYS_mremap "mremap" SYS_munmap "munmap" SYS_nanosleep "nanosleep"
        SYS_newfstatat "newfstatat" SYS_openat "openat" SYS_openat2 "openat2" SYS_pread64 "pread64"
        SYS_pwrite64 "pwrite64" SYS_pwritev2 "pwritev2" SYS_read "read" SYS_readlinkat "readlinkat"
        SYS_renameat "renameat" SYS_renameat2 "renameat2" SYS_rt_sigaction "rt_sigaction"
        SYS_rt_sigprocmask "rt_sigprocmask" SYS_sched_getaffinity "sched_getaffinity" SYS_sched_yield "sched_yield"
        SYS_set_tid_address "set_tid_address" SYS_statfs "statfs" SYS_statx "statx" SYS_symlinkat "symlinkat"
        SYS_syncfs "syncfs" SYS_umask "umask" SYS_unlinkat "unlinkat" SYS_utimensat "utimensat" SYS_write "write"
        SYS_writev "writev"
        #[cfg(target_arch = "x86_64")] SYS_access "access"
        #[cfg(target_arch = "x86_64")] SYS_arch_prctl "arch_prctl"
        #[cfg(target_arch = "x86_64")] SYS_chmod "chmod"
        #[cfg(target_arch = "x86_64")] SYS_link "link"
        #[cfg(target_arch = "x86_64")] SYS_mkdir "mkdir"
        #[cfg(target_arch = "x86_64")] SYS_open "open"
        #[cfg(target_arch = "x86_64")] SYS_readlink "readlink"
        #[cfg(target_arch = "x86_64")] SYS_rename "rename"
        #[cfg(target_arch = "x86_64")] SYS_rmdir "rmdir"
        #[cfg(target_arch = "x86_64")] SYS_stat "stat"
        #[cfg(target_arch = "x86_64")] SYS_symlink "symlink"
        #[cfg(target_arch = "x86_64")] SYS_unlink "unlink"
    };
    let found = names.iter().find(|(number, _)| *number == nr);
    found.map_or_else(|| format!("system call {nr}"), |(_, name)| (*name).to_owned())
}
