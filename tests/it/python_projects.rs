//! Python projects in several parts: workspaces, directories, and packages that two parts have modules of.

use std::fs;
use std::process::Command;

use pspf_format::Sha256;
use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who, forks, need};

use crate::python_recipe::{left_nothing, pack, pack_with, slots, uv};

const MEMBER: &str = r#"
[project]
name = "front-end"
version = "2.0"
requires-python = ">=3.9"
dependencies = ["back-end", "toolbox"]
[project.scripts]
front-end = "back_end.front:main"
other = "back_end.front:other"
[tool.uv.sources]
back-end = { workspace = true }
toolbox = { path = "../../toolbox" }
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
packages = ["back_end"]
"#;

/// An archive as python-build-standalone has them: of what was packed, which runs in any place.
fn archive(sandbox: &Sandbox) -> String {
    need("tar");
    Run::pspf(sandbox, ["extract", "front-end.psp", "python", "-C", "taken"]).any_stdout().run();
    let mut tar = Command::new("tar");
    let output =
        forks::output(tar.args(["-czf", "python.tar.gz", "-C", "taken", "python"]).current_dir(sandbox.work("")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    sandbox.work("python.tar.gz").display().to_string()
}

/// A list of what uv can fetch: that archive.
fn list(sandbox: &Sandbox) -> String {
    let archive = sandbox.work("python.tar.gz");
    let program = names(&sandbox.work("taken/python/lib")).into_iter().find(|name| name.starts_with("python3."));
    let minor: u32 = program.unwrap()["python3.".len()..].parse().unwrap();
    let digest = Sha256::of(&fs::read(&archive).unwrap()).to_string();
    let architecture = std::env::consts::ARCH;
    let list = serde_json::json!({ format!("cpython-3.{minor}.0-linux-{architecture}-gnu"): {
        "name": "cpython", "arch": { "family": architecture, "variant": null }, "os": "linux", "libc": "gnu",
        "major": 3, "minor": minor, "patch": 0, "prerelease": "", "variant": null, "build": "20250101",
        "url": format!("file://{}", archive.display()), "sha256": digest,
    }});
    let file = sandbox.write("list.json", list.to_string());
    format!("file://{}", file.display())
}

fn library(name: &str, rest: &str) -> String {
    format!(
        "[project]\nname = '{name}'\nversion = '1.0'\nrequires-python = '>=3.9'\n[build-system]\n\
         requires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n{rest}"
    )
}

/// A member of a workspace with a module in the package of another member, and a dependency that is a directory beside it:
/// all of them as they are now, and not as a cache has them. Each time with a CPython from another source.
#[test]
fn a_member_of_a_workspace_is_packed_as_it_is_now() {
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    maker.write("ws/pyproject.toml", "[project]\nname = 'all'\nversion = '1'\nrequires-python = '>=3.9'\n[tool.uv.workspace]\nmembers = ['parts/*']\n");
    maker.write("ws/parts/front/pyproject.toml", MEMBER);
    maker.write(
        "ws/parts/front/back_end/front.py",
        "import sys, back_end, toolbox\ndef main(): print(back_end.NAME, toolbox.SIZE, *sys.argv[1:])\ndef other(): print('other')\n",
    );
    maker.write("ws/parts/back/pyproject.toml", library("back-end", "[project.scripts]\nback = 'back_end:run'\n"));
    maker.write("ws/parts/back/back_end/__init__.py", "NAME = 'back'\ndef run(): print('run', NAME)\n");
    maker.write("ws/toolbox/pyproject.toml", library("toolbox", "[tool.setuptools]\npackages = ['toolbox']\n"));
    maker.write("ws/toolbox/toolbox/__init__.py", "SIZE = 1\n");
    uv(&maker, &["lock", "--quiet"], "ws");

    let first = pack(&maker, "uv", &["ws/parts/front"]).any_stdout();
    let packed = first.stderr_part("modules of the package `back_end`").run();
    assert!(!packed.stderr.contains("uv.lock"), "{packed}");
    assert_eq!(slots(&maker, "front-end.psp").keys().collect::<Vec<_>>(), ["app", "python"]);
    let start = |name: &str| Run::new(&sandbox, maker.work(name)).under(["env", "PATH=/nowhere"]);
    start("front-end.psp").arg("a").stdout("back 1 a\n").run();

    // Another state with the same version; with a CPython from an archive.
    maker.write("ws/toolbox/toolbox/__init__.py", "SIZE = 2\n");
    let archive = archive(&maker);
    let options = ["--python-prefix", &archive, "--entry", "other", "-o", "front-end.psp"];
    pack_with(&maker, "uv", &[&["ws/parts/front"], &options[..]].concat()).any_stdout().any_stderr().run();
    // The package's own name starts what `--entry` says.
    start("front-end.psp").stdout("other\n").run();
    // A script of a dependency; with one that uv fetches, of the version that the project asks for.
    let options = ["--entry", "back", "-o", "new.psp"];
    let uv = |args: &[&str]| pack_with(&maker, "uv", args).env("UV_PYTHON_INSTALL_DIR", maker.work("managed"));
    let fetched = uv(&[&["ws/parts/front"], &options[..]].concat()).env("UV_PYTHON_DOWNLOADS_JSON_URL", list(&maker));
    fetched.any_stdout().any_stderr().run();
    start("new.psp").stdout("run back\n").run();
    assert_ne!(names(&maker.work("managed")), [""; 0]);
    fs::remove_dir_all(maker.work("managed")).unwrap();
    let kept = uv(&["ws/parts/front", "-o", "no.psp"]).env("UV_PYTHON_DOWNLOADS", "never").fails("USAGE");
    kept.stderr_part("fetching a CPython with uv (`--python-prefix DIR` names one that is here) failed").run();
    fs::rename(maker.work("new.psp"), maker.work("other")).unwrap();
    start("other").stdout("other\n").run();
    left_nothing(&maker);
}
