//! A launcher for packages without a seal, as the builders of the reference release make them. It starts sealed
//! packages as the usual launcher does.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use pspf_format::Error as FormatError;
use pspf_launcher::sys::{process, signals, stdio};
use pspf_launcher::{Environment, Error as LauncherError, Invocation, PackageFile, launch, own_file};
use pspf_unsealed::{Error, Opened};

const VERSION: &str = concat!("pspf-launcher-unsealed ", env!("CARGO_PKG_VERSION"), "\n");

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
            stdio::tell(&format!("pspf: error[{}]: {error}\n{hint}", error.class()));
            ExitCode::from(error.class().exit_code())
        }
    }
}

fn run() -> Result<(), Error> {
    if process::has_elevated_rights() {
        return Err(LauncherError::ElevatedRights.into());
    }
    let (file, path) = own_file()?;
    let file = PackageFile::from_file(file, &path)?;
    let environment = Environment::of_process();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let argv = arguments.iter().filter_map(|argument| CString::new(argument.clone().into_vec()).ok());
    // Rust's start-up ignores SIGPIPE; applications expect what the caller gives them.
    signals::reset_pipe();
    let invocation = Invocation { argv: argv.map(Cow::Owned).collect(), environment };
    let asked = |number: usize| arguments.get(number).and_then(|argument| argument.to_str());
    match file.unverified() {
        Ok(_) => match launch(&file, &invocation)? {},
        Err(LauncherError::Package { source: FormatError::NoSeal, .. }) => {
            let opened = Opened::open(&file)?;
            if is_command_line(&invocation.environment) {
                return answer(asked(1).unwrap_or("info"), &file, &opened);
            }
            match pspf_unsealed::run(&file, &opened, &invocation)? {}
        }
        Err(LauncherError::Package { source: FormatError::NotAPackage, .. }) if asked(1) == Some("--version") => {
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
