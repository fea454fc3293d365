//! Reads rows in batches, from a table with a header or from JSON objects line by line.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
};

use csv::StringRecord;
use serde_json::{Map, Value};

use super::{
    Parameters,
    architecture::Input,
    network::{Content, Network},
    predictions::Form,
};
use crate::{
    data::{Rows, Shape, delimiter, is_missing},
    decode::{Findings, Utf8Reader},
    failure::Failure,
    task::{Blob, unreadable},
};

/// A file may have at most this many rows.
const MAX_ROWS: u64 = 10_000_000;

/// A batch ends at so many rows, or with the row that takes its texts to so many bytes.
const MAX_BATCH_ROWS: usize = 256;
const MAX_BATCH_BYTES: usize = 4 << 20;

/// A JSON object may have at most this many bytes; parsed, it takes many times as much memory.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Reading ends when so many rows were found that cannot be judged.
const MAX_FAULTS: usize = 5;

/// Of a value or of a list in an error.
const MAX_SHOWN_CHARACTERS: usize = 40;
const MAX_LISTED: usize = 8;

/// How a file holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Table,
    Lines,
}

/// Some rows, in their order.
pub(crate) struct Batch {
    /// Counted from 1, without the header.
    pub(crate) numbers: Vec<u64>,
    /// Empty if none are asked for.
    pub(crate) ids: Vec<String>,
    pub(crate) content: Content,
}

/// Rows that cannot be judged, and why.
#[derive(Default)]
pub(crate) struct Faults(Vec<String>);

/// A file of rows that is being read.
pub(crate) struct Batches<'a> {
    name: String,
    reader: Reader<'a>,
    findings: Findings,
    /// The input's columns, or the one with the text.
    wanted: Vec<String>,
    id: Option<String>,
    /// Whether texts go in lower case; absent for numbers.
    texts: Option<bool>,
    rows: u64,
    pub(crate) faults: Faults,
}

enum Reader<'a> {
    Table { rows: Rows<'a>, delimiter: u8, places: Places, record: StringRecord },
    Lines { lines: BufReader<Utf8Reader<BufReader<&'a mut File>>>, line: Vec<u8>, object: Map<String, Value> },
}

/// Where a table has what is wanted.
struct Places {
    width: usize,
    wanted: Vec<usize>,
    id: Option<usize>,
}

impl Source {
    /// What the file's extension says.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let extension = super::extension_of(name)?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" | "tsv" => Some(Self::Table),
            "jsonl" | "ndjson" => Some(Self::Lines),
            _ => None,
        }
    }

    pub(crate) const fn form(self) -> Form {
        match self {
            Self::Table => Form::Csv,
            Self::Lines => Form::Jsonl,
        }
    }
}

