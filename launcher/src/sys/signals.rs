//! Signals: what the application must find as the caller left it, and what a supervising parent passes on.

use core::mem::MaybeUninit;

/// A signal's disposition, to be put back.
#[derive(Clone, Copy)]
pub struct Disposition {
    signal: libc::c_int,
    action: libc::sigaction,
}

/// A signal that is ignored until this is dropped.
pub struct Ignored(Disposition);

impl Ignored {
    /// A file size limit is an error like any other meanwhile, not the end of the process.
    pub fn file_size() -> Self {
        Self(ignore(libc::SIGXFSZ))
    }
}

impl Drop for Ignored {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Ignores a signal; returns what to put back.
fn ignore(signal: libc::c_int) -> Disposition {
    // SAFETY: `ignore` and `old` are valid for the call; zero is a value of every field.
    unsafe {
        let mut ignore: libc::sigaction = core::mem::zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        let mut old: libc::sigaction = core::mem::zeroed();
        libc::sigaction(signal, &raw const ignore, &raw mut old);
        Disposition { signal, action: old }
    }
}

/// Gives a signal its default disposition; returns what to put back.
pub fn set_default(signal: libc::c_int) -> Disposition {
    let old = ignore(signal);
    reset(signal);
    old
}

/// Gives SIGCHLD its default disposition, so that a child can be waited for; returns what to put back.
pub fn set_child_default() -> Disposition {
    set_default(libc::SIGCHLD)
}

/// Gives a signal its default disposition.
pub fn reset(signal: libc::c_int) {
    // SAFETY: as above.
    unsafe {
        let default: libc::sigaction = core::mem::zeroed();
        libc::sigaction(signal, &raw const default, core::ptr::null_mut());
    }
}

/// Gives SIGPIPE its default disposition, which the start-up of a Rust program takes away.
pub fn reset_pipe() {
    reset(libc::SIGPIPE);
}

impl Disposition {
    /// Puts the disposition back.
    pub fn restore(self) {
        // SAFETY: the action came from the kernel.
        unsafe { libc::sigaction(self.signal, &raw const self.action, core::ptr::null_mut()) };
    }
}

/// A signal mask, to be put back.
pub struct Mask(libc::sigset_t);

/// Blocks every signal; returns the mask to put back.
pub fn block_all() -> Mask {
    let mut all = MaybeUninit::uninit();
    let mut old = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises `all`, sigprocmask initialises `old`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        Mask(old.assume_init())
    }
}

impl Mask {
    /// Puts the mask back.
    pub fn restore(&self) {
        // SAFETY: the mask came from the kernel.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, core::ptr::null_mut()) };
    }
}

/// A signal that arrived.
pub struct Arrived {
    /// Its number.
    pub signal: libc::c_int,
    /// Whether another process sent it to us alone, rather than the terminal to the whole group.
    pub sent_to_us: bool,
}

/// Waits for any signal; all must be blocked.
pub fn wait() -> Arrived {
    let mut all = MaybeUninit::uninit();
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: sigfillset initialises `all`; `info` is valid memory for the kernel to fill and zero otherwise.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        let signal = libc::sigwaitinfo(all.as_ptr(), info.as_mut_ptr());
        let code = info.assume_init().si_code;
        // A terminal sends these to the whole group, so the child has them already; that it is gone, it tells the leader of
        // its session alone.
        let of_terminal = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];
        Arrived { signal, sent_to_us: code <= 0 || !of_terminal.contains(&signal) }
    }
}

/// Sends a signal to a process.
pub fn send(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(pid, signal) };
}

/// How a child ended or paused.
pub enum Child {
    /// It still runs.
    Running,
    /// It was stopped.
    Stopped,
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(libc::c_int),
}

/// Looks at a child without waiting.
pub fn look_at(pid: libc::pid_t) -> Child {
    let mut status = 0;
    // SAFETY: `status` is valid for the call.
    let found = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
    if found != pid {
        Child::Running
    } else if libc::WIFSTOPPED(status) {
        // By the terminal, which stops all; what stops the child alone is no matter of ours.
        match libc::WSTOPSIG(status) {
            libc::SIGSTOP => Child::Running,
            _ => Child::Stopped,
        }
    } else if libc::WIFSIGNALED(status) {
        Child::Killed(libc::WTERMSIG(status))
    } else {
        Child::Exited(libc::WEXITSTATUS(status))
    }
}

/// Lets the terminal stop this process, though everything else stays blocked.
pub fn let_terminal_stop() {
    const STOPS: u64 = 1 << (libc::SIGTSTP - 1) | 1 << (libc::SIGTTIN - 1) | 1 << (libc::SIGTTOU - 1);
    unblock(STOPS);
}

/// Unblocks signals, by the bits that the kernel has them as.
fn unblock(signals: u64) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a set is at least 64 bits, the first of which are for the signals from 1 on; zero otherwise, it is valid.
    unsafe {
        set.as_mut_ptr().cast::<u64>().write(signals);
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), core::ptr::null_mut());
    }
}

/// Ends this process by a signal, as it ended the child; others that wait are not delivered.
pub fn die_by(signal: libc::c_int) -> ! {
    reset(signal);
    // SAFETY: raise has no preconditions.
    unsafe {
        libc::raise(signal);
    }
    unblock(1 << (signal - 1));
    crate::sys::process::exit_now(128 + signal)
}
