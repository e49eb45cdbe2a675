//! The environment of the application and of setup commands (SPEC §8.6).

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use pspf_launcher::Environment;
use pspf_workenv::{SETUP, setup_value};

use crate::Error;
use crate::text::{Places, matches};

/// The environment in which the application runs.
pub(crate) fn of_application(caller: &Environment, places: Places<'_>, package: &Path) -> Result<Environment, Error> {
    let metadata = places.metadata;
    let mut environment = caller.clone();
    if environment.get("FLAVOR_CACHE_DIR").is_none()
        && let Some(home) = environment.absolute_path("HOME")
    {
        let cache = Path::new(OsStr::from_bytes(home.to_bytes())).join(".cache/flavor/workenv");
        set(&mut environment, "FLAVOR_CACHE_DIR", cache.as_os_str())?;
    }
    if let Some(rules) = metadata.runtime.as_ref().map(|runtime| &runtime.env) {
        let passed = |name: &str| rules.pass.iter().any(|pattern| matches(pattern, name));
        let names: Vec<String> = environment.entries().iter().filter_map(|entry| name_of(entry)).collect();
        for name in names.iter().filter(|name| !passed(name)) {
            if rules.unset.iter().any(|pattern| matches(pattern, name)) {
                environment.remove(name);
            }
        }
        // What `unset` took is not there to be renamed.
        for (old, new) in rules.map.iter().filter(|(old, _)| !passed(old)) {
            if let Some(value) = environment.get(old).map(<[u8]>::to_vec) {
                environment.remove(old);
                set(&mut environment, new, OsStr::from_bytes(&value))?;
            }
        }
        for (name, value) in &rules.set {
            set(&mut environment, name, OsStr::new(value))?;
        }
    }
    for (name, value) in metadata.workenv.iter().flat_map(|workenv| &workenv.env) {
        set(&mut environment, name, &places.expand(value, true))?;
    }
    for (name, value) in &metadata.execution.env {
        set(&mut environment, name, &places.expand(value, true))?;
    }
    set(&mut environment, "FLAVOR_COMMAND_NAME", package.file_name().unwrap_or_default())?;
    set(&mut environment, "FLAVOR_ORIGINAL_COMMAND", package.as_os_str())?;
    add_workenv(&mut environment, places.workenv)?;
    environment.remove("PSPF_SELF");
    Ok(environment)
}

/// The environment in which setup commands run: the caller's, with what every program of the package gets.
pub(crate) fn of_setup(caller: &Environment, places: Places<'_>) -> Result<Environment, Error> {
    let mut environment = caller.clone();
    for (name, value) in &places.metadata.execution.env {
        set(&mut environment, name, &places.expand(value, true))?;
    }
    add_workenv(&mut environment, places.workenv)?;
    environment.remove("PSPF_SELF");
    set(&mut environment, SETUP, OsStr::from_bytes(&setup_value(caller, places.workenv)))?;
    Ok(environment)
}

fn name_of(entry: &CStr) -> Option<String> {
    let name = entry.to_bytes().split(|byte| *byte == b'=').next()?;
    String::from_utf8(name.to_vec()).ok()
}

/// Puts the package's own programs first.
fn add_workenv(environment: &mut Environment, workenv: &Path) -> Result<(), Error> {
    set(environment, "FLAVOR_WORKENV", workenv.as_os_str())?;
    let mut path = workenv.join("bin").into_os_string().into_vec();
    if let Some(rest) = environment.get("PATH") {
        path.push(b':');
        path.extend_from_slice(rest);
    }
    set(environment, "PATH", OsStr::from_bytes(&path))
}

fn set(environment: &mut Environment, name: &str, value: &OsStr) -> Result<(), Error> {
    let value = CString::new(value.as_bytes());
    match value {
        Ok(value) if !name.is_empty() && !name.contains(['=', '\0']) => {
            environment.set(name, &value);
            Ok(())
        }
        _ => Err(Error::metadata(format!("variable `{name}`: a name has no `=`, and neither name nor value a NUL"))),
    }
}