impl Faults {
    pub(crate) fn note(&mut self, row: u64, reason: &str) {
        if !self.is_full() {
            self.0.push(format!("row {row}: {reason}"));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_full(&self) -> bool {
        self.0.len() == MAX_FAULTS
    }
}

impl<'a> Batches<'a> {
    /// # Errors
    /// [`Failure::BadInput`] for a table without the columns that are wanted.
    pub(crate) fn open(
        source: Source,
        parameters: &Parameters,
        network: &Network,
        blob: &'a mut Blob,
    ) -> Result<Self, Failure> {
        let (wanted, texts) = match &network.architecture.input {
            Input::Table(table) => (table.columns.clone(), None),
            Input::Text(text) => (vec![text.column.clone()], Some(text.lower_case)),
        };
        let (name, id) = (blob.name.clone(), parameters.id.clone());
        let (reader, findings) = match source {
            Source::Table => {
                let delimiter = delimiter(parameters.delimiter, blob)?.0;
                let mut rows = Rows::open(blob, delimiter)?;
                let mut record = StringRecord::new();
                rows.read(&mut record)?;
                let places =
                    Places::find(&record, &wanted, id.as_deref()).map_err(|reason| Failure::bad(&name, reason))?;
                let findings = rows.findings.clone();
                (Reader::Table { rows, delimiter, places, record }, findings)
            }
            Source::Lines => {
                let decoder = Utf8Reader::new(blob.reader()?);
                let findings = decoder.findings();
                let lines = BufReader::new(decoder);
                (Reader::Lines { lines, line: Vec::new(), object: Map::new() }, findings)
            }
        };
        Ok(Self { name, reader, findings, wanted, id, texts, rows: 0, faults: Faults::default() })
    }

    /// The next rows that can be judged; nothing after the last, or when enough are found that cannot.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for what is no table or has too many rows, [`Failure::Missing`] if the medium fails.
    pub(crate) fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let content = match self.texts {
            None => Content::Numbers(Vec::new()),
            Some(_) => Content::Texts(Vec::new()),
        };
        let mut batch = Batch { numbers: Vec::new(), ids: Vec::new(), content };
        let mut bytes = 0;
        while batch.numbers.len() < MAX_BATCH_ROWS && bytes < MAX_BATCH_BYTES && !self.faults.is_full() {
            if !self.read()? {
                break;
            }
            match self.row(&mut batch) {
                Ok(taken) => bytes += taken,
                Err(reason) => self.faults.note(self.rows, &reason),
            }
        }
        Ok((!batch.numbers.is_empty()).then_some(batch))
    }

    /// The number of rows, and a note on their encoding.
    ///
    /// # Errors
    /// [`Failure::BadInput`] if rows could not be judged, or there are none.
    pub(crate) fn finish(self) -> Result<(u64, Option<String>), Failure> {
        let faults = self.faults.0.len();
        let more = if self.faults.is_full() { " or more" } else { "" };
        match (faults, self.rows) {
            (0, 0) => Err(Failure::bad(&self.name, "holds no rows")),
            (0, rows) => Ok((rows, self.findings.note())),
            _ => {
                let (rows, list) = (if faults == 1 { "row" } else { "rows" }, self.faults.0.join("; "));
                Err(Failure::bad(&self.name, format!("{faults}{more} {rows} cannot be judged: {list}")))
            }
        }
    }

    /// Reads a row; false after the last.
    fn read(&mut self) -> Result<bool, Failure> {
        let more = match &mut self.reader {
            Reader::Table { rows, record, .. } => rows.read(record)?,
            Reader::Lines { lines, line, .. } => loop {
                line.clear();
                lines
                    .take(MAX_LINE_BYTES + 1)
                    .read_until(b'\n', line)
                    .map_err(|error| unreadable(&self.name, error))?;
                if line.len() as u64 > MAX_LINE_BYTES {
                    let (row, max) = (self.rows + 1, MAX_LINE_BYTES >> 20);
                    return Err(Failure::bad(&self.name, format!("row {row}: is longer than {max} MiB")));
                }
                if line.is_empty() || !line.trim_ascii().is_empty() {
                    break !line.is_empty();
                }
            },
        };
        self.rows += u64::from(more);
        if self.rows > MAX_ROWS {
            return Err(Failure::bad(&self.name, format!("has more than {MAX_ROWS} rows: split it")));
        }
        Ok(more)
    }

    /// Adds the row that was read to `batch`, or says why it cannot be judged; gives the bytes of its text and id.
    fn row(&mut self, batch: &mut Batch) -> Result<usize, String> {
        let id = match &mut self.reader {
            Reader::Table { places, record, .. } if record.len() != places.width => {
                return Err(format!("has {} fields; the header names {}", record.len(), places.width));
            }
            Reader::Table { places, record, .. } => places.id.map(|place| record[place].to_owned()),
            Reader::Lines { line, object, .. } => {
                *object = serde_json::from_slice(line).map_err(|error| format!("is no JSON object: {error}"))?;
                match self.id.as_deref().map(|column| (column, object.get(column))) {
                    None => None,
                    Some((_, Some(Value::String(id)))) => Some(id.clone()),
                    Some((_, Some(Value::Number(id)))) => Some(id.to_string()),
                    Some((column, _)) => return Err(format!("id column {column:?} is missing, or no text or number")),
                }
            }
        };
        let mut bytes = id.as_ref().map_or(0, String::len);
        match &mut batch.content {
            Content::Numbers(numbers) => {
                let start = numbers.len();
                for index in 0..self.wanted.len() {
                    match self.reader.number(index, &self.wanted[index]) {
                        Ok(number) => numbers.push(number),
                        Err(reason) => {
                            numbers.truncate(start);
                            return Err(reason);
                        }
                    }
                }
            }
            Content::Texts(texts) => {
                let text = prepared(self.reader.text(&self.wanted[0])?, self.texts == Some(true));
                if text.trim().is_empty() {
                    return Err(format!("column {:?} is empty: there is nothing to judge", self.wanted[0]));
                }
                bytes += text.len();
                texts.push(text);
            }
        }
        batch.numbers.push(self.rows);
        batch.ids.extend(id);
        Ok(bytes)
    }
}

impl Reader<'_> {
    fn number(&self, index: usize, column: &str) -> Result<f64, String> {
        let (number, found) = match self {
            Self::Table { delimiter, places, record, .. } => {
                let field = record[places.wanted[index]].trim();
                match Shape::of(field, *delimiter) {
                    Shape::Integer(number) | Shape::Decimal(number) => (Some(number), String::new()),
                    _ if field.is_empty() => (None, "empty".to_owned()),
                    _ if is_missing(field) => (None, format!("missing ({})", shown(field))),
                    _ => (None, format!("{:?}", shown(field))),
                }
            }
            Self::Lines { object, .. } => match object.get(column) {
                Some(value) => (value.as_f64(), shown(&value.to_string())),
                None => (None, "missing".to_owned()),
            },
        };
        match number {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(format!("column {column:?} is {found}; a finite number is needed")),
        }
    }

