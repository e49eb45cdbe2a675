//! What is in memory stays there while it is secret.

/// Keeps what this process holds from core dumps, and from other processes of the same user that would look into it.
///
/// It lasts until the process ends or becomes another program. Where the system cannot do it, the work goes on: a key
/// file that is readable is the weaker place then as before.
pub(crate) fn keep_in() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
