//! How large something became.

use serde_json::{Value, json};

/// A file that was made of a payload.
#[derive(Clone, Debug)]
pub(super) struct Size {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) bytes: u64,
    /// How long it took, once, in seconds; `None` where an earlier run made it.
    pub(super) seconds: Option<f64>,
}

impl Size {
    pub(super) fn json(&self) -> Value {
        json!({ "name": self.name, "command": self.command, "bytes": self.bytes, "seconds": self.seconds })
    }
}
