//! Files to hold any implementation of the format to: each that must fail is wrong in one way.
//!
//! They are written by the second writer ([`crate::forge`], [`crate::raw`]), which shares nothing with the reader.
//! Keys come from fixed seeds and nothing depends on time or machine, so the files are the same bytes every time.

use std::collections::BTreeMap;

use crate::raw::{hex, sha256};

mod layout;
mod members;
mod metadata;
mod sample;
mod seal;
mod slot_content;
mod slots;
mod sound;
mod unsealed;
mod workenv;

/// A file, and what must be said of it.
#[derive(Clone, Debug)]
pub struct Vector {
    /// File name: the result in small letters, then the feature or the defect.
    pub name: String,
    /// `OK`, or the class of the error.
    pub result: &'static str,
    /// The section of SPEC.md that it breaks, or of which it shows a feature.
    pub section: &'static str,
    /// What is special about it, or wrong with it.
    pub what: &'static str,
    /// Only a check that decodes the slots finds it.
    pub deep: bool,
    /// It has no seal, and the verifier is told to accept that.
    pub allow_unsealed: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Vectors as they are listed, under the section that was named last.
#[derive(Debug, Default)]
struct Set {
    section: &'static str,
    vectors: Vec<Vector>,
}

impl Set {
    fn section(&mut self, section: &'static str) {
        self.section = section;
    }

    fn add(&mut self, result: &'static str, name: &str, what: &'static str, bytes: Vec<u8>) -> &mut Vector {
        let name = format!("{}-{name}.psp", result.to_ascii_lowercase());
        let vector = Vector { name, result, section: self.section, what, deep: false, allow_unsealed: false, bytes };
        self.vectors.push(vector);
        self.vectors.last_mut().expect("one was added")
    }

    fn ok(&mut self, name: &str, what: &'static str, bytes: Vec<u8>) {
        self.add("OK", name, what, bytes);
    }

    fn format(&mut self, name: &str, what: &'static str, bytes: Vec<u8>) {
        self.add("FORMAT", name, what, bytes);
    }

    fn integrity(&mut self, name: &str, what: &'static str, bytes: Vec<u8>) {
        self.add("INTEGRITY", name, what, bytes);
    }

    fn deep(&mut self, name: &str, what: &'static str, bytes: Vec<u8>) {
        self.add("INTEGRITY", name, what, bytes).deep = true;
    }
}

/// All of them.
pub fn all() -> Vec<Vector> {
    let mut set = Set::default();
    sound::add(&mut set);
    members::add(&mut set);
    layout::add(&mut set);
    seal::add(&mut set);
    metadata::add(&mut set);
    workenv::add(&mut set);
    slots::add(&mut set);
    slot_content::add(&mut set);
    unsealed::add(&mut set);
    set.vectors
}

/// The files of the folder by name: the vectors, the key that signed them, and the list.
///
/// A vector is compressed, because most of it is zeros: a tenth of the room, and its name can still be seen.
pub fn files() -> BTreeMap<String, Vec<u8>> {
    let vectors = all();
    let key = hex(crate::forge::key().public_key().as_bytes());
    let rows: Vec<String> = vectors.iter().map(|vector| format!("    {}", vector.row())).collect();
    let index =
        format!("{{\n  \"spec\": \"1.0\",\n  \"key\": \"{key}\",\n  \"vectors\": [\n{}\n  ]\n}}\n", rows.join(",\n"));
    let mut files = BTreeMap::from([
        ("index.json".to_owned(), index.into_bytes()),
        ("key.pub".to_owned(), format!("{key}\n").into_bytes()),
    ]);
    for vector in vectors {
        let stored = metadata::compressed(&vector.bytes);
        let twice = files.insert(format!("{}.gz", vector.name), stored);
        assert!(twice.is_none(), "two vectors are called {}", vector.name);
    }
    files
}

impl Vector {
    /// Exit code of a verifier that has the key.
    pub fn exit(&self) -> u8 {
        u8::from(self.result != "OK")
    }

    /// Its line in the list.
    fn row(&self) -> String {
        let Self { name, result, section, deep, allow_unsealed, .. } = self;
        let (sha256, exit, what) = (hex(&sha256(&self.bytes)), self.exit(), serde_json::Value::from(self.what));
        format!(
            r#"{{"file":"{name}","sha256":"{sha256}","result":"{result}","exit":{exit},"section":"{section}","what":{what},"deep":{deep},"allow_unsealed":{allow_unsealed}}}"#
        )
    }
}
