//! `PSPF_SELF`: what a package tells and does about itself on a machine without `pspf` (SPEC §12.5).

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

use pspf_format::VerifiedPackage;

use crate::cache::{Access, Cache, candidates, needed, progress};
use crate::{Depth, Environment, Error, PackageFile, Thorough, check};

/// What to answer to this value of `PSPF_SELF`.
///
/// # Errors
/// [`Error::SelfValue`] for a value that means nothing; what keeps the package from being read.
#[cold]
#[inline(never)]
pub fn answer(value: &[u8], file: &PackageFile, environment: &Environment) -> Result<String, Error> {
    let value = String::from_utf8_lossy(value);
    let unverified = || file.unverified();
    let open = |sealed: Result<_, _>| file.opened(sealed.map_err(|error| file.wrong(error))?);
    Ok(match (value.as_ref(), value.strip_prefix("extract:")) {
        (_, Some(id)) if !id.is_empty() => extract(id, file, &open(unverified()?.verify())?, environment)?,
        ("info", _) => info(&open(unverified()?.verify())?),
        ("check", _) => {
            let package = open(unverified()?.verify_all())?;
            let checked = check(file, &package, Thorough { depth: Depth::Content, digest: true })?;
            format!(
                "no damage: {} bytes{}\nself-signed by ed25519:{}\n\
                 This finds damage, not forgery: a forger signs with a key of his own. \
                 `pspf verify --key` decides who made it.\n",
                checked.size,
                checked.sha256.map(|sha256| format!(", sha256 {sha256}")).unwrap_or_default(),
                signer(&package)
            )
        }
        ("cache", _) => cache(&open(unverified()?.verify())?, environment),
        _ => return Err(Error::SelfValue { value: value.into_owned() }),
    })
}

fn signer(package: &VerifiedPackage) -> String {
    package.sealed().signers().first().map(|key| key.fingerprint().to_string()).unwrap_or_default()
}

fn info(package: &VerifiedPackage) -> String {
    let metadata = package.metadata();
    let mut text = format!(
        "{} {} for {}\npackage id {}\nself-signed by ed25519:{}\n",
        metadata.package.name,
        metadata.package.version,
        metadata.pspf.platform,
        package.package_id(),
        signer(package)
    );
    for slot in package.slots() {
        let slot = slot.metadata;
        let (id, lifecycle, size) = (&slot.id, slot.lifecycle.as_str(), slot.expanded_size);
        text.push_str(&format!("slot {id}: {lifecycle}, {}, {size} bytes\n", slot.operations));
    }
    text
}

fn extract(
    id: &str,
    file: &PackageFile,
    package: &VerifiedPackage,
    environment: &Environment,
) -> Result<String, Error> {
    let slot = package.slot(id).ok_or_else(|| Error::UnknownSlot { slot: id.to_owned() })?;
    let obtain = |cache: &Cache| cache.obtain(file, slot, &progress(package, &[slot]));
    let (cache, ()) = Cache::in_first_place(environment, Access::Private, obtain)?;
    Ok(format!("{}\n", cache.slot_path(slot).to_string_lossy()))
}

fn cache(package: &VerifiedPackage, environment: &Environment) -> String {
    let Some(cache) = Cache::for_commands(environment) else {
        let place =
            candidates(environment).next().map(|place| place.path.to_string_lossy().into_owned()).unwrap_or_default();
        return format!("no cache yet; the first start will make {place}\n");
    };
    let warm = if cache.is_warm(package) { "warm" } else { "cold" };
    let mut text = format!("{}\nthe next start is {warm}\n", cache.path().to_string_lossy());
    for slot in needed(package) {
        text.push_str(&format!("slot {}: {}\n", slot.metadata.id, cache.slot_path(slot).to_string_lossy()));
    }
    text
}
