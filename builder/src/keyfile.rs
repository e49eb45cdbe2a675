//! Key files on disk: who may read them, where passphrases come from, and how a new pair is written.
//!
//! What the files mean is `pspf_keys`' business. A passphrase never comes from the command line or the environment,
//! where other processes could read it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pspf_format::Class;
use pspf_keys::{EncryptedKey, KeyError, MAX_FILE_LEN, PublicKey, SecretKey, SecretKeyFile, Zeroizing};

use crate::args::PassphraseArgs;
use crate::failure::{At, Failure, shown};
use crate::secrecy;

/// Most bytes of a passphrase.
const MAX_PASSPHRASE_LEN: usize = 4096;
/// How often a person may mistype.
const ATTEMPTS: usize = 3;
const HOW_TO_GIVE_A_PASSPHRASE: &str = "run it on a terminal, or give `--passphrase-file FILE` or `--passphrase-fd N`";

/// Where the passphrase of a key file comes from.
pub(crate) enum PassphraseSource {
    /// A person at the terminal, asked for each file.
    Prompt,
    /// Read already, the same for every file of this run: a descriptor can be read only once.
    Given(Zeroizing<Vec<u8>>),
}

impl PassphraseSource {
    /// Reads what the options name. Whoever opens a private key needs this first.
    pub(crate) fn new(args: &PassphraseArgs) -> anyhow::Result<Self> {
        secrecy::keep_in();
        let (file, name) = match (&args.passphrase_file, args.passphrase_fd) {
            (Some(path), _) => (File::open(path).at("reading", path)?, shown(path)),
            (None, Some(number)) => descriptor(number)?,
            (None, None) => return Ok(Self::Prompt),
        };
        let passphrase = first_line(file).with_context(|| format!("passphrase in {name}"))?;
        Ok(Self::Given(passphrase))
    }

    fn open(&self, path: &Path, key: &EncryptedKey) -> anyhow::Result<SecretKey> {
        let Self::Given(passphrase) = self else {
            return prompt_and_open(path, key);
        };
        Ok(key.open(passphrase)?)
    }

    /// The passphrase for a new key; a person is asked twice.
    pub(crate) fn for_new_key(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let passphrase = match self {
            Self::Given(passphrase) => passphrase.clone(),
            Self::Prompt => {
                let first = prompt("Passphrase for the new key: ")?;
                if first.is_empty() {
                    return Err(KeyError::EmptyPassphrase.into());
                }
                if first != prompt("The same again: ")? {
                    return Failure::usage("the two passphrases differ").err();
                }
                first
            }
        };
        if passphrase.is_empty() {
            return Err(KeyError::EmptyPassphrase.into());
        }
        Ok(passphrase)
    }
}

fn descriptor(number: i32) -> anyhow::Result<(File, String)> {
    if number < 0 {
        return Failure::usage(format!("`--passphrase-fd` is `{number}`, expected 0 or more")).err();
    }
    // Opened by name: taking over a number would be unsafe, since something else may own it.
    let path = PathBuf::from(format!("/dev/fd/{number}"));
    let file = File::open(&path).at("reading", &path)?;
    Ok((file, format!("file descriptor {number}")))
}

/// The only line of the file, without its end.
fn first_line(file: File) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut line = read_at_most(file, MAX_PASSPHRASE_LEN)?;
    if line.len() > MAX_PASSPHRASE_LEN {
        return Failure::usage(format!("more than {MAX_PASSPHRASE_LEN} bytes")).err();
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.contains(&b'\n') {
        return Failure::usage("more than one line").hint("write the passphrase alone, on one line").err();
    }
    Ok(line)
}

fn prompt_and_open(path: &Path, key: &EncryptedKey) -> anyhow::Result<SecretKey> {
    let mut attempt = 1;
    loop {
        let passphrase = prompt(&format!("Passphrase for {}: ", shown(path)))?;
        match key.open(&passphrase) {
            Err(KeyError::WrongPassphrase) if attempt < ATTEMPTS => attempt += 1,
            result => return Ok(result?),
        }
    }
}

/// Asks on the terminal itself, so that redirected input and output do not matter.
fn prompt(text: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    match rpassword::prompt_password(text) {
        Ok(passphrase) => Ok(Zeroizing::new(passphrase.into_bytes())),
        Err(error) => Failure::usage(format!("no terminal to ask for the passphrase: {error}"))
            .hint(HOW_TO_GIVE_A_PASSPHRASE)
            .err(),
    }
}

/// Reads a public key file, in any of the forms that `pspf_keys` knows.
pub(crate) fn read_public(path: &Path) -> anyhow::Result<PublicKey> {
    let (bytes, _) = read(path)?;
    PublicKey::parse(&bytes).with_context(|| shown(path))
}

