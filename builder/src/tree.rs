//! A source directory as it will be packed: every entry named, placed and stamped before anything is read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pspf_format::tree::EntryKind;
use pspf_format::{Mode, Platform, Sha256, TreePath};

use crate::failure::{At, Failure, shown};
use crate::selection::Selection;
use crate::windows_names;

/// What to do with symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Links {
    /// Pack them as links; one that leaves the tree is an error.
    #[default]
    Keep,
    /// Pack what they point to.
    Follow,
    /// The same, and every name of a file is a file of its own.
    Copy,
}

/// A regular file as it was when the tree was walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    /// Where it is.
    pub(crate) source: PathBuf,
    pub(crate) size: u64,
    device: u64,
    inode: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl FileStamp {
    /// The stamp of a file with this metadata.
    pub(crate) fn new(source: PathBuf, metadata: &Metadata) -> Self {
        Self {
            source,
            size: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether this is the metadata of the same file, unchanged.
    pub(crate) fn is_of(&self, metadata: &Metadata) -> bool {
        self.size == metadata.len()
            && (self.device, self.inode) == (metadata.dev(), metadata.ino())
            && self.mtime == (metadata.mtime(), metadata.mtime_nsec())
            && self.ctime == (metadata.ctime(), metadata.ctime_nsec())
    }
}

/// What is worth telling about a tree although it can be packed.
#[derive(Debug, Default)]
pub(crate) struct Oddities {
    /// Files whose setuid or setgid bit is dropped.
    pub(crate) elevated: Vec<PathBuf>,
    /// Packages that were left out: the output of this very packing, and what an interrupted one left.
    pub(crate) own_output: Vec<PathBuf>,
    /// Include patterns that matched nothing.
    pub(crate) unmatched: Vec<String>,
}

/// A whole tree, in the order of the stream.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Directories, files, hard links, symbolic links. Digests of files are still zero.
    pub(crate) entries: Vec<(TreePath, EntryKind)>,
    /// The files, in the order in which they stand among the entries.
    pub(crate) files: Vec<FileStamp>,
    pub(crate) oddities: Oddities,
}

/// What a walk needs to know.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) selection: &'a Selection,
    pub(crate) links: Links,
    /// The file that is being made: never packed into itself.
    pub(crate) output: &'a Path,
}

impl Tree {
    /// Walks the directory.
    pub(crate) fn walk(root: &Path, rules: &Rules<'_>) -> anyhow::Result<Self> {
        let root = root.canonicalize().at("opening", root)?;
        let mut walker = Walker::new(&root, rules);
        walker.directory(&root, None, rules.selection.takes_all())?;
        let unmatched = rules.selection.unmatched();
        let Walker { directories, files, links, mut oddities, .. } = walker;
        oddities.unmatched = unmatched;
        let mut entries: Vec<_> = directories.keys().map(|path| (path.clone(), EntryKind::Directory)).collect();
        let first_file = entries.len();
        let mut stamps: Vec<FileStamp> = Vec::new();
        let mut hard_links = Vec::new();
        let mut names: HashMap<(u64, u64), (u32, TreePath)> = HashMap::new();
        let files = files.into_iter().collect();
        let files = crate::order::by_likeness(files, |(path, (stamp, ..))| (path.as_str(), stamp.size));
        for (path, (stamp, mode, shared)) in files {
            let inode = (stamp.device, stamp.inode);
            if shared && let Some((file, target)) = names.get(&inode) {
                hard_links.push((path, EntryKind::HardLink { file: *file, target: target.clone() }));
                continue;
            }
            if shared {
                let position = u32::try_from(first_file.saturating_add(stamps.len()));
                let position = position.map_err(|_| Failure::usage(format!("{}: too many entries", shown(&root))))?;
                names.insert(inode, (position, path.clone()));
            }
            entries.push((path, EntryKind::File { mode, size: stamp.size, sha256: Sha256([0; 32]) }));
            stamps.push(stamp);
        }
        entries.extend(hard_links);
        for (path, text) in links {
            let is_directory = |name: &str| TreePath::try_from(name).is_ok_and(|name| directories.contains_key(&name));
            let target = crate::links::target(&root, &path, &text, |name| name.is_empty() || is_directory(name))?;
            entries.push((path, EntryKind::SymLink { target }));
        }
        Ok(Self { entries, files: stamps, oddities })
    }

    /// Refuses names that the system which the tree is for cannot tell apart, or takes for something else.
    pub(crate) fn hold_to_platform(&self, platform: &Platform) -> anyhow::Result<()> {
        if platform.as_str().starts_with("linux_") {
            return Ok(());
        }
        let mut folded: HashMap<String, &TreePath> = HashMap::new();
        for (path, _) in &self.entries {
            // Every directory above it is an entry of its own.
            let name = path.as_str().rsplit('/').next().unwrap_or_default();
            windows_names::hold(name, platform)?;
            if let Some(other) = folded.insert(path.as_str().to_lowercase(), path) {
                return Failure::usage(format!("`{other}` and `{path}` are one name on {platform}"))
                    .hint("rename or exclude one of them")
                    .err();
            }
        }
        Ok(())
    }
}

