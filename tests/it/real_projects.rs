//! Projects that people use, packed as they are and started with nothing of the machine in reach but what they ask it for.
//!
//! One of them is taken each time. The others are fetched and run by `cargo test -p pspf-tests --test it -- --ignored
//! real_projects`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pspf_tests::{Run, Sandbox, Who};

use crate::python_recipe::{left_nothing, pack};

/// What is packed, the script of it, and starts with a part of what they say.
struct Project {
    pack: &'static [&'static str],
    starts: &'static [(&'static [&'static str], &'static str)],
}

const PROJECTS: &[Project] = &[
    Project {
        pack: &["--python", "wrknv==0.4.1"],
        starts: &[(&["--version"], "0.4.1"), (&["--help"], "Usage: wrknv")],
    },
    Project { pack: &["--python", "plating==0.6.1"], starts: &[(&["--help"], "Usage: plating")] },
    Project {
        pack: &["--python", "tofusoup==0.8.2", "--entry", "soup"],
        starts: &[(&["--version"], "0.8.2"), (&["hcl", "--help"], "Usage: soup hcl")],
    },
    Project { pack: &["--python", "supsrc[tui]==0.4.0"], starts: &[(&["--version"], "0.4.0")] },
    Project {
        pack: &["--python", "black==26.10.1"],
        starts: &[(&["--version"], "26.10.1"), (&["-c", "x =  1"], "x = 1\n")],
    },
    Project {
        pack: &["--python", "ansible-core==2.18.6", "--entry", "ansible"],
        starts: &[(&["localhost", "-m", "ping"], "\"ping\": \"pong\""), (&["--version"], "ansible [core 2.18.6]")],
    },
];

/// A project of one file, with a console script of the name.
fn project(sandbox: &Sandbox, name: &str, dependencies: &str, text: &str) {
    let module = name.replace('-', "_");
    let settings = format!(
        "[project]\nname = '{name}'\nversion = '1.0'\ndependencies = [{dependencies}]\n[project.scripts]\n\
         {name} = '{module}:main'\n[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
         [tool.setuptools]\npackages = ['{module}']\npackage-data = {{ {module} = ['templates/*'] }}\n"
    );
    sandbox.write(format!("{name}/pyproject.toml"), settings);
    sandbox.write(format!("{name}/{module}/__init__.py"), text);
}

/// Packs it, and puts it where another user can read it and nobody can write it.
fn packed(maker: &Sandbox, sandbox: &Sandbox, args: &[&str]) -> PathBuf {
    pack(maker, "uv", args).args(["-o", "packed.psp"]).any_stdout().any_stderr().run();
    left_nothing(maker);
    let name = format!("app-{}.psp", pspf_tests::sandbox::names(&sandbox.work("")).len());
    let package = sandbox.copy(&maker.work("packed.psp"), &name);
    fs::remove_file(maker.work("packed.psp")).unwrap();
    fs::set_permissions(&package, fs::Permissions::from_mode(0o555)).unwrap();
    package
}

/// Starts it with these programs alone in PATH.
fn start<'s>(sandbox: &'s Sandbox, package: &Path, tools: &Path) -> Run<'s> {
    // Some of them ask for a locale with UTF-8.
    Run::new(sandbox, package).env("LC_ALL", "C.UTF-8").under(["env".to_owned(), format!("PATH={}", tools.display())])
}

/// Native libraries, as most of the index has them, find their parts in the package.
#[test]
fn a_program_with_native_libraries_starts() {
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    let text = "import numpy\ndef main(): print(numpy.linalg.solve(numpy.eye(3) * 2, numpy.arange(3)).tolist())\n";
    project(&maker, "numbers-app", "'numpy'", text);
    let package = packed(&maker, &sandbox, &["numbers-app"]);
    start(&sandbox, &package, Path::new("/nowhere")).stdout("[0.0, 0.5, 1.0]\n").run();
}

/// A server and a client, each from a file of its own.
#[test]
#[ignore = "fetches 20 MB"]
fn a_server_and_a_client_talk() {
    let (maker, sandbox) = (Sandbox::new(Who::Caller), Sandbox::new(Who::Stranger));
    let text = "import flask, waitress\napp = flask.Flask(__name__)\n@app.get('/')\ndef index():\n    \
        return flask.render_template('index.html', who='world')\ndef main():\n    \
        server = waitress.create_server(app, host='127.0.0.1', port=0)\n    print(server.effective_port, flush=True)\n    \
        server.run()\n";
    project(&maker, "web-app", "'flask', 'waitress'", text);
    maker.write("web-app/web_app/templates/index.html", "hello {{ who }}");
    let server = packed(&maker, &sandbox, &["web-app"]);
    let client = packed(&maker, &sandbox, &["--python", "httpie==3.2.4", "--entry", "http"]);
    let nowhere = Path::new("/nowhere");
    let mut running = start(&sandbox, &server, nowhere).spawn();
    let mut port = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let url = format!("http://127.0.0.1:{}/", port.trim());
    let said = start(&sandbox, &client, nowhere).args(["--ignore-stdin", "--body", &url]).any_stdout().run().stdout;
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(said.trim(), "hello world");
}

#[test]
#[ignore = "fetches 200 MB"]
fn projects_of_the_index_start_with_nothing_else_there() {
    let sandbox = Sandbox::new(Who::Stranger);
    // What ansible runs on the machines that it works on.
    let tools = sandbox.work("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ["sh", "mkdir", "rm", "chmod", "sleep"] {
        symlink(Path::new("/bin").join(tool), tools.join(tool)).unwrap();
    }
    for project in PROJECTS {
        let maker = Sandbox::new(Who::Caller);
        let package = packed(&maker, &sandbox, project.pack);
        for (args, part) in project.starts {
            let said = start(&sandbox, &package, &tools).args(*args).any_stdout().any_stderr().run().stdout;
            assert!(said.contains(part), "{:?} {args:?}: {said}", project.pack);
        }
    }
    // Nothing of theirs has changed what is shared.
    Run::pspf(&sandbox, ["cache", "verify"]).any_stdout().run();
}
