//! The verdict on one file.
//!
//! Invariant: a [`Verified`] is made in [`Anchors::judge`] and nowhere else, from an [`Intact`] file and a key that
//! the caller named; an [`Intact`] comes from one of the two complete checks below and from nowhere else.

use std::path::{Path, PathBuf};

use pspf_format::{Class, Error as FormatError, Hasher, Sha256, SlotMetadata, UnverifiedPackage, VerifiedPackage};
use pspf_keys::PublicKey;
use pspf_launcher::{Depth, Error, PackageFile, Thorough, check};
use pspf_unsealed::Opened;

use crate::keyfile;
use crate::paths::c_path;
use crate::verify_coverage::Coverage;
use crate::verify_unsealed;

/// What the caller asked for beside the usual checks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) deep: bool,
    pub(crate) allow_unsealed: bool,
    /// The digest of the whole file is reported.
    pub(crate) digest: bool,
}

/// The keys that the caller trusts.
#[derive(Debug, Default)]
pub(crate) struct Anchors(Vec<(PathBuf, PublicKey)>);

/// A file that is what its signers signed, as far as the caller demands it.
#[derive(Debug)]
struct Intact {
    signers: Vec<PublicKey>,
    sha256: Option<Sha256>,
    /// What of it that is, for messages.
    what: &'static str,
    /// Checks that were asked for and could not be made.
    skipped: Vec<String>,
}

/// An intact file that a key of the caller's signed, with nothing skipped.
#[derive(Debug)]
pub(crate) struct Verified(());

/// Why a file is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) class: Class,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Verdict {
    Verified(Verified),
    Bad(Problem),
    Undecided(Problem),
}

/// All that was found out about a file, as far as the check went.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) path: PathBuf,
    pub(crate) size: Option<u64>,
    /// Of an intact file, where it was asked for, the digest of the very bytes that were checked; of a bad one that of
    /// the file as it was read once more, so that a report says which one it was.
    pub(crate) sha256: Option<Sha256>,
    pub(crate) facts: Facts,
    pub(crate) verdict: Verdict,
}

/// What was proven on the way: a field is filled when its check has passed; of a slot its status says so.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) identity: Option<Identity>,
    /// Keys whose signatures were verified.
    pub(crate) signers: Vec<PublicKey>,
    pub(crate) coverage: Option<Coverage>,
    pub(crate) slots: Vec<SlotFact>,
    /// Length and digest of the launcher.
    pub(crate) launcher: Option<(u64, Sha256)>,
    pub(crate) skipped: Vec<String>,
}

/// Who the package is, as its first signer says.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) package: String,
    pub(crate) version: String,
    /// What the launcher runs on; a package without a seal does not say it.
    pub(crate) platform: Option<String>,
    pub(crate) package_id: Option<Sha256>,
}

/// What is known of a slot.
#[derive(Debug)]
pub(crate) struct SlotFact {
    pub(crate) id: String,
    pub(crate) stored_size: u64,
    /// What the metadata say; only [`SlotStatus::Match`] says that it is so.
    pub(crate) stored_sha256: Sha256,
    /// What only the metadata of a sealed package say.
    pub(crate) signed: Option<SlotMetadata>,
    pub(crate) status: SlotStatus,
    pub(crate) decoded: bool,
}

/// Which digests of a slot's stored bytes were compared, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotStatus {
    /// The whole has the digest that the metadata give.
    Match,
    /// The slot index and every frame have theirs; what the metadata say of the whole was not compared.
    FramesMatch,
    /// One of them does not.
    Mismatch,
    /// The check ended before, or with another part of the file.
    Unchecked,
}

impl SlotStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::FramesMatch => "frames-match",
            Self::Mismatch => "mismatch",
            Self::Unchecked => "unchecked",
        }
    }
}

impl Verdict {
    pub(crate) const VERIFIED: u8 = 0;
    pub(crate) const BAD: u8 = 1;
    pub(crate) const UNDECIDED: u8 = 2;

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Verified(_) => Self::VERIFIED,
            Self::Bad(_) => Self::BAD,
            Self::Undecided(_) => Self::UNDECIDED,
        }
    }

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Verified(_) => "verified",
            Self::Bad(_) => "bad",
            Self::Undecided(_) => "undecided",
        }
    }

    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Verified(_) => None,
            Self::Bad(problem) | Self::Undecided(problem) => Some(problem),
        }
    }
}

