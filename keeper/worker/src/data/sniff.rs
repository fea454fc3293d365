//! Finds out how a table is written, from its beginning.

use csv::{ReaderBuilder, StringRecord};

use super::number;

/// The delimiters known here, the likelier first.
pub(crate) const DELIMITERS: [u8; 4] = *b",;\t|";

/// The delimiter that cuts the sample into the most regular rows of more than one field; a comma if none does.
pub(crate) fn delimiter(sample: &str) -> u8 {
    let best = DELIMITERS.into_iter().map(|delimiter| (delimiter, regularity(sample, delimiter)));
    // The first of equals: only a strictly better one replaces it.
    let (delimiter, _) =
        best.fold((DELIMITERS[0], (0, 0)), |best, candidate| if candidate.1 > best.1 { candidate } else { best });
    delimiter
}

/// Rows that have the most frequent number of fields, in per mille, and that number; (0, 0) for a single field.
fn regularity(sample: &str, delimiter: u8) -> (usize, usize) {
    let widths: Vec<usize> = records(sample, delimiter).map(|record| record.len()).collect();
    let mode = widths.iter().map(|width| (widths.iter().filter(|other| *other == width).count(), *width)).max();
    match mode {
        Some((rows, width)) if width > 1 => (rows * 1000 / widths.len(), width),
        _ => (0, 0),
    }
}

/// True when the first row names columns: all its fields are filled, distinct and no numbers or dates.
pub(crate) fn header(sample: &str, delimiter: u8) -> bool {
    let Some(first) = records(sample, delimiter).next() else {
        return false;
    };
    let distinct = first.iter().collect::<std::collections::HashSet<_>>().len() == first.len();
    let named =
        first.iter().all(|field| !field.trim().is_empty() && number::Shape::of(field.trim(), delimiter).is_word());
    named && distinct
}

fn records(sample: &str, delimiter: u8) -> impl Iterator<Item = StringRecord> {
    ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(sample.as_bytes())
        .into_records()
        .filter_map(Result::ok)
        .take(200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sample: &str, expect: (u8, bool)) {
        let delimiter = delimiter(sample);
        assert_eq!((delimiter, header(sample, delimiter)), expect, "{sample:?}");
    }

    #[test]
    fn delimiters_and_headers_are_recognised() {
        check("a,b\n1,2\n", (b',', true));
        check("a;b\n1,5;2,5\n3,5;4,5\n", (b';', true));
        check("a\tb|c\n1\t2|3\n", (b'\t', true));
        check("1|2\n3|4\n", (b'|', false));
        check("\"x, y\";z\n\"p, q, r\";s\n", (b';', true));
        check("name\nAda\n", (b',', true));
        check("a,a\n1,2\n", (b',', false));
        check("2024-01-01,a\n", (b',', false));
    }
}
