//! `pspf inspect`: what a package says of itself, and how much of that is proven.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;

use crate::inspect_package::Inspection;
use crate::inspect_report::Report;
use crate::voice::print_json;

/// Show what is in a package, without running or extracting it
///
/// The signatures are verified, and so is what they cover directly: index, metadata and slot table. The bytes of the
/// launcher and of the slots are not compared; `pspf verify` does that. A damaged package is shown as far as it can be
/// read, and what is not proven is called `claimed`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pspf inspect tool.psp            name, command, environment, slots, signers
  pspf inspect tool.psp --files    every file in every slot
  pspf inspect tool.psp --layout   every part of the file, every field of the index")]
pub(crate) struct InspectArgs {
    /// The package
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Every part of the file with its offset, and every field of the index
    #[arg(long)]
    pub(crate) layout: bool,
    /// Every entry of every slot
    #[arg(long)]
    pub(crate) files: bool,
}

/// Prints what there is to see.
pub(crate) fn run(args: &InspectArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let inspection = Inspection::of(&args.file)?;
    let report = Report::new(&inspection, args.layout, args.files);
    let mut out = BufWriter::new(out);
    if args.json {
        print_json(&report, &mut out)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::class;
    use crate::verify_sample::{key, sealed, stripped, unsealed};
    use serde_json::{Value, json};

    /// What is printed; for people, the usual view and the one of all parts.
    fn inspect(bytes: &[u8], json: bool) -> anyhow::Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.psp");
        std::fs::write(&file, bytes).unwrap();
        let mut out = Vec::new();
        if !json {
            run(&InspectArgs { file: file.clone(), json, layout: false, files: false }, &mut out)?;
        }
        run(&InspectArgs { file, json, layout: true, files: true }, &mut out)?;
        let all = String::from_utf8(out).unwrap();
        assert!(json || !all.contains('\u{1b}'), "{all}");
        Ok(all)
    }

    fn document(bytes: &[u8]) -> Value {
        serde_json::from_str(&inspect(bytes, true).unwrap()).unwrap()
    }

    #[test]
    fn a_sealed_package_is_shown_whole() {
        let sample = sealed(&[&key(1), &key(2)]);
        let json = document(&sample.bytes);
        assert_eq!((&json["schema"], &json["status"], &json["problem"]), (&json!(1), &json!("verified"), &Value::Null));
        assert_eq!(json["identity"]["package"], "sample");
        assert_eq!(json["run"]["command"], json!(["{slot:bin}", "it's"]));
        assert_eq!(json["signatures"][1]["status"], "valid");
        assert_eq!(json["slots"][1]["index"]["entries"], 5);

        let parts = json["layout"]["parts"].as_array().unwrap();
        let spans: Vec<_> = sample.layout.parts().iter().map(|(_, span)| json!([span.offset, span.len])).collect();
        assert_eq!(parts.iter().map(|part| json!([part["offset"], part["size"]])).collect::<Vec<_>>(), spans);
        let names: Vec<_> =
            parts.iter().filter_map(|part| part["name"].as_str()).filter(|name| *name != "padding").collect();
        assert_eq!(names, ["launcher", "metadata", "slot table", "slot `bin`", "slot `app`", "trailer"]);

        let files = &json["files"][1]["entries"];
        assert_eq!(files[1]["path"], "bin/start");
        assert_eq!((&files[1]["mode"], &files[1]["size"]), (&json!("0755"), &json!(10)));
        assert_eq!(files[1]["sha256"].as_str().unwrap().len(), 64);
        assert_eq!((&files[4]["type"], &files[4]["target"]), (&json!("symlink"), &json!("../data")));

        let text = inspect(&sample.bytes, false).unwrap();
        for line in
            ["-rwxr-xr-x          10  bin/start\n", "lrwxrwxrwx           0  bin/link -> ../data\n", "format_version  "]
        {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(!text.contains("claimed"), "{text}");
    }

    #[test]
    fn the_usual_view_names_what_matters() {
        let text = inspect(&sealed(&[&key(1)]).bytes, false).unwrap();
        for part in [
            "sample 1.0",
            "linux_amd64",
            "{slot:bin} \"it's\"",
            "a\\u{1b}[2Jb",
            "tar|zstd",
            "chose this key",
            "launcher",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn what_is_damaged_is_claimed() {
        let sample = sealed(&[&key(1)]);
        let trailer = sample.layout.trailer.offset as usize;
        // The signature, the checksum alone, a magic, the metadata, the slot table.
        let cases = [
            trailer + 4 + 2048 + 40,
            trailer + 10,
            trailer,
            sample.layout.metadata.offset as usize + 20,
            sample.layout.slot_table.offset as usize,
        ];
        for at in cases {
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= 1;
            let json = document(&bytes);
            assert_eq!(
                (&json["status"], &json["problem"]["class"]),
                (&json!("claimed"), &json!("INTEGRITY")),
                "{at} {json}"
            );
            assert_eq!(json["layout"]["parts"].as_array().unwrap().last().unwrap()["name"], "trailer");
            let text = inspect(&bytes, false).unwrap();
            assert!(text.contains("INTEGRITY") && text.contains("claimed"), "{text}");
        }
        let cut = &sample.bytes[8..];
        assert_eq!(document(cut)["problem"]["class"], "FORMAT");
        for wrong in [&sample.bytes[..sample.bytes.len() - 1], &[], &[0; 9000]] {
            assert_eq!(class(&inspect(wrong, false).unwrap_err()).exit_code(), 120);
        }
    }

    #[test]
    fn a_package_without_a_seal_is_called_so() {
        let json = document(&unsealed(&key(1), &[b"hello"]));
        assert_eq!((&json["status"], &json["identity"]["version"]), (&json!("unsealed"), &json!("2")));
        assert_eq!((&json["signatures"], &json["package_id"]), (&json!([]), &Value::Null));
        let signer = format!("ed25519:{}", key(1).public_key().fingerprint());
        assert_eq!(json["base_signer"], signer);
        assert_eq!(json["slots"][0]["stored_size"], 5);
        let text = inspect(&unsealed(&key(1), &[b"hello"]), false).unwrap();
        assert!(text.contains("package without a seal") && text.contains("foreign\\u{1b}"), "{text}");

        let json = document(&stripped(&sealed(&[&key(1)]).bytes));
        assert_eq!((&json["status"], &json["problem"]["class"]), (&json!("claimed"), &json!("INTEGRITY")));
        assert!(json["problem"]["message"].as_str().unwrap().contains("removed"));
    }

    #[test]
    fn wild_claims_are_survived() {
        let sample = sealed(&[&key(1)]);
        let start = sample.layout.trailer.offset as usize + 4;
        for at in (8..64).step_by(8) {
            for value in [u64::MAX, u64::MAX / 2, 1 << 40, 0, 7] {
                let mut bytes = sample.bytes.clone();
                bytes[start + at..start + at + 8].copy_from_slice(&value.to_le_bytes());
                assert_eq!(document(&bytes)["status"], "claimed");
                let checksum = pspf_format::index_checksum(&bytes[start..start + 8192]);
                bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
                assert_eq!(document(&bytes)["status"], "claimed");
                inspect(&bytes, false).unwrap();
            }
        }
    }
}
