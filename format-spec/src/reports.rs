//! What a report for machines shows of the metadata, for its writer's own serializer.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::{EnvRules, Platform, Run, Sha256, TextMap};

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for TextMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("command", &self.command)?;
        if let Some(argv0) = &self.argv0 {
            map.serialize_entry("argv0", argv0)?;
        }
        if let Some(cwd) = &self.cwd {
            map.serialize_entry("cwd", cwd)?;
        }
        if self.env != EnvRules::default() {
            map.serialize_entry("env", &self.env)?;
        }
        for (key, commands) in [("setup", &self.setup), ("shutdown", &self.shutdown)] {
            if !commands.is_empty() {
                map.serialize_entry(key, commands)?;
            }
        }
        map.end()
    }
}

impl Serialize for EnvRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, names) in [("unset", &self.unset), ("pass", &self.pass)] {
            if !names.is_empty() {
                map.serialize_entry(key, names)?;
            }
        }
        for (key, pairs) in [("map", &self.map), ("set", &self.set)] {
            if !pairs.is_empty() {
                map.serialize_entry(key, pairs)?;
            }
        }
        map.end()
    }
}
