//! `text_processing`: Markdown or plain text to clean text, a safe HTML page, statistics and an extractive summary.

mod document;
mod html;
mod language;
mod plain;
mod sentences;
mod statistics;
mod summary;

use std::io::Read as _;

use serde::Deserialize;

use crate::{
    decode::Utf8Reader,
    failure::Failure,
    output::OutDir,
    task::{Blob, unreadable},
};

/// An input may have at most this many bytes, some 700,000 words: its parse tree, blocks and page together then fit
/// into a container of 256 MiB.
const MAX_BYTES: u64 = 4 << 20;

/// A text may have at most this many blocks (paragraphs, items, rows); hundreds of thousands are a table, not a text.
const MAX_BLOCKS: usize = 200_000;

/// What the renter may choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Parameters {
    /// Sentences in the summary, 1 to 100.
    sentences: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { sentences: 5 }
    }
}

impl Parameters {
    /// # Errors
    /// [`Failure::Usage`] for a number out of range.
    pub(crate) fn checked(self) -> Result<Self, Failure> {
        if (1..=100).contains(&self.sentences) {
            Ok(self)
        } else {
            Err(Failure::Usage(format!("parameter sentences is {}; it must be 1 to 100", self.sentences)))
        }
    }
}

/// Writes `<stem>.clean.txt`, `<stem>.html`, `<stem>.stats.json` and `<stem>.summary.txt`.
pub(crate) fn process(
    parameters: &Parameters,
    blob: &mut Blob,
    stem: &str,
    out: &mut OutDir,
) -> Result<String, Failure> {
    blob.check_size(MAX_BYTES, "text_processing")?;
    let name = blob.name.clone();
    let mut reader = Utf8Reader::new(blob.reader()?);
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|error| unreadable(&name, error))?;
    let note = reader.findings().note();

    let markdown = is_markdown(&name);
    let document = if markdown { document::parse(&text) } else { plain::parse(&text) };
    if document.blocks.len() >= MAX_BLOCKS {
        let reason = format!("has {MAX_BLOCKS} or more paragraphs: split it, or use data_analysis for a table");
        return Err(Failure::bad(&name, reason));
    }
    let language = language::detect(&document);
    let sentences = sentences::split(&document);
    let statistics = statistics::gather(&name, markdown, note, &text, &document, &sentences, language);
    let summary = summary::extract(&sentences, language, parameters.sentences);
    let title = document.title().unwrap_or(stem);
    let page = if markdown {
        html::page(title, language, |body| html::from_markdown(&text, body))
    } else {
        html::page(title, language, |body| html::from_blocks(&document, body))
    };

    out.write(&format!("{stem}.clean.txt"), "text/plain", document.clean_text().as_bytes())?;
    out.write(&format!("{stem}.html"), "text/html", page.as_bytes())?;
    out.write_json(&format!("{stem}.stats.json"), &statistics)?;
    out.write(&format!("{stem}.summary.txt"), "text/plain", lines(&summary).as_bytes())?;
    Ok(format!("{} words, {} of {} sentences in the summary", statistics.words, summary.len(), sentences.len()))
}

fn is_markdown(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("md" | "markdown" | "mdown" | "mkd" | "mdx"))
}

fn lines(summary: &[&str]) -> String {
    summary.iter().flat_map(|sentence| [*sentence, "\n"]).collect()
}
