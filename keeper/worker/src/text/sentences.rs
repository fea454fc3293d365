//! Blocks to sentences by Unicode's rules (UAX #29), mended where an abbreviation's full stop ends none.

use unicode_segmentation::UnicodeSegmentation;

use super::document::{Document, Kind};

/// A full stop after one of these, in lower case, does not end a sentence.
const ABBREVIATIONS: &[&str] = &[
    "approx", "bzw", "ca", "cf", "dr", "e.g", "ed", "eds", "etc", "fig", "figs", "i.e", "inc", "jr", "ltd", "m", "mme",
    "mr", "mrs", "ms", "no", "nr", "p", "pp", "prof", "resp", "sec", "sr", "sra", "st", "usw", "v", "vgl", "viz",
    "vol", "vs", "z.b", "d.h", "u.a", "p.ex", "ej",
];

/// All sentences of paragraphs and list items, in order, each on one line.
pub(crate) fn split(document: &Document) -> Vec<String> {
    let mut sentences = Vec::new();
    for block in &document.blocks {
        if !matches!(block.kind, Kind::Paragraph | Kind::Item) {
            continue;
        }
        // UAX #29 ends a sentence at a line break; here it is only the width of somebody's editor.
        let text = block.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut open = String::new();
        for piece in text.split_sentence_bounds() {
            open.push_str(piece);
            if !ends_in_abbreviation(open.trim_end()) {
                take(&mut open, &mut sentences);
            }
        }
        take(&mut open, &mut sentences);
    }
    sentences
}

fn take(open: &mut String, sentences: &mut Vec<String>) {
    let sentence = open.trim();
    if sentence.chars().any(char::is_alphanumeric) {
        sentences.push(sentence.to_owned());
    }
    open.clear();
}

fn ends_in_abbreviation(text: &str) -> bool {
    let Some(word) = text.strip_suffix('.').and_then(|text| text.rsplit(' ').next()) else {
        return false;
    };
    let word = word.trim_start_matches(['(', '[', '"', '“', '‘', '\'']);
    // A single capital is an initial, as in "J. Smith".
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::plain;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(split(&plain::parse(text)), expect);
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        check("One. Two! Three? Four", &["One.", "Two!", "Three?", "Four"]);
        check("It costs 1.50 AIT. That\nis cheap.", &["It costs 1.50 AIT.", "That is cheap."]);
        check("Dr. A. Turing, e.g. In 1936, wrote. He won.", &["Dr. A. Turing, e.g. In 1936, wrote.", "He won."]);
        check("He said \"Go.\" She went.", &["He said \"Go.\"", "She went."]);
        check("***\n\n- item one\n- item two", &["item one", "item two"]);
    }

    #[test]
    fn other_scripts_have_sentences_too() {
        check("これは文です。次の文。", &["これは文です。", "次の文。"]);
    }
}
