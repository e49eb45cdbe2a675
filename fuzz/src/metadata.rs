//! The metadata: what is accepted is the one encoding of what was understood, and two other readers, of gzip and of
//! JSON, understand the same.

use std::io::Read as _;

use pspf_format::{Metadata, template};
use serde_json::Value;

use crate::common::{self, raw};
use crate::input::Input;

/// The first byte decides whether the rest is a gzip member, a JSON text, or changes to a sound text.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let stored = match input.byte() % 3 {
        0 => input.0.to_vec(),
        1 => raw::gzip(&input.0[..input.0.len().min(60_000)]),
        _ => {
            let mut json = common::metadata(&common::sample_slots()).to_json();
            input.edit(&mut json, false);
            raw::gzip(&json)
        }
    };
    let Ok(metadata) = Metadata::parse(&stored) else { return };
    let json = metadata.to_json();
    let mut other = Vec::new();
    flate2::bufread::GzDecoder::new(&stored[..]).read_to_end(&mut other).unwrap();
    assert_eq!(json, other);
    assert_eq!(Metadata::parse(&metadata.to_stored().unwrap()).unwrap(), metadata);
    let value: Value = serde_json::from_slice(&json).unwrap();
    agrees(&metadata, &value);
}

fn agrees(metadata: &Metadata, value: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    assert_eq!(value["package"]["name"], metadata.package.name.as_str());
    assert_eq!(value["package"]["version"], metadata.package.version.as_str());
    assert_eq!(text(&value["package"]["description"]), metadata.package.description);
    assert_eq!(value["launcher"]["size"], metadata.launcher.size);
    let own = &value["pspf"];
    let run = &metadata.pspf.run;
    assert_eq!(own["run"]["command"], serde_json::json!(run.command));
    assert_eq!(text(&own["run"]["argv0"]), run.argv0);
    assert_eq!(text(&own["run"]["cwd"]), run.cwd);
    for (name, value) in run.env.set.iter() {
        assert_eq!(own["run"]["env"]["set"][name], *value);
        assert!(template::slots_named(value).is_ok());
    }
    assert_eq!(own["slots"].as_array().unwrap().len(), metadata.pspf.slots.len());
    for (position, slot) in metadata.pspf.slots.iter().enumerate() {
        let (own, rendered) = (&own["slots"][position], &value["slots"][position]);
        assert_eq!(own["id"], slot.id.as_str());
        assert_eq!(own["target"], slot.target.as_str());
        assert_eq!(own["stored_size"], slot.stored_size);
        assert_eq!(own["expanded_size"], slot.expanded_size);
        assert_eq!(own["sha256"], slot.sha256.to_string());
        assert_eq!(rendered["id"], slot.id.as_str());
        assert_eq!(rendered["size"], slot.stored_size);
        assert_eq!(rendered["checksum"], format!("sha256:{}", slot.sha256));
        assert_eq!(own["index"].is_object(), slot.index.is_some());
    }
}
