//! The tables of SPEC.md, so that text and code cannot drift apart.

/// The whole text.
pub(crate) const SPEC: &str = include_str!("../../SPEC.md");

/// A row of a table that begins with offset and size.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) offset: usize,
    pub(crate) size: usize,
    pub(crate) field: String,
    pub(crate) value: String,
}

/// The text from this heading (its number, as `§3.2`) to the next one.
pub(crate) fn section(number: &str) -> &'static str {
    let number = number.trim_start_matches('§');
    let heading = if number.contains('.') { format!("\n### {number} ") } else { format!("\n## {number}. ") };
    let rest = &SPEC[SPEC.find(&heading).expect("the section is there") + 1..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

/// The rows with fixed places of the first table that follows `after` in a section. They must follow each other
/// without a gap, from 0.
pub(crate) fn table(number: &str, after: &str) -> Vec<Row> {
    let text = section(number);
    let text = &text[text.find(after).expect("the text before the table is there")..];
    let start = text.find("\n| offset | size |").expect("a table follows");
    let mut lines = text[start..].lines().skip(1);
    let columns = cells(lines.next().unwrap());
    let place = columns.iter().position(|name| name == "field").unwrap();
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells);
    let fixed = rows.filter_map(|cells| {
        let (offset, size) = (cells[0].parse().ok()?, cells[1].parse().ok()?);
        Some(Row { offset, size, field: cells[place].clone(), value: cells[place + 1].clone() })
    });
    fixed.collect()
}

/// As [`table`], for a record without gaps of this length.
pub(crate) fn record(number: &str, after: &str, len: usize) -> Vec<Row> {
    let rows = table(number, after);
    let mut end = 0;
    for row in &rows {
        assert_eq!(row.offset, end, "SPEC {number}: a gap before `{}`", row.field);
        end += row.size;
    }
    assert_eq!(end, len, "SPEC {number}: length of the record");
    rows
}

/// The value in a table of two columns whose first cell is `name`.
pub(crate) fn vector(name: &str) -> &'static str {
    let start = SPEC.find(&format!("\n| {name} | `")).expect("the vector is there");
    let rest = &SPEC[start + name.len() + 7..];
    &rest[..rest.find('`').unwrap()]
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

/// The code block that starts with `open`, without the line feed at its end.
pub(crate) fn code(open: &str) -> &'static str {
    let rest = &SPEC[SPEC.find(open).expect("the block is there") + open.len()..];
    &rest[..rest.find("\n```").unwrap()]
}
