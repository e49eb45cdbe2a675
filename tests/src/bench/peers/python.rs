//! Tools that pack a Python program with the modules that it imports; all but payload B's own files.

use std::ffi::OsString;
use std::fs;

use super::Job;
use crate::bench::payloads::python::PROGRAM;

pub(super) fn pyinstaller(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    job.kept("pyinstaller-6.22.3", || {
        fs::write(job.work.join("app.py"), PROGRAM)?;
        job.run(job.tools.join("venv/bin/pyinstaller"), &["--onefile", "--log-level", "ERROR", "app.py"])?;
        Ok(job.work.join("dist/app"))
    })
}

/// Unpacks at every start, as it does unless it is told where a cache may be.
pub(super) fn nuitka(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    job.kept("nuitka-4.3.3", || {
        fs::write(job.work.join("app.py"), PROGRAM)?;
        let options = ["-m", "nuitka", "--onefile", "--quiet", "--output-dir=out", "app.py"];
        job.run(job.tools.join("venv/bin/python"), &options)?;
        Ok(job.work.join("out/app.bin"))
    })
}

/// Holds no interpreter: that of payload B starts it.
pub(super) fn shiv(job: &Job<'_>) -> anyhow::Result<Vec<OsString>> {
    let main = "def main():\n    import json,ssl,asyncio\n    print('ok')\n";
    let project = "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
        [project]\nname = 'app'\nversion = '1'\n[tool.setuptools]\npy-modules = ['app']\n";
    let source = job.work.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("app.py"), main)?;
    fs::write(source.join("pyproject.toml"), project)?;
    let options = ["-q", "-e", "app:main", "-o", "out", "--no-deps", "--no-build-isolation", "--no-index", "./source"];
    job.run(job.tools.join("venv/bin/shiv"), &options)?;
    let python = job.content.map(|tree| tree.join("bin/python3").into_os_string());
    Ok(python.into_iter().chain(job.made("out")).collect())
}
