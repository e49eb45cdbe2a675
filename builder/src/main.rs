//! `pspf`: packs an application with its runtime into one signed file that runs.

#![forbid(unsafe_code)]

mod args;
mod build_cache;
mod build_cache_command;
mod build_cache_files;
mod cache_command;
mod clean_copy;
mod coder;
mod compat;
mod compress;
mod content;
mod convert_command;
mod each_file;
mod elf;
mod extract_command;
mod extract_unsealed;
mod failure;
mod frames;
mod host;
mod input;
mod inspect_command;
mod inspect_fields;
mod inspect_files;
mod inspect_layout;
mod inspect_package;
mod inspect_report;
mod inspect_unsealed;
mod interrupt;
mod kept_setup;
mod kept_trial;
mod key_command;
mod keyfile;
mod launcher_command;
mod links;
mod manifest;
mod memory;
mod node;
mod operations;
mod order;
mod output;
mod pack_command;
mod pack_report;
mod paths;
mod plan;
mod program;
mod project_copy;
mod provider;
mod pyc;
mod python;
mod readback;
mod recipe;
mod reference_manifest;
mod reference_package;
mod relocate;
mod run_command;
mod secrecy;
mod selection;
mod setup_files;
mod sign_command;
mod signers;
mod slot;
mod start;
mod step;
mod stream;
mod stub;
mod tree;
mod verify_check;
mod verify_command;
mod verify_coverage;
mod verify_report;
#[cfg(test)]
mod verify_sample;
mod verify_unsealed;
mod voice;
mod windows_names;
mod workplace;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use pspf_format::Class;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let is_verify = matches!(cli.command, Command::Verify(_));
    let code = |class: Class| ExitCode::from(if is_verify { class.verify_code() } else { class.exit_code() });
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        voice::say(&format!("pspf: error[{}]: this program panicked at {place}\n", Class::Internal));
        voice::say("  hint: please report this with the command that led to it\n");
    }));
    match std::panic::catch_unwind(|| run(cli.command)) {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            voice::say(&failure::lines(&error));
            code(failure::class(&error))
        }
        Err(_) => code(Class::Internal),
    }
}

/// Help that was asked for is a result; anything else is an error like all others.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        voice::say(&format!("pspf: error[{}]: {text}", Class::Usage));
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Class::Usage.exit_code()))
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let out = &mut voice::UntilClosed::new(std::io::stdout().lock());
    match command {
        Command::Pack(args) => pack_command::run(*args, out)?,
        Command::Run(args) => run_command::run(args)?,
        Command::Verify(args) => return Ok(ExitCode::from(verify_command::run(&args, out))),
        Command::Inspect(args) => inspect_command::run(&args, out)?,
        Command::Extract(args) => extract_command::run(&args, out)?,
        Command::Sign(args) => sign_command::run(&args, out)?,
        Command::Key(args) => key_command::run(&args, out)?,
        Command::Cache(args) => cache_command::run(&args, out)?,
        Command::Convert(args) => convert_command::run(args, out)?,
        Command::Provider(args) => provider::run(&args, out)?,
        Command::Launcher(args) => launcher_command::run(&args, out)?,
    }
    Ok(ExitCode::SUCCESS)
}
