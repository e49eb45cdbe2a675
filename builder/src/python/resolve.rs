//! Requirements: what is to be installed, and the digests that each file is held to.

use serde::Deserialize;

use crate::failure::Failure;

/// A list of requirements, each with what belongs to it.
#[derive(Debug)]
pub(super) struct Requirements(Vec<String>);

impl Requirements {
    /// What a tool has printed: a requirement starts at the margin, what follows it is indented.
    pub(super) fn parse(text: &str) -> Self {
        let mut list: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            match list.last_mut() {
                Some(last) if line.starts_with(char::is_whitespace) => {
                    last.push('\n');
                    last.push_str(line);
                }
                // What is packed is a copy, and no link to where it was.
                _ => list.push(line.strip_prefix("-e ").unwrap_or(line).to_owned()),
            }
        }
        Self(list)
    }

    /// The installation report of pip (version 1).
    pub(super) fn of_report(text: &str) -> anyhow::Result<Self> {
        let report: Report = serde_json::from_str(text)
            .map_err(|error| Failure::usage("pip's report is not as expected; a newer pip may do").because(error))?;
        let requirement = |item: &Item| {
            let hash = item.download_info.archive_info.as_ref().and_then(|archive| archive.hashes.get("sha256"));
            match hash {
                Some(hash) if item.download_info.url.starts_with("file:") => {
                    format!("{} @ {} --hash=sha256:{hash}", item.metadata.name, item.download_info.url)
                }
                Some(hash) => format!("{}=={} --hash=sha256:{hash}", item.metadata.name, item.metadata.version),
                None => format!("{} @ {}", item.metadata.name, item.download_info.url),
            }
        };
        let mut list: Vec<String> = report.install.iter().map(requirement).collect();
        list.sort();
        Ok(Self(list))
    }

    /// The one with this name, and the others.
    pub(super) fn split(self, name: &str) -> (Self, Self) {
        let (own, others) = self.0.into_iter().partition(|requirement| name_of(requirement) == name);
        (Self(own), Self(others))
    }

    /// Another list, of what `change` makes of each; an empty text is left out.
    pub(super) fn map(self, change: impl Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<Self> {
        let mut list = self.0.iter().map(|requirement| change(requirement)).collect::<anyhow::Result<Vec<_>>>()?;
        list.retain(|requirement| !requirement.is_empty());
        Ok(Self(list))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|text| text.trim().is_empty())
    }

    pub(super) fn has_hashes(&self) -> bool {
        self.0
            .iter()
            .filter(|requirement| !requirement.starts_with('-'))
            .all(|requirement| requirement.contains("--hash"))
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().map(|requirement| format!("{requirement}\n")).collect()
    }
}

#[derive(Deserialize)]
struct Report {
    install: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMetadata,
    download_info: Download,
}

#[derive(Deserialize)]
struct ItemMetadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Download {
    url: String,
    archive_info: Option<Archive>,
}

#[derive(Deserialize)]
struct Archive {
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
}

/// Whether every requirement of a file has its digest; that some have and some have not is an error.
pub(super) fn is_hashed(text: &str) -> anyhow::Result<bool> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    let requirements: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '-'])).collect();
    let hashed = requirements.iter().filter(|line| line.contains("--hash=")).count();
    if hashed > 0 && hashed < requirements.len() {
        return Failure::usage("some requirements have digests, and some have not")
            .hint("give all of them, as `uv pip compile --generate-hashes` does, or none")
            .err();
    }
    Ok(hashed > 0)
}

/// The canonical name of what a requirement names.
pub(super) fn name_of(requirement: &str) -> String {
    let end = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
    canonical(requirement.split(end).next().unwrap_or_default())
}

/// A project's name as indexes compare it (PEP 503).
pub(super) fn canonical(name: &str) -> String {
    let parts: Vec<&str> = name.split(['.', '_', '-']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_indexes_do() {
        for (text, expected) in [
            ("Flask==3.1", "flask"),
            ("ruamel.yaml>=0.18 ; python_version < '4'", "ruamel-yaml"),
            ("a__b-.c[extra]==1", "a-b-c"),
            ("x @ file:///tmp/x.whl", "x"),
        ] {
            assert_eq!(name_of(text), expected);
        }
    }

    #[test]
    fn a_list_keeps_what_belongs_together() {
        let text =
            "# made by\na==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nB.c==2 \\\n    --hash=sha256:22\n";
        let list = Requirements::parse(text);
        assert!(list.has_hashes() && !list.is_empty());
        let (own, others) = list.split("b-c");
        assert_eq!(own.text(), "B.c==2 \\\n    --hash=sha256:22\n");
        assert_eq!(others.text(), "a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n");
        assert!(!Requirements::parse("a==1\nb==2 --hash=sha256:0\n").has_hashes());
    }

    #[test]
    fn a_file_has_digests_of_all_or_of_none() {
        assert!(is_hashed("-i https://x\na==1 \\\n  --hash=sha256:0\n# c\n").unwrap());
        assert!(!is_hashed("a==1 # --hash=sha256:0\n-r other.txt\n").unwrap());
        assert!(is_hashed("a==1 --hash=sha256:0\nb==2\n").is_err());
    }

    #[test]
    fn a_report_becomes_requirements() {
        let text = r#"{"version":"1","install":[
            {"metadata":{"name":"b","version":"2"},"download_info":{"url":"file:///x/b.whl","archive_info":{"hashes":{"sha256":"00"}}}},
            {"metadata":{"name":"a","version":"1"},"download_info":{"url":"https://x/a.whl","archive_info":{"hashes":{"sha256":"11"}}}}]}"#;
        assert_eq!(
            Requirements::of_report(text).unwrap().text(),
            "a==1 --hash=sha256:11\nb @ file:///x/b.whl --hash=sha256:00\n"
        );
        assert!(Requirements::of_report("{}").is_err());
    }
}