/// A walk on its way. Maps keep everything in the order of paths, whatever order a file system lists them in.
struct Walker<'a> {
    root: &'a Path,
    rules: &'a Rules<'a>,
    directories: BTreeMap<TreePath, ()>,
    files: BTreeMap<TreePath, (FileStamp, Mode, bool)>,
    links: BTreeMap<TreePath, String>,
    /// Directories that are being walked, to find a circle of followed links.
    open: Vec<(u64, u64)>,
    oddities: Oddities,
}

impl<'a> Walker<'a> {
    fn new(root: &'a Path, rules: &'a Rules<'a>) -> Self {
        Self {
            root,
            rules,
            directories: BTreeMap::new(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            open: Vec::new(),
            oddities: Oddities::default(),
        }
    }

    /// Walks one directory; says whether anything in it is packed. `taken`: an include pattern stands for all of it.
    fn directory(&mut self, source: &Path, path: Option<&TreePath>, taken: bool) -> anyhow::Result<bool> {
        let metadata = source.metadata().at("reading", source)?;
        let inode = (metadata.dev(), metadata.ino());
        if self.open.contains(&inode) {
            return Failure::usage(format!("{}: following links leads in a circle", shown(source)))
                .hint("exclude the link that leads back, or set `links = \"keep\"`")
                .err();
        }
        self.open.push(inode);
        let mut any = false;
        for entry in std::fs::read_dir(source).at("listing", source)? {
            let source = entry.at("listing", source)?.path();
            any |= self.entry(source, path, taken)?;
        }
        self.open.pop();
        Ok(any)
    }

    fn entry(&mut self, source: PathBuf, parent: Option<&TreePath>, taken: bool) -> anyhow::Result<bool> {
        let name = source.file_name().unwrap_or_default();
        let text = parent.map(|parent| format!("{parent}/")).unwrap_or_default() + &name.to_string_lossy();
        if self.rules.selection.excludes(&text) {
            return Ok(false);
        }
        // Every pattern is asked, also below a directory that is taken as a whole: each must be known to match.
        let taken = self.rules.selection.includes(&text) || taken;
        let metadata = self.metadata(&source)?;
        if !taken && !metadata.is_dir() {
            return Ok(false);
        }
        let path = tree_path(&source, name, text)?;
        if metadata.is_dir() {
            let any = self.directory(&source, Some(&path), taken)?;
            if taken || any {
                self.directories.insert(path, ());
            }
            return Ok(taken || any);
        }
        if metadata.is_symlink() {
            let text = crate::links::read(&source)?;
            self.links.insert(path, text);
        } else if metadata.is_file() {
            return self.file(source, path, &metadata);
        } else {
            return Failure::usage(format!("{} is {}, which cannot be packed", shown(&source), kind(&metadata)))
                .hint("exclude it")
                .err();
        }
        Ok(true)
    }

    fn metadata(&self, source: &Path) -> anyhow::Result<Metadata> {
        match self.rules.links {
            Links::Keep => source.symlink_metadata().at("reading", source),
            Links::Follow | Links::Copy => source.metadata().map_err(|error| match source.read_link() {
                Ok(target) => Failure::usage(format!("link {} -> {}", shown(source), shown(&target)))
                    .because(error)
                    .hint("it is followed because of `links = \"follow\"`; exclude it where its target is not needed")
                    .into(),
                Err(_) => anyhow::Error::new(error).context(format!("reading {}", shown(source))),
            }),
        }
    }

    fn file(&mut self, source: PathBuf, path: TreePath, metadata: &Metadata) -> anyhow::Result<bool> {
        if source.file_name().is_some_and(crate::output::is_staged) {
            self.oddities.own_output.push(source);
            return Ok(false);
        }
        if source == self.rules.output {
            crate::output::refuse_foreign(&source)?;
            self.oddities.own_output.push(source);
            return Ok(false);
        }
        if metadata.mode() & 0o6000 != 0 {
            self.oddities.elevated.push(self.root.join(path.as_str()));
        }
        // A followed link shares the inode of what it points to without a second name on disk.
        let shared = match self.rules.links {
            Links::Keep => metadata.nlink() > 1,
            Links::Follow => true,
            Links::Copy => false,
        };
        self.files.insert(path, (FileStamp::new(source, metadata), mode(metadata), shared));
        Ok(true)
    }
}

/// The path inside the tree of what is at `source`.
fn tree_path(source: &Path, name: &OsStr, text: String) -> anyhow::Result<TreePath> {
    let refuse = |failure: Failure| failure.hint("rename or exclude it");
    if name.to_str().is_none() {
        return refuse(Failure::usage(format!("{}: the name is not UTF-8", shown(source)))).err();
    }
    TreePath::try_from(text)
        .map_err(|error| refuse(Failure::usage(format!("{} cannot be packed", shown(source))).because(error)).into())
}

/// Executable for anyone: executable for all. Nothing else of a mode is packed.
pub(crate) fn mode(metadata: &Metadata) -> Mode {
    if metadata.mode() & 0o111 == 0 { Mode::Data } else { Mode::Executable }
}

/// What a special file is called.
pub(crate) fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "no regular file"
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn walk(root: &Path, include: &[&str], exclude: &[&str], links: Links) -> anyhow::Result<Tree> {
        let owned = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let selection = Selection::new(&owned(include), &owned(exclude))?;
        Tree::walk(root, &Rules { selection: &selection, links, output: Path::new("/nowhere") })
    }

