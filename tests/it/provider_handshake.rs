//! A real plugin, packed and as it is, started by a client of the protocol that Terraform and its providers speak: what
//! can be seen from outside is the same.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who, need};

use crate::python::Python;
use crate::python_recipe::pack;
use crate::reference::{release, step};

const LIBRARY: &str = "pyvider-rpcplugin==0.5.5";

const PROJECT: &str = r#"
[project]
name = "demo-plugin"
version = "0.1"
dependencies = ["pyvider-rpcplugin==0.5.5"]
[project.scripts]
demo = "demo:main"
other = "demo:other"
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
py-modules = ["demo"]
"#;

/// A provider without resources.
const PLUGIN: &str = r#"
import asyncio, os, sys
from pyvider.rpcplugin import plugin_protocol, plugin_server

CONFIG = {
    "PLUGIN_MAGIC_COOKIE_KEY": "TF_PLUGIN_MAGIC_COOKIE",
    "PLUGIN_MAGIC_COOKIE_VALUE": "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    "PLUGIN_PROTOCOL_VERSIONS": [6],
}

async def serve():
    await plugin_server(protocol=plugin_protocol(), handler=object(), config=CONFIG).serve()

def main():
    if sys.argv[1:] == ["--name"]:
        return print(os.path.basename(sys.argv[0]))
    asyncio.run(serve())

def other():
    return "another program was started"

if __name__ == "__main__":
    main()
"#;

/// An environment of Python with this in it, made once for all later runs.
pub(crate) fn environment(requirements: &[&str]) -> PathBuf {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(requirements.join("-").replace("==", "-"));
    if !made.join("complete").exists() {
        let _ = fs::remove_dir_all(&made);
        let uv = |args: &[&str]| {
            let mut uv = Command::new(release().join("bin/uv"));
            uv.args(args).env("UV_NATIVE_TLS", "1").env("UV_SYSTEM_CERTS", "1").env("UV_PYTHON_DOWNLOADS", "never");
            uv.env("UV_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages/uv"));
            uv
        };
        step(uv(&["venv", "--quiet", "--python"]).arg(Python::find().program).arg(&made), "uv makes an environment");
        let mut install = uv(&["pip", "install", "--quiet", "--python"]);
        step(install.arg(made.join("bin/python")).args(requirements), "the package index must be in reach");
        fs::write(made.join("complete"), b"").unwrap();
    }
    made
}

/// The words that start this program with the environment that the test gives it, and what the caller adds.
pub(crate) fn words(run: &Run<'_>) -> Vec<OsString> {
    let command = run.command();
    let mut words = vec![OsString::from("env")];
    for (name, value) in command.get_envs() {
        words.push([name, value.unwrap_or_default()].join("=".as_ref()));
    }
    words.push(command.get_program().to_owned());
    words.extend(command.get_args().map(OsString::from));
    words
}

/// Takes the program out of the only archive of a mirror as the CLIs do, with the mode that the archive gives it.
pub(crate) fn install(archive: &Path, sandbox: &Sandbox) -> PathBuf {
    need("python3");
    let code = "import os, sys, zipfile\narchive = zipfile.ZipFile(sys.argv[1])\n[entry] = archive.infolist()\n\
        path = archive.extract(entry)\nos.chmod(path, entry.external_attr >> 16)\nprint(path)\n";
    let maker = Sandbox::new(Who::Caller);
    let ran = Run::new(&maker, "python3").args(["-I", "-c", code]).arg(archive).any_stdout().run();
    let extracted = Path::new(ran.stdout.trim_end());
    let path = sandbox.copy(extracted, extracted.file_name().unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    // As a file that its user cannot change.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    path
}

/// The package, made once for all tests, and a folder with what is packed.
fn provider() -> &'static (Sandbox, PathBuf) {
    static PROVIDER: OnceLock<(Sandbox, PathBuf)> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let maker = Sandbox::new(Who::Caller);
        maker.write("project/pyproject.toml", PROJECT);
        maker.write("project/demo.py", PLUGIN);
        let args = ["project", "--entry", "demo", "--provider", "acme/demo", "--package-version", "1.2.3"];
        pack(&maker, "uv", &args).any_stdout().any_stderr().run();
        let package = "terraform-provider-demo_v1.2.3";
        let mirror = ["provider", "mirror", "mirror", package, "--provider", "acme/demo", "--protocol", "6.0"];
        Run::pspf(&maker, mirror).any_stdout().run();
        let folder = maker.work("mirror/registry.terraform.io/acme/demo");
        let archive = folder.join("terraform-provider-demo_1.2.3_linux_amd64.zip");
        (maker, archive)
    })
}

fn observe(command: &[OsString]) -> serde_json::Value {
    let sandbox = Sandbox::new(Who::Caller);
    let client = sandbox.write("client.py", include_str!("provider_client.py"));
    let python = environment(&[LIBRARY]).join("bin/python");
    let ran = Run::new(&sandbox, python).arg(client).args(command).any_stdout().any_stderr().run();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

/// Magic cookie, one line, TLS with certificates on both sides, signals, shutdown.
#[test]
fn a_packed_plugin_behaves_as_the_plugin_itself() {
    let (maker, archive) = provider();
    let sandbox = Sandbox::new(Who::Stranger);
    let installed = install(archive, &sandbox);
    let packed = observe(&words(&Run::new(&sandbox, &installed).under(["env", "PATH=/nowhere"])));
    let python = environment(&[LIBRARY]).join("bin/python");
    let itself = observe(&words(&Run::new(maker, python).arg(maker.work("project/demo.py"))));
    assert_eq!(packed, itself);

    assert_eq!(packed["line"], serde_json::json!(["1", "6", "unix", "grpc", true]));
    // HealthCheckResponse with SERVING.
    assert_eq!((&packed["health"], &packed["health after SIGINT"]), (&"0801".into(), &"0801".into()));
    assert_eq!(packed["health without certificate"], "StatusCode.UNAVAILABLE");
    assert_eq!((&packed["shutdown"], &packed["the launcher spoke"]), (&"".into(), &false.into()));
    let ended = |code: u8| serde_json::json!({ "code": code, "more on stdout": "", "socket": false });
    for (moment, code) in [("shut down", 0), ("terminated", 0), ("without cookie", 1), ("with another cookie", 1)] {
        assert_eq!(packed[moment], ended(code), "{moment}");
    }
    assert!(packed["reasons"][0].as_str().unwrap().contains("Magic cookie not provided"), "{packed}");
    // It wrote into its own cache, and nowhere else.
    assert_eq!(names(&sandbox.home()), [".cache"]);
    assert_eq!(names(&sandbox.root().join("tmp")), [""; 0]);
}

/// The name of the file is none of the project's scripts: the one that was chosen starts, and is called as a provider is.
#[test]
fn a_python_provider_is_called_by_its_own_name() {
    let (_, archive) = provider();
    let sandbox = Sandbox::new(Who::Stranger);
    let installed = install(archive, &sandbox);
    Run::new(&sandbox, &installed).arg("--name").stdout("terraform-provider-demo\n").run();
    // The others start where the file has their name, as in every package of Python.
    std::os::unix::fs::symlink(&installed, sandbox.work("other")).unwrap();
    Run::new(&sandbox, sandbox.work("other")).status(1).stderr("another program was started\n").run();
}
