//! Placeholders in arguments and variables (SPEC §6.4): `{slot:ID}`, `{package_dir}`, `{cache}`, `{workenv}`.

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
    /// The work environment.
    #[cfg(feature = "workenv")]
    WorkEnv,
}

/// Splits a template into its pieces, in one pass: what a placeholder is replaced with is never looked at again.
/// `{{` and `}}` stand for a single brace.
///
/// # Errors
/// [`Error::Template`] for an unknown placeholder or a brace without its partner.
pub fn pieces(template: &str) -> Result<Vec<Piece<'_>>, Error> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let (piece, after) =
            first_piece(rest).map_err(|reason| Error::Template { template: template.to_owned(), reason })?;
        pieces.push(match piece {
            First::Piece(piece) => piece,
            First::Slot(id) => Piece::Slot(SlotId::try_from(id)?),
        });
        rest = after;
    }
    Ok(pieces)
}

enum First<'a> {
    Piece(Piece<'a>),
    Slot(&'a str),
}

/// The first piece of a template that is not empty, and what follows it.
fn first_piece(template: &str) -> Result<(First<'_>, &str), &'static str> {
    let braces = template.bytes().position(|byte| byte == b'{' || byte == b'}').unwrap_or(template.len());
    if let Some((text, after)) = template.split_at_checked(braces).filter(|_| braces > 0) {
        return Ok((First::Piece(Piece::Text(text)), after));
    }
    if let Some((brace, after)) = template.split_at_checked(2).filter(|(brace, _)| matches!(*brace, "{{" | "}}")) {
        return Ok((First::Piece(Piece::Text(brace.get(..1).unwrap_or_default())), after));
    }
    let inner = template.strip_prefix('{').ok_or("`}` without `{`; write `}}` for a brace")?;
    let (name, after) = inner.split_once('}').ok_or("`{` without `}`; write `{{` for a brace")?;
    let piece = match name {
        "package_dir" => First::Piece(Piece::PackageDir),
        "cache" => First::Piece(Piece::Cache),
        #[cfg(feature = "workenv")]
        "workenv" => First::Piece(Piece::WorkEnv),
        _ => match name.strip_prefix("slot:") {
            Some(id) => First::Slot(id),
            None => return Err("it is none of `{slot:ID}`, `{package_dir}` and `{cache}`; write `{{` for a brace"),
        },
    };
    Ok((piece, after))
}

/// The ids of all slots that a template names.
///
/// # Errors
/// As [`pieces`].
pub fn slots_named(template: &str) -> Result<Vec<SlotId>, Error> {
    let mut ids = Vec::new();
    for piece in pieces(template)? {
        if let Piece::Slot(id) = piece {
            ids.push(id);
        }
    }
    Ok(ids)
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
        for bad in ["{", "}", "{slot:}", "{slot:1}", "{other}", "{workenv", "a}b", "{slot:a"] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }
}
