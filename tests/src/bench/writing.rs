//! Everything that was measured, as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::figure::Figure;
use super::group::Group;
use super::session::Session;

/// The machine, every round, every count and every figure.
pub(super) fn all(session: &Session, load_after: &f64) -> Value {
    let stubs: BTreeMap<&str, Option<String>> = session
        .stubs
        .iter()
        .map(|stub| (stub.name.as_str(), stub.file.as_ref().map(|file| file.display().to_string())))
        .collect();
    json!({
        "command": std::env::args().collect::<Vec<_>>(),
        "machine": session.machine.json(),
        "load_average": { "before": session.load_before, "after": load_after },
        "work": { "directory": session.place.root, "file_system": session.place.file_system },
        "pspf": { "version": session.pspf.version, "default_level": session.pspf.level, "launchers": stubs },
        "groups": session.groups.iter().map(Group::json).collect::<Vec<_>>(),
        "counts": session.counts.iter().map(super::counts::Counts::json).collect::<Vec<_>>(),
        "sizes": session.sizes.iter().map(super::size::Size::json).collect::<Vec<_>>(),
        "figures": session.figures.iter().map(Figure::json).collect::<Vec<_>>(),
        "notes": session.notes,
    })
}
