//! Where the cache may be (SPEC §10.1), in the order in which places are tried.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::path::{concat, is_absolute, join};
use crate::sys::process::euid;
use crate::{Environment, disk};

/// A place for the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The directory that will hold `v1`.
    pub path: CString,
    /// Whether the caller named it, so that no other may be used instead.
    pub explicit: bool,
}

/// All candidates, or the only one where `PSPF_CACHE_DIR` names it. Each is looked for when it is asked for: a start
/// that finds the first one never reads the password file.
pub fn candidates(environment: &Environment) -> impl Iterator<Item = Candidate> {
    let explicit = environment.get("PSPF_CACHE_DIR").filter(|value| !value.is_empty());
    let explicit = explicit.map(|path| Candidate { path: concat(&[path]), explicit: true });
    let places = if explicit.is_some() { [].as_slice() } else { &PLACES };
    let mut earlier: Vec<CString> = Vec::new();
    let others = places.iter().filter_map(move |place| {
        let path = place(environment)?;
        if earlier.contains(&path) {
            return None;
        }
        earlier.push(path.clone());
        Some(Candidate { path, explicit: false })
    });
    explicit.into_iter().chain(others)
}

/// Where a cache may be when the caller names none.
const PLACES: [fn(&Environment) -> Option<CString>; 4] = [
    |environment| Some(join(&environment.absolute_path("XDG_CACHE_HOME")?, b"pspf")),
    |environment| Some(join(&environment.absolute_path("HOME")?, BELOW_HOME)),
    |_| Some(join(&home_in_passwd(euid())?, BELOW_HOME)),
    |environment| {
        let temporary = environment.absolute_path("TMPDIR").unwrap_or_else(|| c"/tmp".into());
        Some(join(&temporary, format!("pspf-{}", euid()).as_bytes()))
    },
];

const BELOW_HOME: &[u8] = b".cache/pspf";

/// The home directory that the password file gives this user. Read by hand: a static program cannot load the name
/// service modules, and without `HOME` a file is what a service or a container has.
fn home_in_passwd(euid: u32) -> Option<CString> {
    let file = disk::read(c"/etc/passwd").ok()?;
    let uid = euid.to_string();
    file.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let (found, home) = (fields.nth(2)?, fields.nth(2)?);
        // The shell, and nothing after it.
        let whole = fields.next().is_some() && fields.next().is_none();
        (whole && found == uid.as_bytes() && is_absolute(home)).then(|| concat(&[home]))
    })
}