/// Reads a private key file that nobody but its owner can read, and opens it if it is encrypted.
pub(crate) fn read_secret(path: &Path, source: &PassphraseSource) -> anyhow::Result<SecretKey> {
    let (bytes, metadata) = read(path)?;
    secret(path, &bytes, &metadata, source)
}

/// A public key, or the public half of a private one.
pub(crate) enum AnyKey {
    /// The file holds a public key.
    Public(PublicKey),
    /// The file holds a private key, whose public half this is.
    Private(PublicKey),
}

/// Reads a key file of either sort; the private sort is held to the rules of [`read_secret`].
pub(crate) fn read_any(path: &Path, source: &PassphraseSource) -> anyhow::Result<AnyKey> {
    let (bytes, metadata) = read(path)?;
    match PublicKey::parse(&bytes) {
        Err(KeyError::PrivateGivenAsPublic) => {
            let key = secret(path, &bytes, &metadata, source)?;
            Ok(AnyKey::Private(key.public_key()))
        }
        result => Ok(AnyKey::Public(result.with_context(|| shown(path))?)),
    }
}

fn secret(path: &Path, bytes: &[u8], metadata: &Metadata, source: &PassphraseSource) -> anyhow::Result<SecretKey> {
    let file = SecretKeyFile::parse(bytes).with_context(|| shown(path))?;
    // After parsing: what is no private key at all should be called so first.
    refuse_if_others_can_read(path, metadata)?;
    match file {
        SecretKeyFile::Plain(key) => Ok(key),
        SecretKeyFile::Encrypted(key) => source.open(path, &key).with_context(|| shown(path)),
    }
}

#[cfg(unix)]
fn refuse_if_others_can_read(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Failure::usage(format!("private key {} is open to other users: its mode is {mode:04o}, expected 0600", shown(path)))
        .hint("run `chmod 600` on it; if others may have read it, replace the key")
        .err()
}

/// Elsewhere a file is as private as its folder.
#[cfg(not(unix))]
fn refuse_if_others_can_read(_: &Path, _: &Metadata) -> anyhow::Result<()> {
    Ok(())
}

/// The content, at most one byte more than a key file may have, and what the open file is. Links are followed.
fn read(path: &Path) -> anyhow::Result<(Zeroizing<Vec<u8>>, Metadata)> {
    let file = File::open(path).at("reading", path)?;
    let metadata = file.metadata().at("reading", path)?;
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > MAX_FILE_LEN && metadata.is_file() {
        let error = KeyError::TooLarge { limit: MAX_FILE_LEN, found: size };
        return Err(error).with_context(|| shown(path));
    }
    let bytes = read_at_most(file, MAX_FILE_LEN).at("reading", path)?;
    Ok((bytes, metadata))
}

/// Reads up to one byte more than the limit, into memory that is wiped and never moves.
fn read_at_most(file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    let limit = u64::try_from(limit + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A key pair that is on disk.
pub(crate) struct NewPair {
    /// The private key: PKCS#8 PEM, mode 0600.
    pub(crate) private: PathBuf,
    /// The public key: OpenSSH's line, mode 0644.
    pub(crate) public: PathBuf,
    /// The public half.
    pub(crate) key: PublicKey,
}

/// Makes a new key and writes `NAME.key`, encrypted if there is a passphrase, and `NAME.pub`.
///
/// Neither file may exist. If the second cannot be written the first is removed.
pub(crate) fn write_new_pair(dir: &Path, name: &str, passphrase: Option<&[u8]>) -> anyhow::Result<NewPair> {
    refuse_bad_name(name)?;
    secrecy::keep_in();
    let seed: Zeroizing<[u8; 32]> = random()?;
    let key = SecretKey::from_seed(&seed);
    let pem = match passphrase {
        None => key.to_pkcs8_pem(),
        Some(passphrase) => key.to_encrypted_pkcs8_pem(passphrase, &*random()?)?,
    };
    let key = key.public_key();
    let private = dir.join(format!("{name}.key"));
    let public = dir.join(format!("{name}.pub"));
    write_new(&private, 0o600, pem.as_bytes())?;
    let line = format!("{}\n", key.to_openssh(name));
    if let Err(error) = write_new(&public, 0o644, line.as_bytes()) {
        // The file is ours: it did not exist before. The error that matters is the first.
        let _ = fs::remove_file(&private);
        return Err(error);
    }
    Ok(NewPair { private, public, key })
}

fn refuse_bad_name(name: &str) -> anyhow::Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.starts_with(['-', '.']) {
        "it starts with `-` or `.`"
    } else if name.contains(['/', '\\']) || name.contains(char::is_control) {
        "it has a slash or a control character"
    } else if name.ends_with(".key") || name.ends_with(".pub") {
        "the endings `.key` and `.pub` are added to it"
    } else {
        return Ok(());
    };
    Failure::usage(format!("`{}` cannot be the name of a key: {reason}", name.escape_debug()))
        .hint("give a name such as `release`, and the folder with `--dir`")
        .err()
}

fn random() -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| Failure::new(Class::Io, format!("random numbers of the operating system: {error}")))?;
    Ok(bytes)
}

