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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::metadata;
    use serde_json::{Value, json};

    fn caller(entries: &[(&str, &CStr)]) -> Environment {
        let mut environment = Environment::default();
        entries.iter().for_each(|(name, value)| environment.set(name, value));
        environment
    }

    fn lines(environment: &Environment) -> Vec<String> {
        let mut lines: Vec<_> =
            environment.entries().iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
        lines.sort();
        lines
    }

    fn application(caller: &Environment, more: Value) -> Result<Environment, Error> {
        let metadata = metadata(more);
        let places = Places { metadata: &metadata, slots: &[], workenv: Path::new("/w") };
        of_application(caller, places, Path::new("/p/a.psp"))
    }

    const ALL: [&str; 4] =
        ["FLAVOR_COMMAND_NAME=a.psp", "FLAVOR_ORIGINAL_COMMAND=/p/a.psp", "FLAVOR_WORKENV=/w", "PATH=/w/bin:/usr/bin"];

    #[test]
    fn the_application_gets_what_the_package_says_of_the_callers_variables() {
        let caller = caller(&[
            ("PATH", c"/usr/bin"),
            ("GONE_A", c"1"),
            ("GONE_BUT", c"2"),
            ("OLD", c"3"),
            ("KEPT", c"4"),
            ("SET", c"5"),
            ("PSPF_SELF", c"info"),
            (SETUP, c"/w"),
        ]);
        let rules = json!({
            "runtime": {"env": {
                "unset": ["GONE_*"], "pass": ["GONE_B*", "KEPT"], "set": {"SET": "{workenv}"},
                "map": {"OLD": "NEW", "GONE_A": "NEVER", "KEPT": "NEITHER", "ABSENT": "NOR"}
            }},
            "workenv": {"env": {"ONE": "{workenv}/1", "TWO": "first"}},
            "execution": {"env": {"TWO": "{package_name}"}},
        });
        let expected = ["GONE_BUT=2", "KEPT=4", "NEW=3", "ONE=/w/1", "PSPF_SETUP=/w", "SET={workenv}", "TWO=forged"];
        let mut expected: Vec<&str> = expected.into_iter().chain(ALL).collect();
        expected.sort_unstable();
        assert_eq!(lines(&application(&caller, rules).unwrap()), expected);
        // Without rules nothing is taken, and without a `PATH` there is the package's own.
        let caller = self::caller(&[("GONE_A", c"1")]);
        let found = application(&caller, json!({})).unwrap();
        assert_eq!(lines(&found), [ALL[0], ALL[1], ALL[2], "GONE_A=1", "PATH=/w/bin"]);
    }

    #[test]
    fn the_reference_cache_is_named_where_it_is_not_and_the_home_is_known() {
        for (entries, expected) in [
            (&[("HOME", c"/h")][..], Some(&b"/h/.cache/flavor/workenv"[..])),
            (&[("HOME", c"/h"), ("FLAVOR_CACHE_DIR", c"/other")], Some(b"/other")),
            (&[("HOME", c"relative")], None),
            (&[], None),
        ] {
            let found = application(&caller(entries), json!({})).unwrap();
            assert_eq!(found.get("FLAVOR_CACHE_DIR"), expected, "{entries:?}");
        }
    }

    #[test]
    fn setup_commands_get_the_callers_variables_and_are_known_as_such() {
        let metadata = metadata(json!({
            "execution": {"env": {"A": "{workenv}/a"}},
            "runtime": {"env": {"unset": ["*"]}},
            "workenv": {"env": {"B": "b"}},
        }));
        let places = Places { metadata: &metadata, slots: &[], workenv: Path::new("/w") };
        let found = of_setup(&caller(&[("PATH", c"/usr/bin"), ("PSPF_SELF", c"info")]), places).unwrap();
        assert_eq!(lines(&found), ["A=/w/a", "FLAVOR_WORKENV=/w", "PATH=/w/bin:/usr/bin", "PSPF_SETUP=/w"]);
    }

    #[test]
    fn a_name_that_no_program_could_read_is_refused() {
        for name in ["", "A=B", "=", "A\0B"] {
            let error = application(&caller(&[]), json!({"execution": {"env": { name: "x" }}})).unwrap_err();
            assert!(error.to_string().contains("has no `=`"), "{name}: {error}");
        }
        assert!(application(&caller(&[]), json!({"execution": {"env": {"A": "x\0y"}}})).is_err());
    }
}