impl From<Problem> for Verdict {
    fn from(problem: Problem) -> Self {
        if problem.class.verify_code() == Self::BAD { Self::Bad(problem) } else { Self::Undecided(problem) }
    }
}

impl Problem {
    pub(crate) fn new(class: Class, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: Some(hint.into()) }
    }
}

impl From<FormatError> for Problem {
    fn from(error: FormatError) -> Self {
        Self { class: error.class(), message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            // The path stands beside the message already.
            Error::Package { source, .. } => source.into(),
            _ => Self { class: error.class(), message: error.to_string(), hint: error.hint().map(str::to_owned) },
        }
    }
}

impl From<pspf_unsealed::Error> for Problem {
    fn from(error: pspf_unsealed::Error) -> Self {
        match error {
            pspf_unsealed::Error::Workenv(pspf_workenv::Error::Launcher(error)) => error.into(),
            _ => Self { class: error.class(), message: error.to_string(), hint: error.hint().map(str::to_owned) },
        }
    }
}

impl Anchors {
    /// Reads the public key files.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let read = paths.iter().map(|path| Ok((path.clone(), keyfile::read_public(path)?)));
        read.collect::<anyhow::Result<_>>().map(Self)
    }

    /// The keys with the files that they come from.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(PathBuf, PublicKey)> {
        self.0.iter()
    }

    /// The file in which the caller gave this key.
    pub(crate) fn file_of(&self, key: &PublicKey) -> Option<&Path> {
        self.0.iter().find(|(_, anchor)| anchor == key).map(|(path, _)| path.as_path())
    }

    fn judge(&self, intact: &Intact) -> Verdict {
        let what = intact.what;
        if self.0.is_empty() {
            let message = format!(
                "{what} is intact, but no key was given to compare its signers with; anybody can sign such a file with a \
                 key of their own"
            );
            let hint = "get the publisher's public key from a source that you trust, and give it with `--key`";
            return Verdict::Undecided(Problem::new(Class::Usage, message, hint));
        }
        if !intact.signers.iter().any(|signer| self.file_of(signer).is_some()) {
            let message = format!("{what} is intact, but none of the keys that were given signed it");
            let hint = "do not use it, unless one of its signers is known to you: then verify with that key";
            return Verdict::Bad(Problem::new(Class::Trust, message, hint));
        }
        if let Some(skipped) = intact.skipped.first() {
            let message = format!("not everything could be checked: {skipped}");
            return Verdict::Undecided(Problem::new(Class::Usage, message, "ask for less, or for a sealed package"));
        }
        Verdict::Verified(Verified(()))
    }
}

/// Opens a package to read it. Whatever is no regular file is refused before it is opened: opening a FIFO waits for
/// its other end, opening a device may do something.
pub(crate) fn open(path: &Path) -> Result<PackageFile, Error> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let what = if found.is_dir() { "it is a directory" } else { "it is not a regular file" };
            Err(Error::NotAFile { path: c_path(path), what })
        }
        // An error comes again, with its words.
        _ => PackageFile::open(&c_path(path)),
    }
}

/// Checks one file, whatever is wrong with it.
pub(crate) fn examine(path: &Path, anchors: &Anchors, checks: Checks) -> Examined {
    let mut facts = Facts::default();
    let file = match open(path) {
        Ok(file) => file,
        Err(error) => {
            let verdict = Problem::from(error).into();
            return Examined { path: path.to_owned(), size: None, sha256: None, facts, verdict };
        }
    };
    let (sha256, verdict) = match intact(&file, checks, &mut facts) {
        Ok(intact) => (intact.sha256, anchors.judge(&intact)),
        // What is no package at all may be of any length; nothing is known that its digest could help to find.
        Err(problem) if problem.class == Class::Format => (None, problem.into()),
        Err(problem) => (whole(&file).ok(), problem.into()),
    };
    Examined { path: path.to_owned(), size: Some(file.size()), sha256, facts, verdict }
}

fn intact(file: &PackageFile, checks: Checks, facts: &mut Facts) -> Result<Intact, Problem> {
    match file.unverified() {
        Ok(unverified) => intact_sealed(file, unverified, checks, facts),
        Err(Error::Package { source: FormatError::NoSeal, .. }) if checks.allow_unsealed => {
            intact_unsealed(file, checks, facts)
        }
        Err(error) => Err(error.into()),
    }
}

