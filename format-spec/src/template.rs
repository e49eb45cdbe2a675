//! Placeholders in arguments and variables (SPEC §6.4): `{slot:ID}`, `{package_dir}`, `{cache}`.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use crate::{Error, SlotId};

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stays as it is.
    Text(&'a str),
    /// The place of a slot.
    Slot(SlotId),
    /// The directory that holds the package file.
    PackageDir,
    /// The directory of the cache.
    Cache,
}

/// Splits a template into its pieces, in one pass: what a placeholder is replaced with is never looked at again.
/// `{{` and `}}` stand for a single brace.
///
/// # Errors
/// [`Error::Template`] for an unknown placeholder or a brace without its partner.
pub fn pieces(template: &str) -> Result<Vec<Piece<'_>>, Error> {
    let refuse = |reason| Error::Template { template: template.to_owned(), reason };
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, tail) = rest.split_at(at);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if tail.starts_with("{{") || tail.starts_with("}}") {
            let (brace, after) = tail.split_at(2);
            pieces.push(Piece::Text(brace.get(..1).unwrap_or_default()));
            rest = after;
            continue;
        }
        let inner = tail.strip_prefix('{').ok_or_else(|| refuse("`}` without `{`; write `}}` for a brace"))?;
        let (name, after) = inner.split_once('}').ok_or_else(|| refuse("`{` without `}`; write `{{` for a brace"))?;
        pieces.push(match name {
            "package_dir" => Piece::PackageDir,
            "cache" => Piece::Cache,
            "workenv" => return Err(refuse("`{workenv}` is not supported yet; name a slot with `{slot:ID}`")),
            _ => match name.strip_prefix("slot:") {
                Some(id) => Piece::Slot(SlotId::try_from(id)?),
                None => {
                    return Err(refuse(
                        "it is none of `{slot:ID}`, `{package_dir}` and `{cache}`; write `{{` for a brace",
                    ));
                }
            },
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The ids of all slots that a template names.
///
/// # Errors
/// As [`pieces`].
pub fn slots_named(template: &str) -> Result<Vec<SlotId>, Error> {
    let pieces = pieces(template)?;
    Ok(pieces.into_iter().filter_map(|piece| if let Piece::Slot(id) = piece { Some(id) } else { None }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_split_once() {
        let id = SlotId::try_from("app").unwrap();
        assert_eq!(pieces("{slot:app}/bin/x").unwrap(), [Piece::Slot(id), Piece::Text("/bin/x")]);
        assert_eq!(pieces("a{{b}}").unwrap(), ["a", "{", "b", "}"].map(Piece::Text));
        assert_eq!(pieces("").unwrap(), []);
        for bad in ["{", "}", "{slot:}", "{slot:1}", "{other}", "{workenv}/x", "a}b", "{slot:a"] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }
}