/// Creates the file with these permission bits; one that exists, if only as a dangling link, is left as it is.
fn write_new(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    with_mode(&mut options, mode);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Failure::usage(format!("{} exists already, and a key is never overwritten", shown(path)))
                .hint("choose another name, or move the old key away")
                .err();
        }
        result => result.at("creating", path)?,
    };
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.at("writing", path)
}

#[cfg(unix)]
fn with_mode(options: &mut OpenOptions, mode: u32) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(mode);
}

#[cfg(not(unix))]
fn with_mode(_: &mut OpenOptions, _: u32) {}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::failure::lines;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn given(passphrase: &str) -> PassphraseSource {
        PassphraseSource::Given(Zeroizing::new(passphrase.into()))
    }

    fn text<T>(result: anyhow::Result<T>) -> String {
        lines(&result.err().expect("an error"))
    }

    #[test]
    fn a_new_pair_is_private_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for (name, passphrase) in [("plain", None), ("locked", Some("secret"))] {
            let pair = write_new_pair(dir.path(), name, passphrase.map(str::as_bytes)).unwrap();
            assert_eq!((mode(&pair.private), mode(&pair.public)), (0o600, 0o644));
            assert_eq!(read_public(&pair.public).unwrap(), pair.key);
            let secret = read_secret(&pair.private, &given("secret")).unwrap();
            assert_eq!(secret.public_key(), pair.key);
            let line = fs::read_to_string(&pair.public).unwrap();
            assert!(line.ends_with(&format!(" {name}\n")), "{line}");
        }
        let wrong = read_secret(&dir.path().join("locked.key"), &given("wrong"));
        assert!(text(wrong).contains("locked.key`: wrong passphrase"));
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let pair = write_new_pair(dir.path(), "a", None).unwrap();
        let before = fs::read(&pair.private).unwrap();
        assert!(text(write_new_pair(dir.path(), "a", None)).contains("never overwritten"));
        assert_eq!(fs::read(&pair.private).unwrap(), before);

        fs::write(dir.path().join("b.pub"), "mine").unwrap();
        assert!(text(write_new_pair(dir.path(), "b", None)).contains("b.pub` exists already"));
        assert!(!dir.path().join("b.key").exists());

        symlink("nowhere", dir.path().join("c.key")).unwrap();
        assert!(text(write_new_pair(dir.path(), "c", None)).contains("c.key` exists already"));
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn bad_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "-x", ".x", "a/b", "../a", "a\nb", "a\\b", "a.key", "a.pub"] {
            assert!(text(write_new_pair(dir.path(), name, None)).contains("cannot be the name"), "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a80_a_private_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pair = write_new_pair(dir.path(), "a", None).unwrap();
        let set = |mode| fs::set_permissions(&pair.private, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            set(mode);
            let text = text(read_secret(&pair.private, &PassphraseSource::Prompt));
            assert!(text.contains(&format!("its mode is {mode:04o}")) && text.contains("chmod 600"), "{text}");
            assert!(read_any(&pair.private, &PassphraseSource::Prompt).is_err());
        }
        for mode in [0o600, 0o400, 0o700] {
            set(mode);
            assert!(read_secret(&pair.private, &PassphraseSource::Prompt).is_ok());
        }
        let link = dir.path().join("link");
        symlink(&pair.private, &link).unwrap();
        assert!(read_secret(&link, &PassphraseSource::Prompt).is_ok());
    }

    #[test]
    fn a81_large_and_endless_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(1 << 40).unwrap();
        assert!(text(read_public(&large)).contains("key file has 1099511627776 bytes"));
        assert!(text(read_public(Path::new("/dev/zero"))).contains("at most 65536"));
        assert!(read_public(dir.path()).is_err());
        assert!(text(read_public(&dir.path().join("none"))).contains("none`"));
    }

    #[test]
    fn a_passphrase_file_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let read = |content: &str| {
            fs::write(&path, content).unwrap();
            let args = PassphraseArgs { passphrase_file: Some(path.clone()), passphrase_fd: None };
            PassphraseSource::new(&args).and_then(|source| source.for_new_key())
        };
        for content in ["a b", "a b\n", "a b\r\n"] {
            assert_eq!(read(content).unwrap().as_slice(), b"a b");
        }
        assert!(text(read("a\nb\n")).contains("more than one line"));
        assert!(text(read(&"x".repeat(4097))).contains("more than 4096 bytes"));
        for content in ["", "\n"] {
            assert!(text(read(content)).contains("passphrase is empty"));
        }
        let negative = PassphraseArgs { passphrase_file: None, passphrase_fd: Some(-1) };
        assert!(text(PassphraseSource::new(&negative)).contains("expected 0 or more"));
    }
}
