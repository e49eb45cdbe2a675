//! Text from outside, made harmless for a terminal.

use core::fmt::{self, Write as _};

/// Shows a text without its control characters and whatever else is not seen or turns the direction of what follows.
///
/// ASCII is shown as [`str::escape_debug`] does. That knows every character of Unicode, by tables that are larger than
/// all messages of the launcher; here every other character stands for itself.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            let letter = match character {
                '\0' => '0',
                '\t' => 't',
                '\n' => 'n',
                '\r' => 'r',
                '"' | '\'' | '\\' => character,
                _ if is_hidden(character) => {
                    write!(f, "\\u{{{:x}}}", u32::from(character))?;
                    continue;
                }
                _ => {
                    f.write_char(character)?;
                    continue;
                }
            };
            f.write_char('\\')?;
            f.write_char(letter)?;
        }
        Ok(())
    }
}

/// Control and format characters (Unicode's categories Cc and Cf), line and paragraph separators.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1F}'
            | '\u{7F}'..='\u{9F}'
            | '\u{AD}'
            | '\u{600}'..='\u{605}'
            | '\u{61C}'
            | '\u{6DD}'
            | '\u{70F}'
            | '\u{890}'..='\u{891}'
            | '\u{8E2}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::Shown;
    use alloc::string::ToString;

    #[test]
    fn ascii_is_shown_as_the_standard_library_does() {
        for byte in 0..0x80_u8 {
            let text = char::from(byte).to_string();
            assert_eq!(Shown(&text).to_string(), text.escape_debug().to_string(), "{byte:#x}");
        }
    }

    /// The standard library hides more: what nothing is assigned to, and marks without a letter.
    #[test]
    fn what_is_hidden_here_is_hidden_there_and_control_characters_always() {
        for character in '\u{80}'..=char::MAX {
            let text = character.to_string();
            let shown = Shown(&text).to_string();
            assert!(shown == text || shown == text.escape_debug().to_string(), "{shown}");
            assert!(!(character.is_control() && shown == text), "{shown}");
        }
        for text in ["\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "\u{2028}", "\u{e0041}", "\u{9b}31m"] {
            assert!(Shown(text).to_string().starts_with("\\u{"), "{text}");
        }
        assert_eq!(Shown("grün 日本 😀").to_string(), "grün 日本 😀");
    }
}