    fn text(&self, column: &str) -> Result<&str, String> {
        match self {
            Self::Table { places, record, .. } => Ok(&record[places.wanted[0]]),
            Self::Lines { object, .. } => match object.get(column) {
                Some(Value::String(text)) => Ok(text),
                Some(value) => Err(format!("column {column:?} is {}; a text is needed", shown(&value.to_string()))),
                None => Err(format!("column {column:?} is missing; a text is needed")),
            },
        }
    }
}

impl Places {
    fn find(header: &StringRecord, wanted: &[String], id: Option<&str>) -> Result<Self, String> {
        let place = |column: &str| {
            let mut found = header.iter().enumerate().filter(|(_, field)| field.trim() == column).map(|(at, _)| at);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => Err(format!("has two columns {column:?}")),
                (None, _) => {
                    let named = header.iter().take(MAX_LISTED).map(|field| format!("{:?}", shown(field)));
                    let named = named.collect::<Vec<_>>().join(", ");
                    let more = if header.len() > MAX_LISTED { ", …" } else { "" };
                    Err(format!("has no column {column:?}; its first row names {named}{more}"))
                }
            }
        };
        let wanted = wanted.iter().map(|column| place(column)).collect::<Result<_, _>>()?;
        Ok(Self { width: header.len(), wanted, id: id.map(place).transpose()? })
    }
}

/// A text as its n-grams are taken: see [`super::architecture`].
fn prepared(text: &str, lower_case: bool) -> String {
    let lowered = if lower_case { text.to_lowercase() } else { text.to_owned() };
    let mut prepared = String::with_capacity(lowered.len() + 2);
    for word in lowered.split_whitespace() {
        prepared.push(' ');
        prepared.push_str(word);
    }
    prepared.push(' ');
    prepared
}

fn shown(value: &str) -> String {
    let mut characters = value.chars();
    let beginning: String = characters.by_ref().take(MAX_SHOWN_CHARACTERS).collect();
    if characters.next().is_some() { beginning + "…" } else { beginning }
}
