//! Where the cache may be (SPEC §10.1), in the order in which places are tried.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::Environment;
use crate::sys::process::euid;

/// A place for the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The directory that will hold `v1`.
    pub path: PathBuf,
    /// Whether the caller named it, so that no other may be used instead.
    pub explicit: bool,
}

/// All candidates, or the only one where `PSPF_CACHE_DIR` names it. Each is looked for when it is asked for: a start
/// that finds the first one never reads the password file.
pub fn candidates(environment: &Environment) -> impl Iterator<Item = Candidate> {
    let explicit = environment.get("PSPF_CACHE_DIR").filter(|value| !value.is_empty());
    let explicit = explicit.map(|path| Candidate { path: path.into(), explicit: true });
    let places = if explicit.is_some() { [].as_slice() } else { &PLACES };
    let mut earlier: Vec<PathBuf> = Vec::new();
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
const PLACES: [fn(&Environment) -> Option<PathBuf>; 4] = [
    |environment| Some(environment.absolute_path("XDG_CACHE_HOME")?.join("pspf")),
    |environment| Some(environment.absolute_path("HOME")?.join(BELOW_HOME)),
    |_| Some(home_in_passwd(euid())?.join(BELOW_HOME)),
    |environment| {
        let temporary = environment.absolute_path("TMPDIR").unwrap_or_else(|| "/tmp".into());
        Some(temporary.join(format!("pspf-{}", euid())))
    },
];

const BELOW_HOME: &str = ".cache/pspf";

/// The home directory that the password file gives this user. Read by hand: a static program cannot load the name
/// service modules, and without `HOME` a file is what a service or a container has.
fn home_in_passwd(euid: u32) -> Option<PathBuf> {
    let file = std::fs::read("/etc/passwd").ok()?;
    let uid = euid.to_string();
    file.split(|&byte| byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        match fields.as_slice() {
            [_, _, found, _, _, home, _] if *found == uid.as_bytes() => {
                Some(PathBuf::from(std::ffi::OsStr::from_bytes(home))).filter(|home| home.is_absolute())
            }
            _ => None,
        }
    })
}
