//! A command line as the reference launcher in Rust splits it (SPEC §8.6): by its own rules, which are not a shell's.

/// The words; `None` where a quote has no end.
pub fn split_words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') => word.extend(characters.next()),
            (None, c) if c.is_whitespace() => {
                // What is empty is no word, in quotes or not.
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_reference_launcher() {
        for (line, expected) in [
            ("a 'b c' \"d e\"", &["a", "b c", "d e"][..]),
            ("a'b'\"c\"d", &["abcd"]),
            ("a # b", &["a", "#", "b"]),
            ("'' \"\" a", &["a"]),
            (r"a\b 'c\d' \ e", &[r"a\b", r"c\d", r"\", "e"]),
            (r#""a\"b\$c\\d""#, &["a\"b$c\\d"]),
            ("\"it's\" 'say \"x\"'", &["it's", "say \"x\""]),
            ("a\u{a0}b\u{2003}c\rd", &["a", "b", "c", "d"]),
            ("", &[]),
        ] {
            assert_eq!(split_words(line).unwrap(), expected, "{line}");
        }
        assert_eq!(split_words("a 'b"), None);
    }
}
