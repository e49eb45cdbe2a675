//! The programs that key files come from, and what the tests share.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pspf_keys::{KeyError, PublicKey, SecretKey, SecretKeyFile};

pub(crate) const PASSPHRASE: &str = "correct horse";

/// A directory that goes away with the test.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs `openssl` in the directory and returns what it prints.
    pub(crate) fn openssl(&self, arguments: &str) -> Vec<u8> {
        self.openssl_with_input(arguments, b"")
    }

    pub(crate) fn openssl_with_input(&self, arguments: &str, input: &[u8]) -> Vec<u8> {
        let arguments: Vec<_> = arguments.split(' ').collect();
        run(self.0.path(), "openssl", &arguments, input)
    }

    pub(crate) fn ssh_keygen(&self, arguments: &[&str]) -> Vec<u8> {
        run(self.0.path(), "ssh-keygen", arguments, b"")
    }

    /// `ssh-keygen -t ed25519` with more options; the private file's content.
    pub(crate) fn new_ssh_key(&self, passphrase: &str, options: &[&str]) -> Vec<u8> {
        let mut arguments = vec!["-q", "-t", "ed25519", "-f", "id", "-N", passphrase];
        arguments.extend(options);
        self.ssh_keygen(&arguments);
        self.read("id")
    }

    /// `openssl genpkey`, as `plain.pem`, and its public half, as `public.pem`.
    pub(crate) fn new_openssl_key(&self) -> Vec<u8> {
        self.openssl("genpkey -algorithm ed25519 -out plain.pem");
        self.openssl("pkey -in plain.pem -pubout -out public.pem");
        self.read("plain.pem")
    }

    /// `plain.pem`, encrypted with [`PASSPHRASE`].
    pub(crate) fn openssl_encrypted(&self, options: &str) -> Vec<u8> {
        fs::write(self.path("passphrase"), PASSPHRASE).unwrap();
        self.openssl(&format!("pkcs8 -topk8 -in plain.pem -passout file:passphrase {options}"))
    }

    pub(crate) fn openssl_public(&self) -> PublicKey {
        PublicKey::parse(&self.read("public.pem")).unwrap()
    }

    pub(crate) fn ssh_public(&self) -> PublicKey {
        PublicKey::parse(&self.read("id.pub")).unwrap()
    }
}

/// A missing program fails the test by name; it is never skipped.
fn run(dir: &Path, program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs the program `{program}`: {error}"));
    // A program that does not read its input closes it, which is no failure.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(crate) fn plain(file: &[u8]) -> SecretKey {
    match SecretKeyFile::parse(file) {
        Ok(SecretKeyFile::Plain(key)) => key,
        other => panic!("expected a key that is not encrypted, got {other:?}"),
    }
}

pub(crate) fn open(file: &[u8], passphrase: &str) -> Result<SecretKey, KeyError> {
    match SecretKeyFile::parse(file) {
        Ok(SecretKeyFile::Encrypted(key)) => key.open(passphrase.as_bytes()),
        other => panic!("expected an encrypted key, got {other:?}"),
    }
}

pub(crate) fn private_error(file: &[u8]) -> KeyError {
    match SecretKeyFile::parse(file) {
        Err(error) => error,
        Ok(file) => panic!("expected an error, got {file:?}"),
    }
}

pub(crate) fn public_error(file: &[u8]) -> KeyError {
    PublicKey::parse(file).unwrap_err()
}

pub(crate) fn pem(label: &str, content: &[u8]) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    let body = Base64::encode_string(content);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
}

pub(crate) fn pem_content(file: &[u8]) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    let text = str::from_utf8(file).unwrap();
    let body: String = text.lines().filter(|line| !line.contains('-')).collect();
    Base64::decode_vec(&body).unwrap()
}

/// Replaces the only occurrence.
pub(crate) fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|part| part == old);
    let at = at.expect("the bytes to replace are not there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}
