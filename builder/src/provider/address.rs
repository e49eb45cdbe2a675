//! The address of a provider, and the names that Terraform and OpenTofu expect of its files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Failure;

/// The host of an address that names none: the registry that Terraform asks then.
const DEFAULT_HOST: &str = "registry.terraform.io";
/// What the name of every provider's program and archive begins with.
const PREFIX: &str = "terraform-provider-";

/// Who a provider is: the `source` of a configuration's `required_providers`, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    namespace: String,
    name: String,
}

impl Address {
    /// The program's name, without a version: the name of the package.
    pub(crate) fn program(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// The name that a program of this version has in an archive or directory.
    pub(crate) fn program_of(&self, version: &str) -> String {
        format!("{PREFIX}{}_v{version}", self.name)
    }

    /// What the names of all other files of this version begin with.
    pub(super) fn release(&self, version: &str) -> String {
        format!("{PREFIX}{}_{version}", self.name)
    }

    /// The name of the archive for this platform.
    pub(super) fn archive(&self, version: &str, platform: &str) -> String {
        format!("{}_{platform}.zip", self.release(version))
    }

    /// Version and platform of an archive with this name; `None` for other files.
    pub(super) fn of_archive<'a>(&self, file: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = file.strip_prefix(&self.program())?.strip_prefix('_')?.strip_suffix(".zip")?;
        let (version, platform) = rest.split_once('_')?;
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric());
        let is_platform = platform.split('_').count() == 2 && platform.split('_').all(is_word);
        (is_platform && semver::Version::parse(version).is_ok()).then_some((version, platform))
    }

    /// Where its archives are in a mirror.
    pub(super) fn folder(&self) -> PathBuf {
        [&self.host, &self.namespace, &self.name].iter().collect()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.namespace, self.name)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let (host, namespace, name) = match parts[..] {
            [namespace, name] => (DEFAULT_HOST, namespace, name),
            [host, namespace, name] => (host, namespace, name),
            _ => return Err("it is [HOST/]NAMESPACE/NAME".to_owned()),
        };
        if !is_host(host) {
            return Err(format!("`{host}` is not a host in lower case, such as `{DEFAULT_HOST}`"));
        }
        for (what, part) in [("namespace", namespace), ("name", name)] {
            if !is_part(part) {
                return Err(format!(
                    "{what} `{part}` is not made of a to z, 0 to 9 and single dashes between them, 63 characters at most"
                ));
            }
        }
        // What the CLIs refuse in a configuration.
        if name.starts_with("terraform-") {
            let short = name.strip_prefix(PREFIX).unwrap_or("NAME");
            return Err(format!("a name does not begin with `terraform-`: it is `{namespace}/{short}`"));
        }
        Ok(Self { host: host.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// A namespace or name, as every version of the CLIs takes it.
fn is_part(part: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    part.len() <= 63 && part.split('-').all(is_word)
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len()) && label.chars().all(fits) && !label.starts_with('-') && !label.ends_with('-')
    };
    // The port of https is left out of an address.
    let is_port = |port: &str| port != "443" && port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
    name.len() <= 253 && name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Fails where this is not a version that the CLIs can read out of the name of a file.
pub(crate) fn hold_to_version(version: &str) -> anyhow::Result<()> {
    let refuse = |reason: String, hint: &str| {
        Failure::usage(format!("version `{}` of a provider: {reason}", version.escape_debug())).hint(hint).err()
    };
    if version.starts_with(['v', 'V']) {
        return refuse("the `v` is no part of it".to_owned(), "leave it out: `--package-version 1.2.3`");
    }
    if let Err(error) = semver::Version::parse(version) {
        let hint =
            "it is that of Semantic Versioning, such as `1.2.3` or `1.2.3-rc.1`: give it with `--package-version`";
        return refuse(error.to_string(), hint);
    }
    if version.chars().any(|c| c.is_ascii_uppercase()) {
        return refuse("it has capital letters".to_owned(), "the CLIs read file names in lower case");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_clis() {
        for (text, expected) in [
            ("acme/demo", "registry.terraform.io/acme/demo"),
            ("registry.opentofu.org/acme/demo", "registry.opentofu.org/acme/demo"),
            ("example.com:8443/my-org/google-beta2", "example.com:8443/my-org/google-beta2"),
            ("localhost/a/1", "localhost/a/1"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), expected);
        }
        for (text, expected) in [
            ("demo", "[HOST/]NAMESPACE/NAME"),
            ("a/b/c/d", "[HOST/]NAMESPACE/NAME"),
            ("acme/", "name ``"),
            ("/demo", "namespace ``"),
            ("//demo", "`` is not a host"),
            ("Acme/demo", "namespace `Acme`"),
            ("acme/Demo", "name `Demo`"),
            ("acme/de.mo", "name `de.mo`"),
            ("acme/-demo", "name `-demo`"),
            ("acme/demo-", "name `demo-`"),
            ("my_org/demo", "namespace `my_org`"),
            ("acme/de--mo", "name `de--mo`"),
            ("acme/größe", "name `größe`"),
            ("../acme/demo", "`..` is not a host"),
            ("acme/..", "name `..`"),
            ("-x.org/acme/demo", "`-x.org` is not a host"),
            ("x.org:0443/acme/demo", "is not a host"),
            ("x.org:443/acme/demo", "is not a host"),
            ("acme/terraform-provider-demo", "it is `acme/demo`"),
            ("acme/terraform-demo", "it is `acme/NAME`"),
        ] {
            let said = text.parse::<Address>().unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(format!("acme/{}", "a".repeat(63)).parse::<Address>().is_ok());
        assert!(format!("acme/{}", "a".repeat(64)).parse::<Address>().is_err());
    }

    #[test]
    fn names_of_archives_are_read_as_they_are_written() {
        let address: Address = "acme/my-demo".parse().unwrap();
        assert_eq!(address.program_of("1.2.3"), "terraform-provider-my-demo_v1.2.3");
        let name = address.archive("1.2.3-rc.1", "linux_amd64");
        assert_eq!(name, "terraform-provider-my-demo_1.2.3-rc.1_linux_amd64.zip");
        assert_eq!(address.of_archive(&name), Some(("1.2.3-rc.1", "linux_amd64")));
        for other in [
            "terraform-provider-my-demo_1.2.3_SHA256SUMS",
            "terraform-provider-my-demo_1.2_linux_amd64.zip",
            "terraform-provider-my-demo_1.2.3_linux.zip",
            "terraform-provider-my-demo_1.2.3_linux_.zip",
            "terraform-provider-my-demo_1.2.3_linux_am\nd64.zip",
            "terraform-provider-my_1.2.3_linux_amd64.zip",
            "terraform-provider-my-demo_1.2.3_linux_amd64.zip.sig",
            "index.json",
        ] {
            assert_eq!(address.of_archive(other), None, "{other}");
        }
    }

    #[test]
    fn versions_are_semantic() {
        for version in ["1.2.3", "0.0.1-rc.1", "1.0.0+build.5"] {
            hold_to_version(version).unwrap();
        }
        for (version, expected) in [
            ("v1.2.3", "the `v` is no part"),
            ("1.2", "unexpected end of input"),
            ("1.2.3rc1", "unexpected character"),
            ("1.2.3-RC1", "capital letters"),
            ("01.2.3", "leading zero"),
            ("", "empty string"),
        ] {
            let said = format!("{:#}", hold_to_version(version).unwrap_err());
            assert!(said.contains(expected), "{version}: {said}");
        }
    }
}
