//! Starts the package that was just made.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use pspf_format::Class;

use crate::failure::{Failure, shown};
use crate::output::Destination;

/// Becomes the package: its exit code, its signals and its terminal are the application's from here on.
pub(crate) fn become_package(destination: &Destination, arguments: &[OsString]) -> anyhow::Result<()> {
    match replaced(destination, arguments) {
        Ok(never) => match never {},
        Err(error) => Err(error),
    }
}

fn replaced(destination: &Destination, arguments: &[OsString]) -> anyhow::Result<Infallible> {
    let error = Command::new(&destination.real).args(arguments).exec();
    Failure::new(Class::Exec, format!("starting {}", shown(&destination.path)))
        .because(error)
        .hint("a package starts on the machine that its launcher is for, from a file system that allows programs")
        .err()
}
