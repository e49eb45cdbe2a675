//! What `pspf verify` does with a file: how often it reads it, and how much it keeps of it.

use std::fs;

use pspf_tests::trace::Trace;
use pspf_tests::{Run, Sandbox, Who, probe, probe_package};

use crate::forge::{self, ForgedSlot};
use crate::raw::{hex, sha256};

/// The digest that is reported is that of the bytes that were compared, because there was one look at them.
#[test]
fn every_byte_is_read_once_for_all_its_digests() {
    let sandbox = Sandbox::new(Who::Caller);
    let packed = probe_package();
    let size = fs::metadata(&packed.file).unwrap().len();
    let run = Run::pspf(&sandbox, ["verify", "--json", "--key"]).arg(&packed.key).arg(&packed.file).any_stdout();
    let trace = Trace::of(&sandbox, "pread64", run);
    let json: serde_json::Value = serde_json::from_str(&trace.ran.stdout).unwrap();
    assert_eq!(json["files"][0]["file"]["sha256"], hex(&sha256(&fs::read(&packed.file).unwrap())));
    // What the loader of a dynamic program reads comes before the trailer.
    let first = trace.calls.iter().position(|call| call.contains(", 8200, ")).expect("the trailer is read");
    let len = |call: &String| call.rsplit(" = ").next().and_then(|len| len.parse::<u64>().ok());
    let read: u64 = trace.calls[first..].iter().filter_map(len).sum();
    // Trailer, metadata, slot table and slot index say what the rest must be, so they are read before too.
    assert!((size..size + (32 << 10)).contains(&read), "{read} bytes were read of a file of {size}");
}

/// A slot of symbolic links whose index is nearly 8 MiB. Its frames are of no use, and have their digests.
fn large_index(id: String) -> ForgedSlot {
    const LINKS: u32 = 2000;
    const FRAME: u64 = 8 << 20;
    let target = "t".repeat(4095);
    // Each link has a block, and an extended header with its record for the long target.
    let expanded = u64::from(LINKS) * (512 + 512 + 4608) + 1024;
    let frames: Vec<u32> =
        (0..expanded).step_by(FRAME as usize).map(|start| (expanded - start).min(FRAME) as u32).collect();
    let mut index = b"PSPFTREE\x01\0\0\0".to_vec();
    index.extend(u32::try_from(frames.len()).unwrap().to_le_bytes());
    index.extend(LINKS.to_le_bytes());
    index.extend([0; 4]);
    index.extend(expanded.to_le_bytes());
    index.extend([0; 8]);
    for len in &frames {
        index.extend(1_u32.to_le_bytes());
        index.extend(len.to_le_bytes());
        index.extend(sha256(b"x"));
    }
    for number in 0..LINKS {
        let name = number.to_string();
        index.extend(
            [&[3, 0, name.len() as u8, 0], name.as_bytes(), &4095_u16.to_le_bytes(), target.as_bytes()].concat(),
        );
    }
    let frames = vec![b"x".to_vec(); frames.len()];
    ForgedSlot { target: id.clone(), ..ForgedSlot::framed(&id, "tar|zstd", &frames, &index, expanded) }
}

#[test]
fn one_slot_index_is_in_memory_at_a_time() {
    let sandbox = Sandbox::new(Who::Caller);
    let slots: Vec<ForgedSlot> = (0..10).map(|number| large_index(format!("s{number}"))).collect();
    let file = sandbox.write("large.psp", forge::package("/0", &slots));
    let (report, key) = (sandbox.root().join("tmp/memory"), sandbox.key(1).1);
    for json in ["--json", "--"] {
        let run = Run::new(&sandbox, probe()).arg("measure").arg(&report).arg(pspf_tests::pspf());
        run.args(["verify", "--key"]).arg(&key).arg(json).arg(&file).any_stdout().run();
        let peak: u64 = fs::read_to_string(&report).unwrap().parse().unwrap();
        assert!(peak < 64 << 10, "{peak} kB for ten indexes of 8 MiB each");
    }
}
