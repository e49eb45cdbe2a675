//! Running the application as a child, where something is left to do after it: every signal goes on to it, and the
//! way it ends is the way we end.

use crate::Error;
use crate::sys::process::{Forked, exit_now, fork};
use crate::sys::signals::{Arrived, Child, block_all, die_by, let_terminal_stop, look_at, send, set_default, wait};

/// Forks; the child runs `start`, which does not return where it succeeds. The parent waits, passes signals on, runs
/// `after` and ends as the child did.
///
/// # Errors
/// Where there is no process to be had.
pub fn supervise(start: impl FnOnce() -> Error, after: impl FnOnce()) -> Result<core::convert::Infallible, Error> {
    let mask = block_all();
    // Ignored, it would make the kernel forget how the child ended.
    let child_signal = set_default(libc::SIGCHLD);
    let child = match fork() {
        Ok(Forked::Child) => {
            child_signal.restore();
            mask.restore();
            let error = start();
            crate::error::report(&error);
            exit_now(i32::from(error.class().exit_code()));
        }
        Ok(Forked::Parent(pid)) => pid,
        Err(source) => {
            child_signal.restore();
            mask.restore();
            return Err(Error::io("starting a process from", c"/proc/self/exe", source));
        }
    };
    let end = loop {
        match look_at(child) {
            Child::Running => {}
            // Stop with the child, so that the shell takes the terminal back; SIGCONT is passed on below.
            Child::Stopped => send(rustix::process::getpid().as_raw_nonzero().get(), libc::SIGSTOP),
            end => break end,
        }
        let Arrived { signal, sent_to_us } = wait();
        // What the terminal sends reaches the whole group, so the child has it already.
        if signal > 0 && signal != libc::SIGCHLD && (sent_to_us || signal == libc::SIGCONT) {
            send(child, signal);
        }
    };
    // What arrives from here on changes nothing; a command that the terminal stops is not waited for in vain.
    let_terminal_stop();
    after();
    match end {
        Child::Killed(signal) => die_by(signal),
        Child::Exited(code) => exit_now(code),
        Child::Running | Child::Stopped => exit_now(125),
    }
}
