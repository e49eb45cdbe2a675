//! Python projects in several parts: workspaces, directories, and packages that two parts have modules of.

use std::fs;

use pspf_tests::{Run, Sandbox, Who};

use crate::python_recipe::{left_nothing, pack, slots, uv};

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

fn library(name: &str, rest: &str) -> String {
    format!(
        "[project]\nname = '{name}'\nversion = '1.0'\nrequires-python = '>=3.9'\n[build-system]\n\
         requires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n{rest}"
    )
}

/// A member of a workspace with a module in the package of another member, and a dependency that is a directory beside it:
/// all of them as they are now, and not as a cache has them.
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

    let pack = |args: &[&str]| pack(&maker, "uv", args).any_stdout();
    let packed = pack(&["ws/parts/front"]).stderr_part("modules of the package `back_end`").run();
    assert!(!packed.stderr.contains("uv.lock"), "{packed}");
    assert_eq!(slots(&maker, "front-end.psp").keys().collect::<Vec<_>>(), ["app", "python"]);
    let start = |name: &str| Run::new(&sandbox, maker.work(name)).under(["env", "PATH=/nowhere"]);
    start("front-end.psp").arg("a").stdout("back 1 a\n").run();

    // Another state with the same version, and a script of a dependency.
    maker.write("ws/toolbox/toolbox/__init__.py", "SIZE = 2\n");
    pack(&["ws/parts/front", "--entry", "other", "-o", "front-end.psp"]).any_stderr().run();
    // The package's own name starts what `--entry` says.
    start("front-end.psp").stdout("other\n").run();
    pack(&["ws/parts/front", "--entry", "back", "-o", "new.psp"]).any_stderr().run();
    start("new.psp").stdout("run back\n").run();
    fs::rename(maker.work("new.psp"), maker.work("other")).unwrap();
    start("other").stdout("other\n").run();
    left_nothing(&maker);
}
