//! A Python application as `flavor pack` of the reference release makes it: an interpreter, wheels, and setup commands
//! that install them at the first start.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use pspf_tests::{Run, Sandbox, Who};

use crate::python::Python;
use crate::reference::{release, step};
use crate::unsealed::{launcher, public_key};

const PROJECT: &str = "
[project]
name = 'greetapp'
version = '0.1.0'
[project.scripts]
greetapp = 'greetapp:main'
[build-system]
requires = ['setuptools']
build-backend = 'setuptools.build_meta'
[tool.flavor]
entry_point = 'greetapp:main'
";

const APP: &str = "
import os, sys
def main():
    print('hello', *sys.argv[1:], os.environ.get('FLAVOR_COMMAND_NAME'), sys.prefix == os.environ['FLAVOR_WORKENV'])
";

#[test]
fn a_python_application_is_verified_run_and_starts_by_itself() {
    let sandbox = Sandbox::new(Who::Caller);
    // It looks for CPython 3.11 among those that uv manages, and takes no other.
    let managed = sandbox.home().join(".local/share/uv/python/cpython-3.11.0-linux-x86_64-gnu");
    let python = Python::find();
    python.copy(&managed);
    if !managed.join("lib/python3.11").exists() {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"NOT RUN: `flavor pack` needs a CPython 3.11 in PATH as python3\n",
        );
        return;
    }
    // A distribution's own installs into places of its own; elsewhere it is to behave as its makers have it.
    let library = managed.join("lib/python3.11");
    let text = fs::read_to_string(library.join("sysconfig.py")).unwrap();
    fs::write(library.join("sysconfig.py"), text.replace("= 'posix_local'", "= 'posix_prefix'")).unwrap();
    let site = "import os, site, sys\nsite.addsitedir(os.path.join(sys.prefix, 'lib/python3.11/site-packages'))\n";
    let _ = fs::remove_file(library.join("sitecustomize.py"));
    fs::write(library.join("sitecustomize.py"), site).unwrap();
    symlink("python3", managed.join("bin/python3.11")).unwrap();
    // Without this it tries for half a minute to fetch another one.
    fs::create_dir_all(sandbox.home().join(".config/uv")).unwrap();
    fs::write(sandbox.home().join(".config/uv/uv.toml"), "python-downloads = 'never'\n").unwrap();
    sandbox.write("project/pyproject.toml", PROJECT);
    sandbox.write("project/src/greetapp/__init__.py", APP);
    let launcher = launcher(&sandbox);
    let mut pack = Command::new(release().join("bin/flavor"));
    pack.args([
        "pack",
        "--manifest",
        "pyproject.toml",
        "--output",
        "../greet.psp",
        "--key-seed",
        "s",
        "--launcher-bin",
    ]);
    let path = std::env::join_paths([release().join("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
    pack.arg(&launcher).current_dir(sandbox.work("project")).env("HOME", sandbox.home()).env("PATH", path);
    // At its end it asks the package, by FLAVOR_LAUNCHER_CLI, whether it is sound.
    step(&mut pack, "the package index must be in reach");

    let package = sandbox.work("greet.psp");
    let key = public_key(&sandbox, &package);
    let verify = Run::pspf(&sandbox, ["verify", "--allow-unsealed", "--deep", "--key"]).arg(&key).arg(&package);
    verify.stdout_part("4 of 4 as signed, decoded").run();
    let inspected = Run::pspf(&sandbox, ["inspect", "greet.psp"]).stdout_part("flavor-python");
    inspected.stdout_part("{workenv}/bin/greetapp").stdout_part("3 commands").run();
    Run::pspf(&sandbox, ["extract", "--allow-unsealed", "greet.psp", "-C", "out"]).any_stdout().run();
    assert!(sandbox.work("out/wheels").is_dir() && sandbox.work("out/python/bin/python3").exists());
    // A home with a space in its name breaks such a package under its own launchers.
    let home = sandbox.work("John Smith");
    let said = "hello a  b greet.psp True\n";
    for _ in 0..2 {
        let run = Run::pspf(&sandbox, ["run", "--allow-unsealed", "greet.psp", "--", "a  b"]);
        run.env("PSPF_CACHE_DIR", home.join("one")).stdout(said).run();
        let run = Run::new(&sandbox, &package).arg("a  b").env("PSPF_CACHE_DIR", home.join("two"));
        run.stdout(said).run();
    }
    // Packed anew it needs no setup, and no home of its own; what only the setup used is told.
    let convert = Run::pspf(&sandbox, ["convert", "greet.psp", "-o", "new.psp", "--exclude", "bin/uv", "--key"]);
    let convert = convert.arg(sandbox.key(1).0).any_stdout();
    convert.stderr_part("3 setup commands").stderr_part("`bin/uv` was there for the setup").run();
    let said = "hello a  b None True\n";
    for _ in 0..2 {
        Run::new(&sandbox, sandbox.work("new.psp")).arg("a  b").stdout(said).run();
    }
    let inspected = Run::pspf(&sandbox, ["inspect", "--files", "new.psp"]).any_stdout().run().stdout;
    assert!(inspected.contains("bin/greetapp") && !inspected.contains("bin/uv\n"), "{inspected}");
    assert!(inspected.contains("__pycache__"), "it is compiled");
}
