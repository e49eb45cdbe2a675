//! How the application is started: the interpreter's options, and the environment.

use super::{APP, DEPENDENCIES, PYTHON, entry, installed, runtime};
use crate::manifest::EnvTable;

/// The command. An isolated interpreter (`-I`) reads no variable: those of the project that have an option become that,
/// and of the others a note tells.
pub(super) fn command(own: &EnvTable, program: &str, notes: &mut Vec<String>) -> Vec<String> {
    let mut command = vec![format!("{{slot:{PYTHON}}}/bin/{program}"), "-I".to_owned(), "-B".to_owned()];
    for (name, value) in own.set.iter().filter(|(name, _)| name.starts_with("PYTHON")) {
        match (name.as_str(), value.as_str()) {
            (_, "") => {}
            ("PYTHONUNBUFFERED", _) => command.push("-u".to_owned()),
            ("PYTHONUTF8", "0" | "1") => command.extend(["-X".to_owned(), format!("utf8={value}")]),
            ("PYTHONWARNINGS", _) => {
                command.extend(value.split(',').flat_map(|filter| ["-W".to_owned(), filter.to_owned()]));
            }
            ("PYTHONFAULTHANDLER", _) => command.extend(["-X", "faulthandler"].map(str::to_owned)),
            // These are always so.
            ("PYTHONDONTWRITEBYTECODE" | "PYTHONNOUSERSITE" | "PYTHONSAFEPATH", _) => {}
            _ => notes.push(format!("`{name}` does not reach the interpreter, which is isolated (`-I`)")),
        }
    }
    command.push(format!("{{slot:{APP}}}/{}", entry::FILE));
    command
}

/// What the application sees, and every Python that it starts by `sys.executable`. The project's own rules come last.
pub(super) fn environment(own: &EnvTable, has_deps: bool, program: &str) -> EnvTable {
    let unset = ["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP"].map(str::to_owned).into();
    let mut env = EnvTable { unset, ..EnvTable::default() };
    let path = if has_deps { format!("{{slot:{APP}}}:{{slot:{DEPENDENCIES}}}") } else { format!("{{slot:{APP}}}") };
    for (name, value) in [
        (runtime::PATH_VARIABLE, path),
        (installed::PROGRAM_VARIABLE, format!("{{slot:{PYTHON}}}/bin/{program}")),
        ("PYTHONNOUSERSITE", "1".to_owned()),
        // Byte code is there; root could write it into what is shared.
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
    ] {
        env.set.insert(name.to_owned(), value);
    }
    env.set.extend(own.set.iter().map(|(name, value)| (name.clone(), value.clone())));
    env.map.extend(own.map.iter().map(|(name, value)| (name.clone(), value.clone())));
    env.unset.extend(own.unset.iter().cloned());
    env.pass.extend(own.pass.iter().cloned());
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_interpreter_become_its_options() {
        let set = [("PYTHONUNBUFFERED", "1"), ("PYTHONUTF8", "1"), ("PYTHONWARNINGS", "error,ignore::X"), ("A", "b")];
        let set = set.into_iter().chain([("PYTHONHASHSEED", "0"), ("PYTHONFAULTHANDLER", "")]);
        let own = EnvTable { set: set.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(), ..EnvTable::default() };
        let mut notes = Vec::new();
        let command = command(&own, "python3.13", &mut notes);
        let options = ["-I", "-B", "-u", "-X", "utf8=1", "-W", "error", "-W", "ignore::X"];
        assert_eq!(command[1..command.len() - 1], options);
        assert_eq!(notes, ["`PYTHONHASHSEED` does not reach the interpreter, which is isolated (`-I`)"]);
    }
}
