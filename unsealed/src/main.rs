//! The launcher that starts every package: sealed ones as the usual launcher does, those that need a work environment,
//! and those without a seal, as the builders of the reference release make them.
//!
//! Without a Rust `main`: what its start-up does to signals and closed descriptors would reach the application.

#![no_main]
#![expect(unsafe_code, reason = "the entry point that the C library calls")]

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

use pspf_format::Error as FormatError;
use pspf_launcher::sys::process::{self, c_strings};
use pspf_launcher::sys::stdio;
use pspf_launcher::{Environment, Error as LauncherError, Invocation, PackageFile, own_file};
use pspf_unsealed::{Error, Opened};
use pspf_workenv::{MARKER, run_package};

#[used]
static MARK: &[u8] = MARKER;

const VERSION: &str = concat!("pspf-launcher-full ", env!("CARGO_PKG_VERSION"), "\n");

/// What the C library calls.
///
/// # Safety
/// `argv` is the NULL-terminated array that the kernel made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(_argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the C library passes the kernel's NULL-terminated array, and nobody changes it.
    let argv = unsafe { c_strings(argv) };
    std::panic::set_hook(Box::new(|_| pspf_launcher::panicked()));
    match run(argv) {
        Ok(()) => 0,
        Err(error) => {
            let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
            stdio::tell(&format!("pspf: error[{}]: {error}\n{hint}", error.class()));
            c_int::from(error.class().exit_code())
        }
    }
}

fn run(argv: Vec<Cow<'static, CStr>>) -> Result<(), Error> {
    if process::has_elevated_rights() {
        return Err(LauncherError::ElevatedRights.into());
    }
    let (file, path) = own_file()?;
    let file = PackageFile::from_file(file, &path)?;
    let invocation = Invocation { argv, environment: Environment::of_process() };
    let asked = invocation.environment.get("PSPF_SELF").filter(|value| !value.is_empty());
    let first = invocation.argv.get(1).and_then(|argument| argument.to_str().ok());
    match file.unverified() {
        Ok(unverified) => {
            if let Some(value) = asked {
                return print(&pspf_launcher::answer(value, &file, &invocation.environment)?);
            }
            let sealed = unverified.verify().map_err(|error| file.wrong(error))?;
            match run_package(&file, &file.opened(sealed)?, &invocation)? {}
        }
        Err(LauncherError::Package { source: FormatError::NoSeal, .. }) => {
            let opened = Opened::open(&file)?;
            if is_command_line(&invocation.environment) {
                return answer(first.unwrap_or("info"), &file, &opened);
            }
            match pspf_unsealed::run(&file, &opened, &invocation)? {}
        }
        Err(LauncherError::Package { source: FormatError::NotAPackage, .. }) if first == Some("--version") => {
            print(VERSION)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the caller wants to know something of the package, in the way of the reference release.
fn is_command_line(environment: &Environment) -> bool {
    environment.get("FLAVOR_LAUNCHER_CLI").is_some_and(|value| value == b"1" || value.eq_ignore_ascii_case(b"true"))
}

/// What its builders ask of a package.
fn answer(command: &str, file: &PackageFile, opened: &Opened) -> Result<(), Error> {
    let identity = &opened.package().metadata.package;
    let name = |text: &str| text.escape_debug().to_string();
    match command {
        "version" => print(VERSION),
        "info" => print(&format!("{} {}\n", name(&identity.name), name(&identity.version))),
        "verify" => {
            opened.check(file)?;
            let signer = opened.signer().fingerprint();
            print(&format!("intact as far as it is signed; by ed25519:{signer}, a key that the file itself names\n"))
        }
        _ => {
            Err(Error::Usage { reason: format!("FLAVOR_LAUNCHER_CLI is set, and the command is `{}`", name(command)) })
        }
    }
}

fn print(text: &str) -> Result<(), Error> {
    let written = stdio::print(text.as_bytes());
    written.map_err(|errno| LauncherError::io("writing to", c"standard output", errno).into())
}
