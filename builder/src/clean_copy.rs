//! A copy of a project without what it ignores: that is what builds before this one have left.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use ignore::WalkBuilder;

use crate::failure::{At, Failure, shown};
use crate::project_copy::{copy_file, copy_project};

/// Variables of git that name the repository of whoever calls.
pub(crate) const OF_GIT: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"];

/// A copy that is being made.
pub(crate) struct CleanCopy<'a> {
    /// The project, without links.
    from: PathBuf,
    to: &'a Path,
    /// What of it is left out, for people.
    notes: Vec<String>,
}

impl CleanCopy<'_> {
    /// Copies the project in `from` to `to`; `work` is where this program works. Returns what is left out unexpectedly.
    pub(crate) fn make(from: &Path, to: &Path, work: &Path) -> anyhow::Result<Vec<String>> {
        let from = if from.as_os_str().is_empty() { Path::new(".") } else { from };
        let from = from.canonicalize().at("opening", from)?;
        let mut walk = WalkBuilder::new(&from);
        // The rules of the project alone, as those of whoever packs would change what is packed: its own, and those of the
        // repository that it is a part of.
        let is_in_repository = from.ancestors().any(|folder| folder.join(".git").exists());
        walk.hidden(false).ignore(false).git_global(false).git_exclude(false).follow_links(false);
        walk.require_git(is_in_repository).parents(is_in_repository);
        walk.sort_by_file_name(Ord::cmp);
        let work = work.to_owned();
        walk.filter_entry(move |entry| entry.path() != work);
        let mut copy = CleanCopy { from, to, notes: Vec::new() };
        for entry in walk.build() {
            let entry =
                entry.map_err(|error| Failure::usage(format!("reading {}", shown(&copy.from))).because(error))?;
            let inside = entry.path().strip_prefix(&copy.from).unwrap_or(entry.path()).to_owned();
            copy.entry(&inside)?;
        }
        for inside in tracked(&copy.from) {
            copy.missing(&inside)?;
        }
        Ok(copy.notes)
    }

    fn entry(&mut self, inside: &Path) -> anyhow::Result<()> {
        // Without a slash at its end for the project itself.
        let (path, target) = match inside.as_os_str().is_empty() {
            true => (self.from.clone(), self.to.to_owned()),
            false => (self.from.join(inside), self.to.join(inside)),
        };
        let found = path.symlink_metadata().at("reading", &path)?;
        if found.is_dir() {
            fs::create_dir(&target).at("creating", &target)
        } else if found.is_symlink() {
            self.link(inside, &path, &target)
        } else if !found.is_file() {
            self.note(inside, "is neither a file nor a directory");
            Ok(())
        } else if inside == Path::new(".git") {
            self.note(inside, "leads to another folder, which a build must not change,");
            Ok(())
        } else if crate::output::is_package(&mut File::open(&path).at("opening", &path)?).at("reading", &path)? {
            self.note(inside, "is a package");
            Ok(())
        } else if path.file_name().is_some_and(crate::output::is_staged) {
            Ok(())
        } else {
            copy_file(&path, &target)
        }
    }

    /// Links stay links inside of the project; what they lead to beside it is copied.
    fn link(&self, inside: &Path, path: &Path, target: &Path) -> anyhow::Result<()> {
        let end = fs::read_link(path).at("reading", path)?;
        let end = match path.canonicalize() {
            Ok(real) if real.starts_with(&self.from) && (end.is_absolute() || leaves(inside, &end)) => {
                self.to.join(real.strip_prefix(&self.from).unwrap_or(&real))
            }
            Ok(real) if !real.starts_with(&self.from) && real.is_file() => return copy_file(&real, target),
            Ok(real) if !real.starts_with(&self.from) && real.is_dir() => return copy_project(&real, target, self.to),
            _ => end,
        };
        symlink(end, target).at("creating", target)
    }

    /// Copies what is tracked although it is ignored.
    fn missing(&mut self, inside: &Path) -> anyhow::Result<()> {
        let is_there = |path: PathBuf| path.symlink_metadata().is_ok_and(|found| !found.is_dir());
        if is_there(self.to.join(inside)) || !is_there(self.from.join(inside)) {
            return Ok(());
        }
        let target = self.to.join(inside);
        let above = target.parent().unwrap_or(self.to);
        fs::create_dir_all(above).at("creating", above)?;
        self.entry(inside)
    }

    fn note(&mut self, inside: &Path, reason: &str) {
        self.notes.push(format!("{} {reason} and not in the copy that is built in", shown(inside)));
    }
}

/// What git has in its index; nothing where there is no git.
fn tracked(folder: &Path) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached"]).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null());
    OF_GIT.iter().for_each(|name| {
        git.env_remove(name);
    });
    let Ok(output) = git.output() else { return Vec::new() };
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(std::ffi::OsString::from_vec(name.to_vec()))).collect()
}

/// Whether a link at `inside`, relative to the project, leads out of it.
fn leaves(inside: &Path, end: &Path) -> bool {
    let mut depth = inside.components().count().saturating_sub(1);
    for part in end.components() {
        match part {
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn links_out_of_a_project_are_told_apart() {
        for (inside, end, expected) in
            [("a/l", "../b", false), ("a/l", "../../b", true), ("l", "../b", true), ("l", "a/../b", false)]
        {
            assert_eq!(leaves(Path::new(inside), Path::new(end)), expected, "{inside} {end}");
        }
    }

    #[test]
    fn a_copy_has_nothing_of_elsewhere_and_leads_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (from, to) = (root.join("project"), root.join("work/project"));
        for folder in ["project/src", "outside", "work", "project/work"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (file, text) in [
            // Above the project, and so of somebody else.
            (".gitignore", "*"),
            ("project/.gitignore", "dist/\n"),
            ("project/src/data", "old"),
            ("project/dist", ""),
            ("outside/file", "beside"),
            ("project/work/x", ""),
        ] {
            fs::write(root.join(file), text).unwrap();
        }
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(from.join("src/data")).unwrap().set_modified(past).unwrap();
        for (end, link) in [
            ("src/data".to_owned(), "inside"),
            (from.join("src").display().to_string(), "absolute"),
            ("../project/src".to_owned(), "around"),
            ("../outside/file".to_owned(), "file"),
            ("../outside".to_owned(), "folder"),
            ("nowhere".to_owned(), "dangling"),
        ] {
            symlink(end, from.join(link)).unwrap();
        }
        let notes = CleanCopy::make(&from, &to, &from.join("work")).unwrap();
        assert_eq!(notes, [""; 0]);
        assert_eq!(fs::metadata(to.join("src/data")).unwrap().modified().unwrap(), past);
        let end = |name: &str| fs::read_link(to.join(name)).unwrap();
        assert_eq!((end("inside"), end("dangling")), ("src/data".into(), "nowhere".into()));
        assert_eq!((end("absolute"), end("around")), (to.join("src"), to.join("src")));
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "beside");
        assert!(to.join("folder/file").is_file() && !to.join("folder").is_symlink());
        assert!(to.join("dist").is_file() && !to.join("work").exists());
    }
}
