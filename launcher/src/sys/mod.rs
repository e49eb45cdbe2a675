//! What needs `unsafe`: maps, signals, execve, the auxiliary vector.

pub mod arena;
pub mod map;
pub mod process;
pub mod signals;
