//! A package that tells what it is made of, and the states that its cache may be in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use pspf_tests::sandbox::remove_tree;
use pspf_tests::tree_files::noise;
use pspf_tests::{Run, Sandbox, Snapshot, Who, snapshot};

use crate::tracer::{Call, Do, Driven, drive};

/// The application looks at its own tree: every name, type, mode, target and content.
const LOOK: &str = "#!/bin/sh
[ \"$1\" != quick ] || { echo quick; exit; }
cd \"${0%/*}/..\" && find . -printf '%p %y %m %l\\n' | sort && find . -type f -exec sha256sum {} + | sort
";

/// A package of everything that takes a step of its own to extract, and what it says of itself when it is whole.
pub(crate) struct Subject {
    pub(crate) sandbox: Sandbox,
    pub(crate) package: PathBuf,
    pub(crate) tree: Snapshot,
    pub(crate) said: Vec<u8>,
}

impl Subject {
    pub(crate) fn new(who: Who) -> Self {
        Self::with(who, 0)
    }

    /// One with a file of this many bytes more, which many frames hold where it is large.
    pub(crate) fn with(who: Who, large: usize) -> Self {
        let sandbox = Sandbox::new(who);
        sandbox.write_program("tree/bin/tool", LOOK);
        sandbox.write("tree/lib/data", noise(1, 3000));
        sandbox.write("tree/lib/deep/other", noise(2, 700));
        sandbox.write("tree/lib/empty", "");
        if large > 0 {
            sandbox.write("tree/large", vec![b'x'; large]);
        }
        fs::hard_link(sandbox.work("tree/lib/data"), sandbox.work("tree/bin/data")).unwrap();
        symlink("../lib/data", sandbox.work("tree/bin/link")).unwrap();
        sandbox.give_all(&sandbox.work("tree"));
        Run::pspf(&sandbox, ["pack", "tree", "--exec", "bin/tool", "-o", "t.psp"]).any_stdout().run();
        let (package, tree) = (sandbox.work("t.psp"), snapshot(&sandbox.work("tree")));
        let said = Run::new(&sandbox, &package).any_stdout().run().stdout.into_bytes();
        let subject = Self { sandbox, package, tree, said };
        subject.only_whole_slots("the first start");
        assert!(subject.said.windows(4).any(|word| word == b"link"));
        subject
    }

    pub(crate) fn start(&self) -> Run<'_> {
        Run::new(&self.sandbox, &self.package)
    }

    /// A start under `visit`.
    pub(crate) fn drive(&self, visit: impl FnMut(&Call) -> Do) -> Driven {
        drive(self.start().command(), &self.package, visit)
    }

    /// As if it had never been started.
    pub(crate) fn forget(&self) {
        remove_tree(&self.sandbox.home().join(".cache"));
    }

    /// Every slot in the cache is the whole tree, at any moment.
    #[track_caller]
    pub(crate) fn only_whole_slots(&self, told: &str) {
        for slot in self.sandbox.slots() {
            assert_eq!(snapshot(&slot), self.tree, "a slot in the cache is not whole, {told}");
        }
    }

    /// An application that ran saw its whole tree; one that did not run said nothing.
    #[track_caller]
    pub(crate) fn ran_whole_or_not(&self, output: &Output, told: &str) {
        if output.stdout != self.said {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "the application ran with another tree, {told}");
        }
    }

    /// The next start works unaided and leaves nothing but what belongs there.
    #[track_caller]
    pub(crate) fn starts_again(&self, told: &str) {
        let output = self.start().spawn().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((said.as_str(), output.status.code()), ("", Some(0)), "the start after {told}");
        assert!(output.stdout == self.said, "the start after {told} ran another tree");
        self.only_whole_slots(told);
        assert_eq!(self.sandbox.slots().len(), 1, "{told}");
        assert_eq!(self.leftovers(), [""; 0], "what was left is reclaimed by the next start, {told}");
    }

    /// Work in progress, as far as it shows in the cache.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let folders = ["slots", "receipts", "locks", ""];
        let names = folders.iter().flat_map(|folder| self.sandbox.cached(folder));
        names.filter(|name| name.starts_with('.')).collect()
    }

    /// A file beside a slot.
    pub(crate) fn record(&self) -> PathBuf {
        self.slot().with_extension("ok")
    }

    pub(crate) fn receipt(&self) -> PathBuf {
        self.sandbox.cache().join("receipts").join(&self.sandbox.cached("receipts")[0])
    }

    pub(crate) fn slot(&self) -> PathBuf {
        self.sandbox.slots()[0].clone()
    }
}

/// Changes a file that extraction made read-only.
pub(crate) fn rewrite(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

/// Whether a path is the final name of an extracted slot.
pub(crate) fn is_slot(path: &Path) -> bool {
    let key = path.file_name().is_some_and(|name| name.len() == 64);
    key && path.parent().is_some_and(|folder| folder.ends_with("slots"))
}

fn set_modes(tree: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            set_modes(&entry.path(), mode);
        }
    }
    fs::set_permissions(tree, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets the directories of an extracted tree be changed.
pub(crate) fn writable(tree: &Path) {
    set_modes(tree, 0o755);
}

/// Makes them read-only again, as extraction did.
pub(crate) fn read_only(tree: &Path) {
    set_modes(tree, 0o555);
}
