//! The programs that are measured or needed: `pspf`, and those of the system.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use pspf_keys::SecretKey;

use super::place::Place;

/// A program of the system, by its absolute path.
pub(super) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("this needs `{name}`: {}", how_to_install(name)))
}

/// The command that installs it.
pub(super) fn how_to_install(name: &str) -> String {
    let package = match name {
        "sha256sum" => "coreutils",
        "sh" => "dash",
        name => name,
    };
    format!("apt-get install {package}")
}

/// A launcher that packages begin with.
#[derive(Clone, Debug)]
pub(super) struct Stub {
    /// What its packages are called in tables.
    pub(super) name: String,
    /// `None` for the one that is built in.
    pub(super) file: Option<PathBuf>,
}

/// `pspf`, with a key to sign with.
#[derive(Debug)]
pub(super) struct Pspf {
    pub(super) program: PathBuf,
    /// The level that it compresses with where none is given.
    pub(super) level: u32,
    /// All of `--version`.
    pub(super) version: String,
    key: PathBuf,
    pub(super) public_key: PathBuf,
    /// What it runs in when it is not measured.
    env: Vec<(OsString, OsString)>,
}

impl Pspf {
    /// Builds it with the profile of the bench, which must not be that for debugging.
    pub(super) fn build(place: &Place) -> anyhow::Result<Self> {
        let bench = std::env::current_exe().context("the path of the bench")?;
        let profile = bench.parent().context("the directory of the bench")?;
        if cfg!(debug_assertions) {
            bail!("programs built for debugging are not measured: cargo run --release -p pspf-tests --bin bench");
        }
        let program = crate::programs::build_pspf(profile);
        fs::create_dir_all(place.path("home"))?;
        let env = place.env(&place.path("packing"));
        let secret = SecretKey::from_seed(&[7; 32]);
        let (key, public_key) = (place.path("bench.key"), place.path("bench.pub"));
        fs::write(&key, secret.to_pkcs8_pem().as_bytes())?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::write(&public_key, secret.public_key().to_openssh(""))?;
        let mut pspf = Self { program, level: 0, version: String::new(), key, public_key, env };
        pspf.version = pspf.say(&["--version"])?.trim().to_owned();
        let help = pspf.say(&["pack", "--help"])?;
        pspf.level = default_level(&help).context("`pspf pack --help` does not tell its default level")?;
        Ok(pspf)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn say(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command().args(args).output().context("starting pspf")?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The words that pack `input` into `out`; both begin with an absolute path.
    pub(super) fn pack_words(&self, input: &Path, out: &Path, stub: &Stub, more: &[String]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.program.clone().into(), "pack".into(), "--key".into()];
        words.extend([self.key.clone().into(), "-o".into(), out.into()]);
        if let Some(file) = &stub.file {
            words.extend(["--launcher".into(), file.into()]);
        }
        words.extend(more.iter().map(OsString::from));
        words.push(input.into());
        words
    }

    /// Packs, outside of any measurement.
    pub(super) fn pack(&self, input: &Path, out: &Path, stub: &Stub, more: &[String]) -> anyhow::Result<()> {
        let words = self.pack_words(input, out, stub, more);
        let output = self.command().args(&words[1..]).output().context("starting pspf")?;
        if !output.status.success() {
            bail!("{words:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// What `--help` says of `--level`.
fn default_level(help: &str) -> Option<u32> {
    let of_level = help.split_once("--level")?.1;
    of_level.split_once("[default: ")?.1.split(']').next()?.parse().ok()
}

/// The bytes of the launcher in a package (SPEC §3.2: the index, 8,196 bytes before the end, has its size at byte 16).
pub(super) fn launcher_size(package: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(package)?;
    let len = file.metadata()?.len();
    let mut size = [0; 8];
    file.read_exact_at(&mut size, len.checked_sub(8196).context("the package is too short")? + 16)?;
    Ok(u64::from_le_bytes(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_level_is_read_from_the_help() {
        let help = "      --launcher <FILE>\n          Launcher to use\n\n      --level <N>\n          Compression: 1 is \
                    fast, 22 is small\n          \n          [default: 3]\n\n      --json";
        assert_eq!(default_level(help), Some(3));
        assert_eq!(default_level("--launcher"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_the_command_that_installs_it() {
        let error = find("no-such-program").unwrap_err().to_string();
        assert_eq!(error, "this needs `no-such-program`: apt-get install no-such-program");
    }

    #[test]
    fn the_size_of_the_launcher_is_read_from_the_index() {
        let sandbox = crate::Sandbox::new(crate::Who::Caller);
        let mut bytes = vec![0; 20_000];
        let at = bytes.len() - 8196 + 16;
        bytes[at..at + 8].copy_from_slice(&1_081_496_u64.to_le_bytes());
        assert_eq!(launcher_size(&sandbox.write("package", bytes)).unwrap(), 1_081_496);
        assert!(launcher_size(&sandbox.write("short", [0; 8195])).is_err());
    }
}