/// The complete check of a sealed package: every signature, every byte.
fn intact_sealed(
    file: &PackageFile,
    unverified: UnverifiedPackage,
    checks: Checks,
    facts: &mut Facts,
) -> Result<Intact, Problem> {
    let sealed = unverified.verify_all()?;
    facts.signers = sealed.signers().to_vec();
    let package = file.opened(sealed)?;
    facts.identity = Some(Identity::of(&package));
    facts.slots = package.slots().map(|slot| SlotFact::signed(slot.metadata)).collect();
    let depth = if checks.deep { Depth::Content } else { Depth::Frames };
    let thorough = Thorough { depth, digest: checks.digest };
    let checked = check(file, &package, thorough).inspect_err(|error| {
        // Any other part may be wrong as well: nothing is said of the slots that were not named.
        if let Error::Package { source: FormatError::SlotDigest { slot, .. }, .. } = error
            && let Some(fact) = facts.slots.iter_mut().find(|fact| fact.id == slot.as_str())
        {
            fact.status = SlotStatus::Mismatch;
        }
    })?;
    for (slot, fact) in package.slots().zip(&mut facts.slots) {
        let whole = checks.deep || !slot.metadata.operations.has_index();
        fact.status = if whole { SlotStatus::Match } else { SlotStatus::FramesMatch };
        fact.decoded = checks.deep;
    }
    facts.launcher = Some((package.layout().launcher.len, package.launcher_sha256()));
    facts.coverage = Some(Coverage::full(checked.size));
    let signers = facts.signers.clone();
    Ok(Intact { signers, sha256: checked.sha256, what: "the file", skipped: Vec::new() })
}

/// The complete check of a package without a seal: the signature over the metadata, and the slots that those name.
fn intact_unsealed(file: &PackageFile, checks: Checks, facts: &mut Facts) -> Result<Intact, Problem> {
    let opened = Opened::open(file)?;
    let package = opened.package();
    facts.signers = vec![package.signer];
    let identity = &package.metadata.package;
    facts.identity = Some(Identity {
        package: identity.name.clone(),
        version: identity.version.clone(),
        platform: None,
        package_id: None,
    });
    let measured = opened.measure(file)?;
    facts.slots =
        package.slots.iter().zip(&measured.slots).map(|(slot, found)| SlotFact::unsealed(slot, *found)).collect();
    opened.compare(&measured)?;
    if package.slots.is_empty() {
        facts.skipped.push("slots: the package has none, so nothing that it would run is signed".to_owned());
    }
    if checks.deep {
        for (slot, fact) in package.slots.iter().zip(&mut facts.slots) {
            pspf_unsealed::decode_all(file, slot)?;
            fact.decoded = true;
        }
    }
    facts.launcher = Some(measured.launcher);
    facts.coverage = Some(verify_unsealed::coverage(&opened, file.size()));
    let (signers, skipped) = (facts.signers.clone(), facts.skipped.clone());
    Ok(Intact { signers, sha256: Some(measured.sha256), what: "what is signed of the file", skipped })
}

impl Identity {
    fn of(package: &VerifiedPackage) -> Self {
        let metadata = package.metadata();
        Self {
            package: metadata.package.name.to_string(),
            version: metadata.package.version.to_string(),
            platform: Some(metadata.pspf.platform.to_string()),
            package_id: Some(package.package_id()),
        }
    }
}

impl SlotFact {
    fn signed(slot: &SlotMetadata) -> Self {
        Self {
            id: slot.id.to_string(),
            stored_size: slot.stored_size,
            stored_sha256: slot.sha256,
            signed: Some(slot.clone()),
            status: SlotStatus::Unchecked,
            decoded: false,
        }
    }

    fn unsealed(slot: &pspf_format::UnsealedSlot, found: Sha256) -> Self {
        Self {
            id: slot.id.clone(),
            stored_size: slot.span.len,
            stored_sha256: slot.sha256,
            signed: None,
            status: if slot.sha256 == found { SlotStatus::Match } else { SlotStatus::Mismatch },
            decoded: false,
        }
    }
}

/// Digest of a file that is not what it should be, so that a report says which one it was.
fn whole(file: &PackageFile) -> Result<Sha256, Error> {
    let mut hasher = Hasher::new();
    pspf_unsealed::each_chunk(file, |_, chunk| hasher.update(chunk))?;
    Ok(hasher.finish())
}
