//! `[recipe]`: the project's own build, in a clean folder.

use std::fs;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who};

use crate::python_recipe::{left_nothing, slots};

const MANIFEST: &str = "[package]\nname = 'built'\nversion = '1.0'\n[recipe]\ncommand = ['./build.sh', 'a b']\n\
    [run]\ncommand = ['{slot:app}/tool']\n[[slot]]\nid = 'app'\nsource = '{recipe}/dist'\n";
const BUILD: &str = "#!/bin/sh\nset -e\nmkdir dist\ncp src/tool dist/tool\necho \"building $1\" >&1\n\
    echo \"$SOURCE_DATE_EPOCH\" >dist/time\nls -A >dist/list\n";

fn project(build: &str) -> Sandbox {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write("project/pspf.toml", MANIFEST);
    sandbox.write("project/.gitignore", "dist/\n*.log\n");
    sandbox.write("project/dist/stale", "of an earlier build");
    sandbox.write("project/old.log", "");
    sandbox.write("project/.env", "");
    sandbox.write_program("project/src/tool", "#!/bin/sh\necho built \"$@\"\n");
    sandbox.write_program("project/build.sh", build);
    sandbox
}

#[test]
fn a_build_makes_the_slots_in_a_clean_folder() {
    let sandbox = project(BUILD);
    let before = names(&sandbox.work("project"));
    // What it says is seen, and is not in the way of the report.
    let packed = Run::pspf(&sandbox, ["pack", "project", "--json"]).any_stdout().stderr_part("building a b\n").run();
    let report: serde_json::Value = serde_json::from_str(&packed.stdout).unwrap();
    assert_eq!(report["warnings"], serde_json::json!([]));
    Run::new(&sandbox, sandbox.work("built.psp")).arg("x").stdout("built x\n").run();
    Run::pspf(&sandbox, ["extract", "built.psp", "app", "-C", "out"]).any_stdout().run();
    assert_eq!(names(&sandbox.work("out/app")), ["list", "time", "tool"]);
    let list = fs::read_to_string(sandbox.work("out/app/list")).unwrap();
    assert_eq!(list, ".env\n.gitignore\nbuild.sh\ndist\npspf.toml\nsrc\n");
    assert_eq!(fs::read_to_string(sandbox.work("out/app/time")).unwrap(), "315532800\n");
    assert_eq!(names(&sandbox.work("project")), before);
    assert_eq!(names(&sandbox.work("project/dist")), ["stale"]);
    left_nothing(&sandbox);
    Run::pspf(&sandbox, ["pack", "project", "-o", "again.psp"]).any_stdout().any_stderr().run();
    assert_eq!(slots(&sandbox, "again.psp"), slots(&sandbox, "built.psp"));
}

/// Nothing of who packs, of an earlier package, or of a program that a build leaves running, is in what is packed.
#[test]
fn a_build_is_alone_in_its_folder() {
    let build = "#!/bin/sh\nset -e\ntest -z \"$GIT_DIR\"\ntest \"$PWD\" -ef .\nmkdir dist\ncp \"$PWD/src/tool\" dist\n\
        touch \"$TMPDIR/left\"\n(while :; do date >>dist/tool; sleep 0.02; done) >/dev/null 2>&1 &\n";
    let sandbox = project(build);
    // Above the project, and so of somebody else.
    sandbox.write(".gitignore", "*\n");
    std::os::unix::net::UnixListener::bind(sandbox.work("project/socket")).unwrap();
    let all = MANIFEST.replace("'{slot:app}/tool'", "'{slot:app}/src/tool'");
    let all = all.replace("source = '{recipe}/dist'", "source = '{recipe}'\nexclude = ['dist']");
    sandbox.write("project/pspf.toml", all);
    let pack = || {
        let run = Run::pspf(&sandbox, ["pack", "pspf.toml"]).cwd(sandbox.work("project"));
        run.env("PWD", sandbox.work("project")).env("GIT_DIR", sandbox.work("project")).any_stdout()
    };
    pack().stderr_part("`socket` is neither a file nor a directory").run();
    let first = slots(&sandbox, "project/built.psp");
    pack().stderr_part("`built.psp` is a package and not in the copy").run();
    assert_eq!(slots(&sandbox, "project/built.psp"), first);
    left_nothing(&sandbox);
}

#[test]
fn what_a_build_does_wrong_is_told() {
    for (build, expected) in [
        (
            "#!/bin/sh\necho no flour >&2\nexit 3\n",
            &["no flour\n", "`[recipe]` failed: `./build.sh` ended with exit status: 3"][..],
        ),
        ("#!/bin/sh\n", &["`[recipe]` has made no `dist`"]),
        ("#!/nowhere/sh\n", &["executing `./build.sh`", "hint: it is a program in PATH, or, as `./build.sh`,"]),
        ("#!/bin/sh\nmkfifo dist\n", &["`dist` is no file or directory of the copy"]),
        ("#!/bin/sh\nln -s /etc dist\n", &["`dist` is no file or directory of the copy"]),
    ] {
        let sandbox = project(build);
        let class = if build.contains("nowhere") { "ENTRY" } else { "USAGE" };
        let run = Run::pspf(&sandbox, ["pack", "project"]).fails(class);
        expected.iter().fold(run, |run, part| run.stderr_part(*part)).run();
        assert!(!sandbox.work("built.psp").exists());
        left_nothing(&sandbox);
    }
    let sandbox = project(&BUILD.replace("ls -A", "pwd"));
    let tells =
        "1 files name the folder that they were built in, which is another one each time; the first is `dist/list`";
    Run::pspf(&sandbox, ["pack", "project"]).any_stdout().stderr_part(tells).run();
    for (from, to, expected) in [
        ("{recipe}/dist", "src", "`[recipe]` builds what no slot takes"),
        ("{recipe}/dist", "{recipe}/../..", "`../..` is no file or directory of the copy"),
        ("['./build.sh', 'a b']", "[]", "`recipe.command` is empty"),
        ("command = ['./", "comand = ['./", "unknown field `comand`"),
        ("[recipe]\ncommand = ['./build.sh', 'a b']\n", "", "`{recipe}/dist` is what `[recipe]` builds"),
    ] {
        sandbox.write("project/pspf.toml", MANIFEST.replace(from, to));
        Run::pspf(&sandbox, ["pack", "project", "-o", "no.psp"]).fails("USAGE").stderr_part(expected).run();
        assert!(!sandbox.work("no.psp").exists());
    }
    left_nothing(&sandbox);
}
