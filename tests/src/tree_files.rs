//! A tree with everything that a slot can hold.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Makes `root` with files, programs, links of both kinds, empty things and difficult names.
pub fn rich_tree(root: &Path) {
    let directory = |name: &str| fs::create_dir_all(root.join(name)).expect("a directory can be made");
    let file = |name: &str, content: &[u8]| crate::forks::write(&root.join(name), content);
    // Longer than the 100 bytes of a tar header's name, and longer than the 255 of all that ustar can say.
    let long = ["d".repeat(90), "e".repeat(120), "f".repeat(80)].join("/");
    for name in ["bin", "empty", "deep/er/empty", "größe/日本語", "white space", &long] {
        directory(name);
    }
    file("bin/tool", b"#!/bin/sh\necho ran\n");
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o750)).expect("its mode can be set");
    file("none", b"");
    file("größe/日本語/ναι.txt", "text\n".as_bytes());
    file("white space/quote'\"$(x)`; name", b"quoted\n");
    file("back\\slash", b"x");
    file("-dash", b"x");
    file(&format!("{long}/{}", "n".repeat(200)), b"at the end of a long path\n");
    file(&"c".repeat(255), b"the longest component\n");
    for number in 0..400 {
        file(&format!("deep/small-{number}"), &noise(number, (number * 7 % 900) as usize));
    }
    // Names that a packer may take for versions of one thing.
    for (name, len) in [("größe/x.py", 60), ("deep/er/x.py", 120), ("deep/x.py", 240), ("bin/x.pyc", 480)] {
        file(name, &noise(1, len));
    }
    fs::hard_link(root.join("none"), root.join("deep/none-too")).expect("a hard link can be made");
    fs::hard_link(root.join("bin/tool"), root.join("deep/er/tool")).expect("a hard link can be made");
    for (target, name) in [
        ("../bin/tool", "deep/up"),
        ("er", "deep/directory"),
        ("nowhere", "dangling"),
        (long.as_str(), "long-link"),
        ("größe/日本語/ναι.txt", "ναι"),
        (".", "here"),
    ] {
        symlink(target, root.join(name)).expect("a link can be made");
    }
}
