//! Byte code that is never compared with the time of its source: the trees are read-only, and their times fixed.

use std::path::Path;
use std::process::{Command, Stdio};

use super::refuse;
use super::runtime::Runtime;
use crate::failure::{At, shown};

/// Compiles everything in a tree, with paths relative to it.
pub(super) fn compile(runtime: &Runtime, tree: &Path) -> anyhow::Result<()> {
    let python = runtime.path.join("bin").join(&runtime.program);
    let mut compile = Command::new(&python);
    compile.env_clear().current_dir(tree);
    // The order of what a set holds ends up in the bytes.
    compile.env("PYTHONHASHSEED", "0").env("PYTHONNOUSERSITE", "1").env("LC_ALL", "C.UTF-8");
    compile.args(["-B", "-m", "compileall", "-q", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s"]);
    compile.arg(tree).arg("-p").arg("/").arg(tree).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // 1: a file does not compile, as templates and tests of a parser do not; it is not imported either.
    match compile.status().at("executing", &python)?.code() {
        Some(0 | 1) => Ok(()),
        _ => refuse(format!("compiling {} was interrupted", shown(tree)), "the system's log may say why; try again"),
    }
}
