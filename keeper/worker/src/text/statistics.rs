//! What a text is made of, in numbers.

use std::collections::HashMap;

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

use super::{
    document::{Document, Kind, Link},
    language::Language,
};

/// Silent reading of non-fiction, words a minute: Brysbaert 2019, "How many words do we read per minute?".
const WORDS_PER_MINUTE: usize = 238;

const TOP_TERMS: usize = 20;

/// Lists in the result have at most this many entries; the counts beside them are of all.
pub(crate) const MAX_LISTED: usize = 500;

/// The content of `<stem>.stats.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Statistics {
    name: String,
    format: &'static str,
    /// BCP 47, judged by function words; `und` if unknown.
    language: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_note: Option<String>,
    /// Of the text outside code blocks.
    pub(crate) words: usize,
    distinct_words: usize,
    sentences: usize,
    paragraphs: usize,
    lines: usize,
    /// As a reader counts them (grapheme clusters), of the whole input.
    characters: usize,
    characters_without_spaces: usize,
    words_per_sentence: f64,
    reading_time_s: usize,
    heading_count: usize,
    link_count: usize,
    image_count: usize,
    list_item_count: usize,
    table_count: usize,
    code_block_count: usize,
    code_line_count: usize,
    top_terms: Vec<Term>,
    headings: Vec<Heading>,
    links: Vec<LinkEntry>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Term {
    term: String,
    count: usize,
}

#[derive(Debug, Serialize)]
struct Heading {
    level: u8,
    text: String,
}

#[derive(Debug, Serialize)]
struct LinkEntry {
    text: String,
    url: String,
}

/// Counts everything there is to count.
pub(crate) fn gather(
    name: &str,
    markdown: bool,
    encoding_note: Option<String>,
    text: &str,
    document: &Document,
    sentences: &[String],
    language: Language,
) -> Statistics {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut words = 0;
    for word in document.prose().flat_map(|block| block.text.unicode_words()) {
        words += 1;
        *counts.entry(normal(word)).or_default() += 1;
    }
    let sentence_words: usize = sentences.iter().map(|sentence| sentence.unicode_words().count()).sum();
    let number_of = |kind: Kind| document.blocks.iter().filter(|block| block.kind == kind).count();
    let code = || document.blocks.iter().filter(|block| block.kind == Kind::Code);
    let (mut characters, mut blanks) = (0, 0);
    for grapheme in text.graphemes(true) {
        characters += 1;
        blanks += usize::from(grapheme.chars().all(char::is_whitespace));
    }
    Statistics {
        name: name.to_owned(),
        format: if markdown { "markdown" } else { "plain" },
        language: language.code(),
        encoding_note,
        words,
        distinct_words: counts.len(),
        sentences: sentences.len(),
        paragraphs: number_of(Kind::Paragraph),
        lines: text.lines().count(),
        characters,
        characters_without_spaces: characters - blanks,
        words_per_sentence: tenths(sentence_words, sentences.len()),
        reading_time_s: (words * 60).div_ceil(WORDS_PER_MINUTE),
        heading_count: document.headings().count(),
        link_count: document.link_count,
        image_count: document.images,
        list_item_count: number_of(Kind::Item),
        table_count: document.tables,
        code_block_count: number_of(Kind::Code),
        code_line_count: code().map(|block| block.text.lines().count()).sum(),
        top_terms: top_terms(counts, language),
        headings: document
            .headings()
            .take(MAX_LISTED)
            .map(|(level, text)| Heading { level, text: text.to_owned() })
            .collect(),
        links: document.links.iter().map(LinkEntry::from).collect(),
    }
}

/// True for a word, in lower case, that says something about its text.
pub(crate) fn is_term(word: &str, language: Language) -> bool {
    word.chars().nth(1).is_some() && word.chars().any(char::is_alphabetic) && !language.is_function_word(word)
}

/// A word as it is counted: in lower case, without the possessive of "agent's" and the elision of "l'agent".
pub(crate) fn normal(word: &str) -> String {
    let word = word.to_lowercase();
    match word.split_once(['\'', '’']) {
        Some((owner, "s")) => owner.to_owned(),
        Some((article, noun)) if article.chars().count() <= 2 => noun.to_owned(),
        _ => word,
    }
}

fn top_terms(counts: HashMap<String, usize>, language: Language) -> Vec<Term> {
    let mut ranked: Vec<_> = counts.into_iter().collect();
    ranked.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    ranked
        .into_iter()
        .filter(|(word, _)| word.chars().nth(2).is_some() && is_term(word, language))
        .take(TOP_TERMS)
        .map(|(term, count)| Term { term, count })
        .collect()
}

/// A mean with one decimal; 0 of nothing.
fn tenths(sum: usize, count: usize) -> f64 {
    if count == 0 { 0.0 } else { (sum as f64 / count as f64 * 10.0).round() / 10.0 }
}

impl From<&Link> for LinkEntry {
    fn from(link: &Link) -> Self {
        Self { text: link.text.clone(), url: link.url.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{document, language, sentences};

    fn of(markdown: &str) -> Statistics {
        let document = document::parse(markdown);
        let sentences = sentences::split(&document);
        gather("a.md", true, None, markdown, &document, &sentences, language::detect(&document))
    }

    #[test]
    fn everything_is_counted_once() {
        let got = of(
            "# The Title\n\nThe agent bids. The agent pays the provider.\n\n- one [link](http://x/)\n\n```\nlet a;\nlet b;\n```\n\n|a|b|\n|-|-|\n|c|d|\n",
        );
        assert_eq!((got.words, got.sentences, got.paragraphs), (16, 3, 1));
        assert_eq!((got.heading_count, got.link_count, got.list_item_count), (1, 1, 1));
        assert_eq!((got.table_count, got.code_block_count, got.code_line_count), (1, 1, 2));
        assert_eq!(got.words_per_sentence, 3.3);
        assert_eq!(got.top_terms[0], Term { term: "agent".to_owned(), count: 2 });
        assert_eq!(got.language, "en");
    }

    #[test]
    fn characters_are_what_a_reader_sees() {
        let got = of("e\u{301} 👨‍👩‍👧");
        assert_eq!((got.characters, got.characters_without_spaces), (3, 2));
    }

    #[test]
    fn words_are_counted_in_one_form() {
        let check = |word: &str, expect: &str| assert_eq!(normal(word), expect);
        check("Agent's", "agent");
        check("L’agent", "agent");
        check("don't", "don't");
        check("Größe", "größe");
    }

    #[test]
    fn reading_time_is_rounded_up() {
        assert_eq!(of("word ".repeat(238).trim()).reading_time_s, 60);
        assert_eq!(of("word").reading_time_s, 1);
    }
}
