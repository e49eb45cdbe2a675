//! What surrounds a start: variables, files that lie about, names that are looked up, text that is shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pspf_tests::trace::Trace;
use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Who, forks, need, probe, probe_package, pspf, snapshot, stub};

use crate::forge::{self, ForgedEntry, ForgedSlot, ForgedTree, key};
use crate::not_run;
use crate::raw::Parts;

/// A program of this machine by its absolute path.
fn installed(tool: &str) -> PathBuf {
    need(tool);
    let paths = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&paths).map(|folder| folder.join(tool)).find(|path| path.is_file()).unwrap()
}

/// The interpreter itself: what `PATH` leads to may be a script that looks for it.
fn python() -> PathBuf {
    let code = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = forks::output(Command::new(installed("python3")).args(["-I", "-c", code]));
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

/// A package that starts this command; `app` is a directory with these files.
fn package(sandbox: &Sandbox, run: &str, files: &[(&str, &str)]) -> PathBuf {
    for (name, content) in files {
        sandbox.write_program(format!("source/{name}"), content);
    }
    let manifest =
        format!("[package]\nname = 'p'\nversion = '1'\n[run]\n{run}\n[[slot]]\nid = 'app'\nsource = 'source'\n");
    sandbox.write("pspf.toml", manifest);
    sandbox.write("out/beside", "");
    Run::pspf(sandbox, ["pack", "-o", "out/p.psp"]).any_stdout().any_stderr().run();
    sandbox.work("out/p.psp")
}

/// A library that the dynamic linker loads first is loaded by the application, as its caller asked for, and not before.
#[test]
fn a60_libraries_that_are_loaded_first() {
    let sandbox = Sandbox::new(Who::Caller);
    if stub().windows(9).any(|window| window == b"/ld-linux") {
        not_run("this build's launcher is linked with the C library of the machine; the one with musl is not");
        return;
    }
    let source = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        unsigned int la_version(unsigned int v) { return v; }\n\
        __attribute__((constructor)) static void loaded(void) {\n\
          char name[4096]; long len = readlink(\"/proc/self/exe\", name, sizeof name - 1); FILE *out = fopen(getenv(\"MARKER\"), \"a\");\n\
          if (len > 0 && out) { name[len] = 0; fprintf(out, \"%s\\n\", name); fclose(out); } }\n";
    sandbox.write("evil.c", source);
    let cc = Command::new(installed("cc"))
        .args(["-shared", "-fPIC", "-o", "evil.so", "evil.c"])
        .current_dir(sandbox.work(""))
        .status();
    assert!(cc.unwrap().success());
    let (library, marker) = (sandbox.work("evil.so"), sandbox.work("marker"));
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        for _ in 0..2 {
            let run =
                Run::new(&sandbox, &probe_package().file).arg("env").env(variable, &library).env("MARKER", &marker);
            let shown = format!("{variable}={}\n", library.display());
            run.env("LD_LIBRARY_PATH", "evil::/nowhere")
                .stdout_part(shown)
                .stdout_part("LD_LIBRARY_PATH=evil::/nowhere\n")
                .run();
            let loaded = fs::read_to_string(&marker).unwrap();
            let program = sandbox.slots()[0].join("probe");
            assert!(
                loaded.lines().all(|line| Path::new(line) == program) && !loaded.is_empty(),
                "{variable}: {loaded}"
            );
            fs::remove_file(&marker).unwrap();
        }
    }
}

/// Variables that make a runtime load code. What the package says of them is signed; the caller cannot take it back.
#[test]
fn a61_variables_that_runtimes_obey() {
    let sandbox = Sandbox::new(Who::Caller);
    let (python, bash) = (python(), installed("bash"));
    sandbox.write("evil/sitecustomize.py", "print('evil')\n");
    sandbox.write("evil/usercustomize.py", "print('evil')\n");
    sandbox.write("evil/json.py", "print('evil')\n");
    sandbox.write("evil/rc", "echo evil\n");
    let evil = sandbox.work("evil");
    let rc = evil.join("rc");
    let start = |package: &Path| {
        let mut run = Run::new(&sandbox, package).cwd(&evil);
        for name in ["PYTHONPATH", "PYTHONUSERBASE"] {
            run = run.env(name, &evil);
        }
        for name in ["BASH_ENV", "ENV", "PYTHONSTARTUP"] {
            run = run.env(name, &rc);
        }
        for name in ["NODE_OPTIONS", "RUBYOPT", "JAVA_TOOL_OPTIONS", "PERL5OPT"] {
            run = run.env(name, "evil");
        }
        run
    };
    let (python, bash) = (python.display(), bash.display());
    let names = "env.unset = ['PYTHON*', 'BASH_ENV', 'ENV', 'NODE_OPTIONS', 'RUBYOPT', 'JAVA_*', 'PERL5*']";
    let files =
        [("main.py", "import json; print('sound')\n"), ("main.sh", "env | grep -v ^PWD= | grep evil; echo sound\n")];
    for run in [
        format!("command = ['{python}', '-I', '{{slot:app}}/main.py']"),
        format!("command = ['{python}', '{{slot:app}}/main.py']\n{names}"),
        format!("command = ['{bash}', '{{slot:app}}/main.sh']\n{names}"),
    ] {
        let package = package(&sandbox, &run, &files);
        start(&package).stdout("sound\n").run();
        start(&package).env("PSPF_ISOLATE", "0").env("PSPF_ENV_PASS", "*").stdout("sound\n").run();
    }
    // Without any of this the runtime does obey them: so the above shows something.
    let package = package(&sandbox, &format!("command = ['{python}', '{{slot:app}}/main.py']"), &files);
    start(&package).stdout_part("evil").run();
}

/// Every name that the launcher knows, and those of launchers of this kind, set to a tree that somebody prepared.
#[test]
fn a62_no_variable_names_a_tree_to_trust() {
    let sandbox = Sandbox::new(Who::Caller);
    let start = || Run::new(&sandbox, &probe_package().file).args(["exit", "5"]).status(5);
    start().run();
    // The whole cache again, with another program under the same key, its records and receipts.
    let evil = sandbox.work("evil");
    let copied = forks::output(Command::new("cp").arg("-a").arg(sandbox.home().join(".cache/pspf")).arg(&evil));
    assert!(copied.status.success());
    let slot = evil.join("v1/slots").join(sandbox.slots()[0].file_name().unwrap());
    for path in [&slot, &slot.join("probe")] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    forks::copy(Path::new("/bin/true"), &slot.join("probe"));
    for name in [
        "PSPF_PACKAGE",
        "PSPF_ARGV0",
        "PSPF_WORKENV",
        "PSPF_ROOT",
        "PSPF_SLOTS",
        "PSPF_EXTRACTED",
        "PSPF_DIR",
        "FLAVOR_WORKENV",
        "FLAVOR_CACHE_DIR",
        "FLAVOR_WORKENV_CACHE",
        "_MEIPASS2",
        "_PYI_APPLICATION_HOME_DIR",
        "SCIE_BASE",
        "PEX_ROOT",
        "APPDIR",
        "TMPDIR",
        "XDG_CACHE_HOME",
    ] {
        for value in [&evil, &evil.join("v1"), &slot] {
            start().env(name, value).run();
        }
    }
    // The one that does name a cache names it with records that hold for nothing in a copy: the tree is compared, and replaced.
    start().env("PSPF_CACHE_DIR", &evil).run();
}

/// Files that runtimes and loaders look for, where the caller is, beside the package and above it.
#[test]
fn a64_files_that_lie_about() {
    let sandbox = Sandbox::new(Who::Caller);
    let python = python();
    let run = format!("command = ['{}', '-I', '{{slot:app}}/main.py']", python.display());
    let package = package(&sandbox, &run, &[("main.py", "import json, os; print('sound')\n")]);
    let names = [
        "pyvenv.cfg",
        "python3.dll",
        "python311._pth",
        "python._pth",
        "sitecustomize.py",
        "usercustomize.py",
        "json.py",
        "os.py",
        "main.py",
        "site.py",
        "pspf.toml",
        "pspf.json",
        ".pspf",
        "policy.json",
        "libc.so.6",
        "ld.so.preload",
        "package.json",
        "bin/python3",
        "lib/os.py",
        "node_modules/x.js",
        ".env",
        "tool",
    ];
    for folder in ["", "out/", "out/here/", "../"] {
        for name in names {
            sandbox.write(format!("{folder}{name}"), "raise SystemExit('evil')\n");
        }
    }
    for _ in 0..2 {
        let start = Run::new(&sandbox, &package).cwd(sandbox.work("out/here")).any_stdout().any_stderr();
        let trace = Trace::of(&sandbox, "%file", start);
        assert!(!trace.ran.to_string().contains("evil"), "{}", trace.ran);
        let planted = |call: &&String| {
            let path = call.split('"').nth(1).unwrap_or_default();
            let lies = path.starts_with(sandbox.root().to_str().unwrap())
                && !path.starts_with(sandbox.home().to_str().unwrap());
            let relative =
                !path.starts_with('/') && names.iter().any(|name| path.ends_with(name)) && call.contains("AT_FDCWD");
            (lies || relative) && !call.contains("ENOENT") && path != package.to_str().unwrap()
        };
        let opened: Vec<&String> =
            trace.calls.iter().filter(planted).filter(|call| !call.starts_with("getcwd")).collect();
        assert!(opened.is_empty(), "{opened:#?}");
    }
}

/// Text of a package that steers a terminal, in all that is shown of it.
#[test]
fn a66_text_that_steers_a_terminal() {
    let sandbox = Sandbox::new(Who::Caller);
    let evil = r#"\u001b]0;title\u0007\u001b[2J\r\nverified\u0085\u202e"#.replace(r"\u0085", "\u{85}").replace(r"\u202e", "\u{202e}").replace(r"\u0007", "\u{7}");
    // As the canonical text has it: short escapes where there are some.
    let canonical = evil.replace('\u{7}', r"\u0007");
    let slots = [ForgedSlot::raw("app", b"#!/bin/sh\necho ran\n")];
    let parts: Parts = forge::parts("", &slots);
    let json = forge::json(&parts.launcher, "", &slots);
    let json = json.replacen(r#""version":"1"}"#, &format!(r#""version":"1","description":"{canonical}"}}"#), 1);
    let name = "evil\u{1b}[31m\n\u{202e}.psp";
    let package = sandbox.write_program(name, parts.with_json(&json, &key()));
    Run::new(&sandbox, &package).stdout("ran\n").run();
    let harmless = |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    let shown = |run: Run<'_>| {
        let output = run.spawn().wait_with_output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let file = package.as_os_str();
    let commands: [&[&str]; 9] = [
        &["verify"],
        &["verify", "--json"],
        &["inspect"],
        &["inspect", "--files"],
        &["inspect", "--layout"],
        &["inspect", "--json"],
        &["cache", "warm"],
        &["extract", "-C", "to"],
        &["sign", "--key", "missing"],
    ];
    for words in commands {
        let [stdout, stderr] = shown(Run::pspf(&sandbox, words).arg(file));
        assert!(harmless(&stdout) && harmless(&stderr), "{words:?}: {stdout:?} {stderr:?}");
        assert!(!stdout.lines().chain(stderr.lines()).any(|line| line.trim() == "verified"), "{words:?}: {stdout}");
        if words.contains(&"--json") {
            serde_json::from_str::<serde_json::Value>(&stdout).unwrap();
        }
    }
    for value in ["info", "check", "cache", "extract:app", "extract:\u{1b}[2J", "\u{1b}[2J"] {
        let [stdout, stderr] = shown(Run::new(&sandbox, &package).env("PSPF_SELF", value));
        assert!(harmless(&stdout) && harmless(&stderr), "{value}: {stdout:?} {stderr:?}");
    }
    let [stdout, _] = shown(Run::pspf(&sandbox, ["cache", "list"]));
    assert!(harmless(&stdout), "{stdout:?}");
}

/// A program that the package does not have is not found elsewhere, and one that it has is not looked for elsewhere.
#[test]
fn w13_programs_of_the_same_name() {
    let sandbox = Sandbox::new(Who::Caller);
    for place in ["path/tool", "tool", "bin/tool", "path/hostname"] {
        sandbox.write_program(place, "#!/bin/sh\necho evil\n");
    }
    let path = format!("{}:.:", sandbox.work("path").display());
    let start = |entries: &[ForgedEntry]| {
        let package = sandbox.write_program("case.psp", forge::package("/tool", &[ForgedTree::new(entries).slot()]));
        Run::new(&sandbox, package).env("PATH", &path)
    };
    start(&[ForgedEntry::file("other", b"x")]).fails("ENTRY").run();
    start(&[ForgedEntry::link("tool", "hostname")]).fails("ENTRY").run();
    start(&[ForgedEntry::file("tool", b"#!/bin/sh\necho ran\n")]).stdout("ran\n").run();
}

/// What other builders take and do not do: steps at the first start, encodings without a decoder, files that name the
/// package itself. Here each is an error, and there is no package.
#[test]
fn w16_w19_w20_w28_w31_what_is_not_built_is_not_packed() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tool", "#!/bin/sh\necho ran\n");
    let refused = |run: &str, slot: &str, class: &str| {
        let manifest = format!(
            "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{{slot:app}}']\n{run}\n[[slot]]\nid = 'app'\n{slot}\n"
        );
        sandbox.write("pspf.toml", &manifest);
        let ran = Run::pspf(&sandbox, ["pack"]).any_stderr().spawn().wait_with_output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(!ran.status.success() && said.starts_with(&format!("pspf: error[{class}]: ")), "{manifest}\n{said}");
        assert!(!sandbox.work("p.psp").exists(), "{manifest}");
    };
    let source = "source = 'tool'";
    for run in [
        "setup = ['touch x']",
        "setup_commands = [{ type = 'execute', command = 'touch x' }]",
        "[run.write_file]\npath = '/x'",
        "[workenv]\ndirectories = []",
        "[verification]\nrequire = false",
        "[cache_validation]",
    ] {
        refused(run, source, "USAGE");
    }
    for operations in [
        "xz",
        "bzip2",
        "gz",
        "tar",
        "tar.gz",
        "tgz",
        "tar,gzip",
        "tar|gzip",
        "tar.zst",
        "zstandard",
        "",
        "none",
        "RAW",
        "tar|zstd",
    ] {
        refused("", &format!("{source}\noperations = '{operations}'"), "USAGE");
    }
    for slot in ["source = '$SELF'", "source = '{workenv}/tool'", "source = 'missing'"] {
        refused("", slot, "IO");
    }
    for more in [
        "permissions = '4755'",
        "permissions = '0777'",
        "lifecycle = 'init'",
        "lifecycle = 'volatile'",
        "purpose = 'tool'",
    ] {
        refused("", &format!("{source}\n{more}"), "USAGE");
    }
}

/// No part of a start holds a whole slot in memory, however it is stored.
#[test]
fn w23_slots_larger_than_the_memory_that_is_used() {
    let sandbox = Sandbox::new(Who::Caller);
    sandbox.write_program("tool", "#!/bin/sh\nexit 5\n");
    sandbox.write("raw", noise(1, 80 << 20));
    sandbox.write("tree/large", noise(2, 80 << 20));
    let manifest = "[package]\nname = 'p'\nversion = '1'\n[run]\ncommand = ['{slot:tool}', '{slot:raw}', '{slot:tree}']\n\
        [[slot]]\nid = 'tool'\nsource = 'tool'\n[[slot]]\nid = 'raw'\nsource = 'raw'\noperations = 'raw'\n\
        [[slot]]\nid = 'tree'\nsource = 'tree'\n";
    sandbox.write("pspf.toml", manifest);
    Run::pspf(&sandbox, ["pack", "--level", "1"]).env("PSPF_BUILD_CACHE_SIZE", "0").any_stdout().run();
    let report = sandbox.work("report");
    for _ in 0..2 {
        Run::new(&sandbox, probe()).arg("measure").arg(&report).arg(sandbox.work("p.psp")).status(5).run();
        let peak: u64 = fs::read_to_string(&report).unwrap().parse().unwrap();
        assert!(peak < 64 << 10, "{peak} kB");
    }
}

/// When all is well nothing is said but by the application, the first time and every other.
#[test]
fn w24_a_start_says_nothing() {
    let sandbox = Sandbox::new(Who::Caller);
    for _ in 0..3 {
        Run::new(&sandbox, &probe_package().file).stdout("hello from the probe\n").stderr("").run();
    }
    assert!(snapshot(&sandbox.work("")).is_empty(), "nor is anything written where the caller is");
}

/// All that a start or a check reads of a package comes from one descriptor.
#[test]
fn w26_a_package_is_opened_once() {
    let sandbox = Sandbox::new(Who::Caller);
    let package = sandbox.copy(&probe_package().file, "t.psp");
    let own = [package.to_str().unwrap(), "t.psp", "/proc/self/exe"];
    let opened = |calls: &[String]| {
        let is_open = |call: &&String| call.starts_with("open") && !call.contains("ENOENT");
        let path = |call: &String| call.split('"').nth(1).unwrap_or_default().to_owned();
        calls.iter().filter(is_open).map(path).filter(|path| own.contains(&path.as_str())).count()
    };
    for _ in 0..2 {
        let trace = Trace::of(&sandbox, "open,openat,execve", Run::new(&sandbox, &package).args(["exit", "0"]));
        assert_eq!(opened(trace.of_launcher()), 1, "{:?}", trace.of_launcher());
    }
    for words in
        [&["verify", "t.psp"][..], &["verify", "--deep", "t.psp"], &["extract", "t.psp", "-C", "to"], &["run", "t.psp"]]
    {
        let code = if words[0] == "verify" { 2 } else { 0 };
        let run = Run::new(&sandbox, pspf()).args(words).status(code).any_stdout().any_stderr();
        let trace = Trace::of(&sandbox, "open,openat,execve", run);
        assert_eq!(opened(trace.of_launcher()), 1, "{words:?}: {:?}", trace.of_launcher());
    }
}