    /// One word an entry, in their order.
    fn listing(tree: &Tree) -> Vec<String> {
        let shown = |(path, kind): &(TreePath, EntryKind)| match kind {
            EntryKind::Directory => format!("{path}/"),
            EntryKind::File { mode: Mode::Executable, .. } => format!("{path}*"),
            EntryKind::File { .. } => path.to_string(),
            EntryKind::HardLink { file, target } => format!("{path}={file}:{target}"),
            EntryKind::SymLink { target } => format!("{path}->{target}"),
        };
        tree.entries.iter().map(shown).collect()
    }

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["bin", "empty", "lib/a", "lib/b"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["bin/tool", "lib/a/x.py", "lib/b/x.pyc", "top"] {
            fs::write(at(name), name).unwrap();
        }
        fs::set_permissions(at("bin/tool"), Permissions::from_mode(0o500)).unwrap();
        fs::hard_link(at("bin/tool"), at("alias")).unwrap();
        symlink("../bin/tool", at("lib/link")).unwrap();
        dir
    }

    #[test]
    fn a_tree_is_listed_in_the_order_of_the_stream() {
        let tree = walk(sample().path(), &[], &[], Links::Keep).unwrap();
        assert_eq!(
            listing(&tree),
            [
                "bin/",
                "empty/",
                "lib/",
                "lib/a/",
                "lib/b/",
                "alias*",
                "top",
                "lib/a/x.py",
                "lib/b/x.pyc",
                "bin/tool=5:alias",
                "lib/link->../bin/tool"
            ]
        );
        assert_eq!(tree.files.len(), 4);
    }

    #[test]
    fn patterns_choose_and_prune() {
        let dir = sample();
        for (include, exclude, expected) in [
            (&["lib/**/*.py"][..], &[][..], &["lib/", "lib/a/", "lib/a/x.py"][..]),
            (&["lib"], &["**/*.pyc", "lib/link"], &["lib/", "lib/a/", "lib/b/", "lib/a/x.py"]),
            (&["top", "empty"], &[], &["empty/", "top"]),
            (&[], &["lib", "bin", "alias"], &["empty/", "top"]),
            (&["nothing"], &[], &[]),
        ] {
            let tree = walk(dir.path(), include, exclude, Links::Keep).unwrap();
            assert_eq!(listing(&tree), expected, "{include:?} {exclude:?}");
            let unmatched = if include == ["nothing"] { vec!["nothing".to_owned()] } else { vec![] };
            assert_eq!(tree.oddities.unmatched, unmatched);
        }
    }

    #[test]
    fn followed_links_are_copies_and_share_what_they_point_to() {
        let dir = sample();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("far"), "far").unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        let error = walk(dir.path(), &[], &[], Links::Keep).unwrap_err();
        assert!(format!("{error:#}").contains("it is absolute"), "{error:#}");
        let tree = walk(dir.path(), &["out", "lib/link", "bin"], &[], Links::Follow).unwrap();
        assert_eq!(listing(&tree), ["bin/", "lib/", "out/", "bin/tool*", "out/far", "lib/link=3:bin/tool"]);
        symlink("..", dir.path().join("bin/up")).unwrap();
        let error = walk(dir.path(), &[], &[], Links::Follow).unwrap_err();
        assert!(format!("{error:#}").contains("in a circle"), "{error:#}");
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        use std::os::unix::ffi::OsStrExt;
        for name in [&b"caf\xe9"[..], b"new\nline"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(OsStr::from_bytes(name)), "x").unwrap();
            let error = walk(dir.path(), &[], &[], Links::Keep).unwrap_err();
            assert!(crate::failure::lines(&error).contains("hint: rename or exclude it"), "{error:#}");
            assert!(walk(dir.path(), &[], &["*"], Links::Keep).is_ok());
            assert!(walk(dir.path(), &["other"], &[], Links::Keep).is_ok());
        }
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let error = walk(dir.path(), &[], &[], Links::Keep).unwrap_err();
        assert!(format!("{error:#}").contains("/s` is a socket"), "{error:#}");
    }

    #[test]
    fn a25_names_that_fold_together_are_refused_where_it_matters() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["Read", "read"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let tree = walk(dir.path(), &[], &[], Links::Keep).unwrap();
        let on = |platform: &str| tree.hold_to_platform(&Platform::try_from(platform).unwrap());
        assert!(on("linux_amd64").is_ok() && on("windows_amd64").is_err() && on("darwin_arm64").is_err());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("aux")).unwrap();
        let tree = walk(dir.path(), &[], &[], Links::Keep).unwrap();
        let on = |platform: &str| tree.hold_to_platform(&Platform::try_from(platform).unwrap());
        assert!(on("linux_amd64").is_ok() && on("windows_amd64").is_err() && on("darwin_arm64").is_ok());
    }
}
