//! The JSON as it stands in the file (SPEC §6.1): the `pspf` key, and around it what PSPF/2025 readers need.
//!
//! Everything outside `package`, `launcher` and `pspf` is computed from them, so it is written and never read.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use crate::json::{Json, Writer, put, put_string};
use crate::json_reader::Reader;
use crate::template::{Piece, pieces};
use crate::{Error, LauncherMetadata, Metadata, Pspf, Sha256, SlotMetadata};

impl Json for Metadata {
    fn write(&self, out: &mut Writer<'_>) {
        let Self { package, launcher, pspf } = self;
        put(out, r#"{"format":"PSPF/2025","format_version":"1.0.0","package":"#);
        package.write(out);
        put(out, r#","slots":"#);
        let mut before = "[";
        for (position, slot) in (0_u64..).zip(&pspf.slots) {
            put(out, before);
            write_slot(position, slot, out);
            before = ",";
        }
        put(out, if pspf.slots.is_empty() { "[]" } else { "]" });
        put(out, r#","execution":{"command":"#);
        let mut command = String::new();
        for argument in &pspf.run.command {
            if !command.is_empty() {
                command.push(' ');
            }
            quote(&render(argument, pspf, Place::Command), &mut command);
        }
        put_string(out, &command);
        put(out, r#","env":"#);
        let mut before = "{";
        for (name, value) in &pspf.run.env.set {
            put(out, before);
            put_string(out, name);
            put(out, ":");
            put_string(out, &render(value, pspf, Place::Environment));
            before = ",";
        }
        put(out, if pspf.run.env.set.is_empty() { "{}" } else { "}" });
        put(out, r#"},"launcher":"#);
        launcher.write(out);
        put(out, r#","pspf":"#);
        pspf.write(out);
        put(out, "}");
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        const KEYS: &[(&str, bool)] = &[
            ("format", true),
            ("format_version", true),
            ("package", true),
            ("slots", true),
            ("execution", true),
            ("launcher", true),
            ("pspf", true),
        ];
        let start = reader.position();
        let computed = |reader: &mut Reader<'_>, keys: &[&str]| {
            keys.iter().try_for_each(|key| reader.required(start, key, KEYS).and_then(|()| reader.skip()))
        };
        computed(reader, &["format", "format_version"])?;
        reader.required(start, "package", KEYS)?;
        let package = Json::read(reader)?;
        computed(reader, &["slots", "execution"])?;
        reader.required(start, "launcher", KEYS)?;
        let launcher = Json::read(reader)?;
        reader.required(start, "pspf", KEYS)?;
        let pspf = Json::read(reader)?;
        reader.end(start, KEYS)?;
        Ok(Self { package, launcher, pspf })
    }
}

impl Json for LauncherMetadata {
    fn write(&self, out: &mut Writer<'_>) {
        put(out, r#"{"tool":"pspf-launcher","tool_version":"","size":"#);
        self.size.write(out);
        put(out, r#","checksum":"#);
        write_checksum(&self.sha256, out);
        put(out, r#","capabilities":[]}"#);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Box<Error>> {
        const KEYS: &[(&str, bool)] =
            &[("tool", true), ("tool_version", true), ("size", true), ("checksum", true), ("capabilities", true)];
        let start = reader.position();
        for key in ["tool", "tool_version"] {
            reader.required(start, key, KEYS)?;
            reader.skip()?;
        }
        reader.required(start, "size", KEYS)?;
        let size = Json::read(reader)?;
        reader.required(start, "checksum", KEYS)?;
        let digest = reader.string()?.strip_prefix("sha256:").and_then(Sha256::from_hex);
        reader.required(start, "capabilities", KEYS)?;
        reader.skip()?;
        reader.end(start, KEYS)?;
        Ok(Self { size, sha256: digest.ok_or(Error::NotCanonical)? })
    }
}

fn write_slot(position: u64, slot: &SlotMetadata, out: &mut Writer<'_>) {
    put(out, r#"{"slot":"#);
    position.write(out);
    put(out, r#","id":"#);
    slot.id.write(out);
    put(out, r#","source":"","target":"#);
    slot.target.write(out);
    put(out, r#","size":"#);
    slot.stored_size.write(out);
    put(out, r#","checksum":"#);
    write_checksum(&slot.sha256, out);
    put(out, r#","operations":"#);
    slot.operations.write(out);
    put(out, r#","purpose":"payload","lifecycle":"#);
    slot.lifecycle.write(out);
    put(out, r#","permissions":"#);
    slot.mode.write(out);
    put(out, "}");
}

fn write_checksum(digest: &Sha256, out: &mut Writer<'_>) {
    put(out, "\"sha256:");
    out.put(&digest.to_hex());
    put(out, "\"");
}

/// Where a template stands: its readers know `{workenv}` in a command only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Command,
    Environment,
}

/// A template with slots by position, as PSPF/2025 has them. Of a tree that is one directory in the place where they
/// unpack everything, not all of them say the same by its position.
fn render(template: &str, pspf: &Pspf, place: Place) -> String {
    let mut rendered = String::new();
    for piece in pieces(template).unwrap_or_default() {
        match piece {
            Piece::Text(text) => rendered.push_str(text),
            Piece::Slot(id) => {
                let position = pspf.slots.iter().position(|slot| slot.id == id);
                let tree = pspf.slot(&id).filter(|slot| slot.operations.is_tree() && slot.operations.holds_target());
                if let Some(tree) = tree.filter(|_| place == Place::Command) {
                    rendered.push_str("{workenv}/");
                    rendered.push_str(tree.target.as_str());
                    continue;
                }
                rendered.push_str("{slot:");
                rendered.push_str(&position.map_or_else(|| id.to_string(), |position| position.to_string()));
                rendered.push('}');
            }
            Piece::PackageDir => rendered.push_str("{package_dir}"),
            Piece::Cache => rendered.push_str("{cache}"),
            #[cfg(feature = "workenv")]
            Piece::WorkEnv => rendered.push_str("{workenv}"),
        }
    }
    rendered
}

/// Appends one argument in the shell-like form that PSPF/2025 readers split. They replace placeholders before that, so an
/// argument with one is quoted: what stands in its place may hold a space. None of them agree on what a backslash
/// does, so an apostrophe stands in quotation marks.
fn quote(argument: &str, command: &mut String) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/._+=@%,-".contains(&byte);
    if !argument.is_empty() && argument.bytes().all(plain) {
        command.push_str(argument);
        return;
    }
    command.push('\'');
    let mut parts = argument.split('\'');
    command.push_str(parts.next().unwrap_or_default());
    for part in parts {
        command.push_str(r#"'"'"'"#);
        command.push_str(part);
    }
    command.push('\'');
}
