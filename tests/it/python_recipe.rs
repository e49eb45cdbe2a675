//! From a Python project to a file that runs: with uv and with pip, and nothing of this machine left in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who, forks};

use crate::python::Python;
use crate::reference::release;

const PROJECT: &str = r#"
[project]
name = "Greet.App"
version = "1.4"
description = "says hello"
dependencies = ["idna>=3"]
[project.scripts]
greet = "greet.cli:main"
shout = "greet.cli:Voice.shout"
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
packages = ["greet"]
"#;

const CLI: &str = r#"
import json, os, subprocess, sys
import idna, greet

def main():
    code = "import idna, greet, sys; print(sys.flags.no_user_site)"
    child = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    tool = subprocess.run([os.path.join(os.path.dirname(sys.argv[0]), "shout"), "child"], text=True, capture_output=True)
    print(json.dumps({
        "argv": [os.path.basename(sys.argv[0])] + sys.argv[1:], "prefix": sys.prefix, "cwd": os.getcwd(),
        "idna": idna.__file__, "greet": greet.__file__, "cached": greet.__cached__, "child": child.stdout + child.stderr,
        "tool": tool.stdout + tool.stderr, "path": [path for path in sys.path if "sandbox" in path],
    }))
    return 5

class Voice:
    def shout():
        print("HELLO", *sys.argv[1:])
"#;

fn write_project(sandbox: &Sandbox) {
    sandbox.write("project/pyproject.toml", PROJECT);
    sandbox.write("project/greet/__init__.py", b"");
    sandbox.write("project/greet/cli.py", CLI);
}

/// `pspf pack` with the CPython of this machine, and with the installer of this name alone in PATH.
pub(crate) fn pack<'s>(sandbox: &'s Sandbox, installer: &str, args: &[&str]) -> Run<'s> {
    let prefix = Python::find().prefix.display().to_string();
    pack_with(sandbox, installer, &[&["--python-prefix", &prefix], args].concat())
}

