//! `data_analysis`: the profile of a delimited table, as JSON and as a report to read.
//!
//! The table is streamed: memory depends on the number of columns, never on the number of rows. What cannot be exact
//! in bounded memory says so in the result.

mod column;
mod number;
mod report;
mod sniff;
mod table;

pub(crate) use self::{
    number::{Shape, is_missing},
    sniff::DELIMITERS,
    table::{Rows, delimiter},
};

use serde::{Deserialize, Serialize};

use crate::{failure::Failure, output::OutDir, task::Blob};

/// An input may have at most this many bytes; it bounds the time, not the memory.
const MAX_BYTES: u64 = 512 << 20;

/// What the renter may choose.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Parameters {
    /// One of `,` `;` `|` and tab; found out by default.
    delimiter: Option<char>,
    /// Whether the first row names the columns; found out by default.
    header: Option<bool>,
}

impl Parameters {
    /// # Errors
    /// [`Failure::Usage`] for a delimiter that is not known.
    pub(crate) fn checked(self) -> Result<Self, Failure> {
        match self.delimiter {
            Some(delimiter) if !sniff::DELIMITERS.map(char::from).contains(&delimiter) => Err(Failure::Usage(format!(
                "parameter delimiter is {delimiter:?}; it must be one of \",\" \";\" \"|\" and tab"
            ))),
            _ => Ok(self),
        }
    }
}

/// The content of `<stem>.profile.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Profile {
    name: String,
    bytes: u64,
    delimiter: char,
    /// True when the first row names the columns.
    header: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_note: Option<String>,
    /// Without the header.
    rows: u64,
    column_count: usize,
    ragged: Ragged,
    columns: Vec<column::Summary>,
}

/// Rows that do not have as many fields as there are columns. Absent fields count as missing, surplus ones are left
/// out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Ragged {
    short_rows: u64,
    long_rows: u64,
    /// Line numbers of the first few, counted from 1.
    first_lines: Vec<u64>,
}

/// Writes `<stem>.profile.json` and `<stem>.profile.md`.
pub(crate) fn process(
    parameters: &Parameters,
    blob: &mut Blob,
    stem: &str,
    out: &mut OutDir,
) -> Result<String, Failure> {
    blob.check_size(MAX_BYTES, "data_analysis")?;
    let profile = table::profile(parameters, blob)?;
    out.write_json(&format!("{stem}.profile.json"), &profile)?;
    out.write(&format!("{stem}.profile.md"), "text/markdown", report::render(&profile).as_bytes())?;
    Ok(format!("{} rows, {} columns", profile.rows, profile.column_count))
}
