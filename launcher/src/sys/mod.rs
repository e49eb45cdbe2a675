//! What needs `unsafe`: memory, threads, signals, standard streams, execve, the auxiliary vector, the C library's words.

pub mod arena;
pub mod clock;
pub mod lock;
pub(crate) mod pages;
pub mod process;
pub mod signals;
pub mod stdio;
pub mod strerror;
pub mod thread;