/// The same, without a word of which CPython it is.
pub(crate) fn pack_with<'s>(sandbox: &'s Sandbox, installer: &str, args: &[&str]) -> Run<'s> {
    let tools = sandbox.work(format!("tools-{installer}"));
    if !tools.exists() {
        fs::create_dir(&tools).unwrap();
        let bin = release().join("bin");
        // A Python with pip keeps to its own environment by its own path.
        let link = if installer == "uv" { bin.join("uv") } else { bin.join("python3") };
        let name = if installer == "uv" { "uv" } else { "python3" };
        if installer == "uv" {
            std::os::unix::fs::symlink(link, tools.join(name)).unwrap();
        } else {
            forks::write(&tools.join(name), format!("#!/bin/sh\nexec '{}' \"$@\"\n", link.display()));
            fs::set_permissions(tools.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    let run = Run::pspf(sandbox, ["pack", "--level", "1"]).args(args);
    // What was fetched once is enough for all tests.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let path = std::env::join_paths([&tools, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    // How this machine reaches the index.
    let is_network = |name: &str| {
        let starts = ["UV_", "PIP_", "SSL_CERT_", "REQUESTS_"];
        starts.iter().any(|start| name.starts_with(start)) || name.to_ascii_uppercase().ends_with("_PROXY")
    };
    let network = std::env::vars().filter(|(name, _)| is_network(name));
    let run = network.fold(run, |run, (name, value)| run.env(name, value));
    // The machine's certificates, as pip has them.
    let run = run.env("UV_NATIVE_TLS", "1").env("UV_SYSTEM_CERTS", "1");
    run.env("PATH", path).env("UV_CACHE_DIR", cache.join("uv")).env("PIP_CACHE_DIR", cache.join("pip"))
}

/// The slots of a package by id: digest and stored size.
pub(crate) fn slots(sandbox: &Sandbox, package: &str) -> BTreeMap<String, String> {
    let report = Run::pspf(sandbox, ["inspect", "--json", package]).any_stdout().run().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let slot = |slot: &serde_json::Value| (slot["id"].as_str().unwrap().to_owned(), slot["sha256"].to_string());
    report["slots"].as_array().unwrap().iter().map(slot).collect()
}

pub(crate) fn left_nothing(sandbox: &Sandbox) {
    assert_eq!(names(&sandbox.root().join("tmp")), [""; 0]);
}

/// Fails where a file below holds one of these texts.
pub(crate) fn holds_none_of(folder: &Path, texts: &[String]) {
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            holds_none_of(&path, texts);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for text in texts {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{} holds `{text}`", path.display());
        }
    }
}

fn a_project_becomes_a_file_that_runs(installer: &str) {
    let maker = Sandbox::new(Who::Caller);
    write_project(&maker);
    let packed = pack(&maker, installer, &["project", "--entry", "greet", "-o", "own.psp"]).any_stdout();
    packed.stderr_part("has no `uv.lock`").stderr_part("the host needs glibc ").run();
    left_nothing(&maker);
    assert_eq!(names(&maker.work("project")), ["greet", "pyproject.toml"], "the project is as it was");
    assert_eq!(names(&maker.work("project/greet")), ["__init__.py", "cli.py"]);
    let inspected = Run::pspf(&maker, ["inspect", "own.psp"]).any_stdout().run().stdout;
    assert!(inspected.contains("Greet.App 1.4") && inspected.contains("says hello"), "{inspected}");

    let sandbox = Sandbox::new(Who::Stranger);
    let package = sandbox.copy(&maker.work("own.psp"), "own.psp");
    fs::set_permissions(&package, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    // Whatever the caller's own Python is set to, and without any other in PATH.
    let start = |program: &Path| {
        let hostile = sandbox.work("hostile");
        let run = Run::new(&sandbox, program).under(["env", "PATH=/nowhere"]).env("PYTHONPATH", &hostile);
        run.env("PYTHONHOME", &hostile).env("PYTHONSTARTUP", &hostile).env("PYTHONUSERBASE", &hostile)
    };
    sandbox.write("hostile/idna.py", b"raise SystemExit('hostile')\n");
    sandbox.write("hostile/sitecustomize.py", b"raise SystemExit('hostile')\n");
    sandbox.write("json.py", b"raise SystemExit('hostile')\n");
    for _ in 0..2 {
        let said = start(&package).args(["a b", ""]).status(5).any_stdout().run().stdout;
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["argv"], serde_json::json!(["greet", "a b", ""]));
        assert_eq!(said["cwd"], sandbox.work("").to_str().unwrap().trim_end_matches('/'));
        assert_eq!((said["child"].as_str(), said["tool"].as_str()), (Some("1\n"), Some("HELLO child\n")));
        let cache = sandbox.cache();
        for key in ["prefix", "idna", "greet", "cached"] {
            assert!(said[key].as_str().unwrap().starts_with(cache.to_str().unwrap()), "{said}");
        }
        assert!(Path::new(said["cached"].as_str().unwrap()).is_file(), "it is compiled");
    }
    assert_eq!(names(&sandbox.home()), [".cache"]);
    // By another name it is another of its programs.
    std::os::unix::fs::symlink(&package, sandbox.work("shout")).unwrap();
    start(&sandbox.work("shout")).arg("loud").stdout("HELLO loud\n").run();
    // Nothing wrote into what is shared.
    Run::pspf(&sandbox, ["cache", "verify"]).any_stdout().run();

    // Nothing of this machine.
    let python = Python::find();
    let mut texts = vec![maker.root().display().to_string(), "pspf-unpacked-".to_owned()];
    if python.prefix != Path::new("/usr") {
        texts.push(python.prefix.display().to_string());
    }
    for slot in sandbox.slots() {
        holds_none_of(&slot, &texts);
    }

    if installer == "pip" {
        return;
    }
    // The same again, and then with a change of the application alone.
    let before = slots(&maker, "own.psp");
    assert_eq!(before.keys().collect::<Vec<_>>(), ["app", "deps", "python"]);
    pack(&maker, installer, &["project", "--entry", "greet", "-o", "again.psp"]).any_stdout().any_stderr().run();
    assert_eq!(slots(&maker, "again.psp"), before);
    maker.write("project/greet/cli.py", CLI.replace("HELLO", "HI"));
    pack(&maker, installer, &["project", "--entry", "shout", "-o", "new.psp"]).any_stdout().any_stderr().run();
    let after = slots(&maker, "new.psp");
    assert_eq!((&after["python"], &after["deps"]), (&before["python"], &before["deps"]));
    assert_ne!(after["app"], before["app"]);
    start(&sandbox.copy(&maker.work("new.psp"), "new.psp")).stdout("HI\n").run();
}

#[test]
fn a_project_becomes_a_file_that_runs_with_uv() {
    a_project_becomes_a_file_that_runs("uv");
}

#[test]
fn a_project_becomes_a_file_that_runs_with_pip() {
    a_project_becomes_a_file_that_runs("pip");
}

/// Runs uv for a project.
pub(crate) fn uv(sandbox: &Sandbox, args: &[&str], project: &str) {
    let mut command = Command::new(release().join("bin/uv"));
    command.args(args).arg("--project").arg(sandbox.work(project));
    command.env("UV_PYTHON", Python::find().program).env("UV_PYTHON_DOWNLOADS", "never");
    let output = forks::output(command.env("UV_NATIVE_TLS", "1").env("UV_SYSTEM_CERTS", "1"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the lock file says is what is installed, to the byte.
#[test]
fn a_lock_file_is_held_to() {
    let sandbox = Sandbox::new(Who::Caller);
    write_project(&sandbox);
    let text = PROJECT.replace("idna>=3\"", "idna==3.6\"");
    sandbox
        .write("project/pyproject.toml", text.replace("\"Greet.App\"", "\"Greet.App\"\nrequires-python = \">=3.9\""));
    uv(&sandbox, &["lock", "--quiet"], "project");
    let ran =
        pack(&sandbox, "uv", &["project/uv.lock", "--entry", "greet", "-o", "own.psp"]).any_stdout().any_stderr().run();
    assert!(!ran.stderr.contains("uv.lock"), "{ran}");
    let files = Run::pspf(&sandbox, ["inspect", "--files", "own.psp"]).any_stdout().run().stdout;
    assert!(files.contains("idna-3.6.dist-info/METADATA"), "{files}");
    let lock = sandbox.work("project/uv.lock");
    let text = fs::read_to_string(&lock).unwrap();
    // Every digest is another one.
    let lines = text.lines().map(|line| match line.split_once("sha256:") {
        Some((before, rest)) => format!("{before}sha256:{}{}\n", "0".repeat(8), &rest[8..]),
        None => format!("{line}\n"),
    });
    fs::write(&lock, lines.collect::<String>()).unwrap();
    fs::remove_file(sandbox.work("own.psp")).unwrap();
    let failed = pack(&sandbox, "uv", &["project", "--entry", "greet", "-o", "own.psp"]).fails("USAGE");
    failed.stderr_part("installing the dependencies failed").stderr_part("ash mismatch").run();
    assert!(!sandbox.work("own.psp").exists());
    left_nothing(&sandbox);
}

/// Something on the index, and a list of requirements.
#[test]
fn what_is_on_the_index_is_packed() {
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    pack(&maker, "uv", &["--python", "pyflakes==3.2.0", "-o", "flakes.psp"]).any_stdout().any_stderr().run();
    let inspected = Run::pspf(&maker, ["inspect", "flakes.psp"]).any_stdout().run().stdout;
    assert!(inspected.contains("pyflakes 3.2.0") && !inspected.contains(" deps "), "{inspected}");
    sandbox.write("m.py", b"import os\n");
    let said = "m.py:1:1: 'os' imported but unused\n";
    Run::new(&sandbox, maker.work("flakes.psp")).arg("m.py").status(1).stdout(said).run();
    maker.write("requirements.txt", b"# what is needed\nmarkdown-it-py==3.0.0\n");
    let args = ["requirements.txt", "--entry", "markdown-it", "-o", "list.psp"];
    pack(&maker, "pip", &args).any_stdout().any_stderr().run();
    let list = Run::new(&sandbox, maker.work("list.psp")).arg("m.py");
    list.stdout("<p>import os</p>\n").run();
    let inspected = Run::pspf(&maker, ["inspect", "list.psp"]).any_stdout().run().stdout;
    assert!(inspected.contains("markdown-it-py 3.0.0"), "{inspected}");
}

/// A project of the reference tools, with its own table.
#[test]
fn a_project_of_the_reference_tools_is_packed() {
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    write_project(&maker);
    let table = "[tool.flavor]\nentry_point = 'greet.cli:Voice.shout'\ntype = 'python-app'\n[tool.flavor.metadata]\n\
        package_name = 'shouting'\n[tool.flavor.execution.runtime.env]\nset = { MODE = '{x}' }\nunset = ['SECRET*']\n";
    let project = PROJECT.replace("dependencies = [\"idna>=3\"]\n", "");
    maker.write("project/pyproject.toml", format!("{project}{table}"));
    let said = "os.environ['MODE'], os.environ.get('SECRET_A')";
    maker.write("project/greet/cli.py", CLI.replace("import idna, greet\n", "").replace("\"HELLO\"", said));
    pack(&maker, "uv", &["project"]).any_stdout().stderr_part("`tool.flavor.type` is ignored").run();
    let start = Run::new(&sandbox, maker.work("shouting.psp")).env("SECRET_A", "1").arg("a");
    start.stdout("{x} None a\n").run();
}

/// Bad input is told with the step, what the tool says, and what to do; nothing is left.
#[test]
fn what_cannot_be_packed_is_told_with_the_step() {
    let sandbox = Sandbox::new(Who::Caller);
    write_project(&sandbox);
    let project = |from: &str, to: &str| {
        assert!(PROJECT.contains(from));
        sandbox.write("project/pyproject.toml", PROJECT.replace(from, to));
    };
    let entry = ["project", "--entry", "greet", "-o", "own.psp"];
    for (from, to, installers, step, told) in [
        ("idna>=3", "idna>=3000", &["uv", "pip"][..], "resolving `greet-app @ ", "idna"),
        ("idna>=3", "docopt==0.6.2", &["uv"], "resolving `greet-app @ ", "docopt"),
        ("idna>=3", "no-such-distribution-of-anybody", &["uv"], "resolving `greet-app @ ", "no-such-distribution"),
        ("setuptools.build_meta", "setuptools.none", &["uv"], "building `", "setuptools.none"),
        ("packages = [\"greet\"]", "packages = [\"none\"]", &["uv"], "building `", "none"),
    ] {
        project(from, to);
        for installer in installers {
            let ran = pack(&sandbox, installer, &entry).fails("USAGE").stderr_part(step).run();
            assert!(ran.stderr.contains("\n  | ") && ran.stderr.contains(told), "{to} {installer}: {ran}");
            assert!(ran.stderr.contains("\n  hint: "), "{ran}");
            assert!(!sandbox.work("own.psp").exists());
            left_nothing(&sandbox);
        }
    }
    project("idna>=3", "docopt==0.6.2");
    sandbox.write("project/greet/cli.py", "import docopt\ndef main(): print(docopt.__version__)\n");
    pack(&sandbox, "uv", &entry).arg("--build-sdists").any_stdout().any_stderr().run();
    Run::new(&sandbox, sandbox.work("own.psp")).stdout("0.6.2\n").run();
    fs::remove_file(sandbox.work("own.psp")).unwrap();

    project("idna>=3", "idna>=3");
    let unreachable = pack(&sandbox, "uv", &entry)
        .env("UV_INDEX_URL", "http://127.0.0.1:9/simple")
        .env("UV_CACHE_DIR", sandbox.work("empty"));
    unreachable.fails("USAGE").stderr_part("failed: `uv` ended").stderr_part("127.0.0.1:9").run();
    sandbox.write(
        "r.txt",
        b"idna @ https://files.pythonhosted.org/packages/none/numpy-2.0.0-cp311-cp311-macosx_14_0_arm64.whl\n",
    );
    pack(&sandbox, "uv", &["r.txt", "--entry", "x", "-o", "own.psp"])
        .fails("USAGE")
        .stderr_part("resolving `idna @ ")
        .run();
    for (args, expected) in [
        (&["project", "-o", "own.psp"][..], "several console scripts: `greet`, `shout`"),
        (&["project", "--entry", "none", "-o", "own.psp"], "there is no console script `none`"),
    ] {
        pack(&sandbox, "uv", args).fails("USAGE").stderr_part(expected).run();
    }
    pack(&sandbox, "none", &entry).env("PATH", "/nowhere").fails("USAGE").stderr_part("needs uv or pip").run();

    // What would be something else than it looks like.
    project("[build-system]", "[tool.uv.sources]\nidna = { path = '../other' }\n[build-system]");
    pack(&sandbox, "uv", &entry).fails("USAGE").stderr_part("has no `uv.lock`").stderr_part("hint: `uv lock`").run();
    project("idna>=3", "idna>=3");
    sandbox.write("r.txt", b"idna==3.6\nsix==1.16.0 --hash=sha256:00\n");
    pack(&sandbox, "uv", &["r.txt", "--entry", "x"]).fails("USAGE").stderr_part("some have not").run();
    pack(&sandbox, "uv", &["project", "--python", "idna"]).fails("USAGE").stderr_part("so does `project`").run();
    let tool = sandbox.write_program("tool", "#!/bin/sh\n");
    Run::pspf(&sandbox, ["pack", "--entry", "x"]).arg(tool).fails("USAGE").stderr_part("`--entry` belongs to").run();
    // What is no interpreter.
    let with = |prefix: &Path| Run::pspf(&sandbox, ["pack", "project", "-o", "own.psp", "--python-prefix"]).arg(prefix);
    with(release()).fails("USAGE").stderr_part("is a virtual environment: `").stderr_part(" leads to `").run();
    with(&sandbox.work("project")).fails("USAGE").stderr_part("there is no `bin/python3.N`").run();
    with(&sandbox.work("r.txt")).fails("USAGE").stderr_part("neither a directory nor").run();
    // One that finds its library by the place that it was built for.
    let python = Python::find();
    let bound = sandbox.work("bound");
    fs::create_dir_all(bound.join("bin")).unwrap();
    let version = python.stdlib.file_name().unwrap();
    fs::create_dir_all(bound.join("lib").join(version)).unwrap();
    fs::write(bound.join("lib").join(version).join("os.py"), b"").unwrap();
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.program.display());
    forks::write(&bound.join("bin").join(version), script);
    fs::set_permissions(bound.join("bin").join(version), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    with(&bound).fails("USAGE").stderr_part("cannot be moved: its copy uses").run();
    assert!(!sandbox.work("own.psp").exists());
    left_nothing(&sandbox);
}

/// A signal ends the installer too, and nothing is left that it would go on writing.
#[test]
fn an_interrupted_installer_ends_with_it() {
    let sandbox = Sandbox::new(Who::Caller);
    write_project(&sandbox);
    let tools = sandbox.work("tools-slow");
    fs::create_dir(&tools).unwrap();
    let slow = "#!/bin/sh\necho $$ >\"$TOLD\"\nwhile :; do mkdir -p \"$TMPDIR/more\"; sleep 0.05; done\n";
    forks::write(&tools.join("uv"), slow);
    fs::set_permissions(tools.join("uv"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let told = sandbox.work("told");
    let mut child = pack(&sandbox, "slow", &["project"]).env("TOLD", &told).spawn();
    while fs::read_to_string(&told).unwrap_or_default().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    let installer = fs::read_to_string(&told).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", installer.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    left_nothing(&sandbox);
}
