//! Reads a table once, row by row, and hands every field to its column.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufReader, Read},
    rc::Rc,
};

use csv::{ReaderBuilder, StringRecord};

use super::{Parameters, Profile, Ragged, column::Column, sniff};
use crate::{
    decode::{Findings, Utf8Reader},
    failure::Failure,
    task::{Blob, unreadable},
};

/// What the delimiter and the header are judged by.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// A row may have at most this many bytes. An unclosed quote would otherwise swallow the rest of the file.
const MAX_ROW_BYTES: u64 = 4 << 20;

const MAX_COLUMNS: usize = 1_000;

/// Names and lines listed in the result.
const MAX_RAGGED_LINES: usize = 10;
const MAX_NAME_CHARACTERS: usize = 120;

/// A table that is read row by row.
pub(crate) struct Rows<'a> {
    name: String,
    reader: csv::Reader<Metered<Utf8Reader<BufReader<&'a mut File>>>>,
    row_bytes: Rc<Cell<u64>>,
    pub(crate) findings: Findings,
}

impl<'a> Rows<'a> {
    /// The table's rows from the first, which may be its header.
    ///
    /// # Errors
    /// [`Failure::Missing`] if the file cannot be rewound.
    pub(crate) fn open(blob: &'a mut Blob, delimiter: u8) -> Result<Self, Failure> {
        let name = blob.name.clone();
        let decoder = Utf8Reader::new(blob.reader()?);
        let findings = decoder.findings();
        let row_bytes = Rc::new(Cell::new(0));
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(Metered { inner: decoder, row_bytes: Rc::clone(&row_bytes) });
        Ok(Self { name, reader, row_bytes, findings })
    }

    /// Reads the next row into `record`; false after the last one.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for what is no table, [`Failure::Missing`] if the medium fails.
    pub(crate) fn read(&mut self, record: &mut StringRecord) -> Result<bool, Failure> {
        let more = self.reader.read_record(record).map_err(|error| broken(&self.name, error))?;
        self.row_bytes.set(0);
        Ok(more)
    }
}

/// The delimiter asked for, or else the one that the table seems to have, with the table's beginning.
///
/// # Errors
/// As [`Rows::read`].
pub(crate) fn delimiter(asked: Option<char>, blob: &mut Blob) -> Result<(u8, String), Failure> {
    let sample = sample(blob)?;
    let delimiter = match asked.map(u8::try_from) {
        Some(Ok(delimiter)) => delimiter,
        _ => sniff::delimiter(&sample),
    };
    Ok((delimiter, sample))
}

/// Profiles the whole table.
pub(crate) fn profile(parameters: &Parameters, blob: &mut Blob) -> Result<Profile, Failure> {
    let name = blob.name.clone();
    let (delimiter, sample) = delimiter(parameters.delimiter, blob)?;
    let header = parameters.header.unwrap_or_else(|| sniff::header(&sample, delimiter));
    drop(sample);

    let bytes = blob.bytes;
    let mut table = Rows::open(blob, delimiter)?;
    let mut columns: Vec<Column> = Vec::new();
    let mut ragged = Ragged::default();
    let mut rows = 0;
    let mut record = StringRecord::new();
    while table.read(&mut record)? {
        if columns.is_empty() {
            columns = start(&name, &record, header)?;
            if header {
                continue;
            }
        }
        rows += 1;
        note_width(&mut ragged, &record, columns.len());
        for (index, column) in columns.iter_mut().enumerate() {
            match record.get(index) {
                Some(field) => column.take(field, delimiter),
                None => column.take_absent(),
            }
        }
    }
    if columns.is_empty() {
        return Err(Failure::bad(&name, "holds no rows"));
    }
    Ok(Profile {
        name,
        bytes,
        delimiter: char::from(delimiter),
        header,
        encoding_note: table.findings.note(),
        rows,
        column_count: columns.len(),
        ragged,
        columns: columns.into_iter().map(Column::finish).collect(),
    })
}

/// The beginning of the table, up to its last whole line.
fn sample(blob: &mut Blob) -> Result<String, Failure> {
    let name = blob.name.clone();
    let mut sample = Vec::new();
    Utf8Reader::new(blob.reader()?)
        .take(SAMPLE_BYTES)
        .read_to_end(&mut sample)
        .map_err(|error| unreadable(&name, error))?;
    if sample.len() as u64 == SAMPLE_BYTES
        && let Some(end) = sample.iter().rposition(|byte| *byte == b'\n')
    {
        sample.truncate(end + 1);
    }
    // Only a single endless line can still end within a character.
    Ok(String::from_utf8_lossy(&sample).into_owned())
}

fn start(name: &str, first: &StringRecord, header: bool) -> Result<Vec<Column>, Failure> {
    if first.len() > MAX_COLUMNS {
        return Err(Failure::bad(
            name,
            format!("has {} columns; this worker takes at most {MAX_COLUMNS}: split it by columns", first.len()),
        ));
    }
    let name_of = |(index, field): (usize, &str)| match field.trim() {
        field if header && !field.is_empty() => field.chars().take(MAX_NAME_CHARACTERS).collect(),
        _ => format!("column_{}", index + 1),
    };
    let names = first.iter().enumerate().map(name_of);
    Ok(names.enumerate().map(|(index, name)| Column::new(name, index, first.len())).collect())
}

fn note_width(ragged: &mut Ragged, record: &StringRecord, columns: usize) {
    match record.len().cmp(&columns) {
        std::cmp::Ordering::Less => ragged.short_rows += 1,
        std::cmp::Ordering::Greater => ragged.long_rows += 1,
        std::cmp::Ordering::Equal => return,
    }
    if ragged.first_lines.len() < MAX_RAGGED_LINES {
        ragged.first_lines.extend(record.position().map(csv::Position::line));
    }
}

fn broken(name: &str, error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unreadable(name, error),
        kind => Failure::bad(name, format!("cannot be read as a table: {kind:?}")),
    }
}

/// Stops a parser that has been reading one row for too long.
struct Metered<R> {
    inner: R,
    row_bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.row_bytes.get() > MAX_ROW_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("has a row of more than {} MiB: a quote is opened and never closed", MAX_ROW_BYTES >> 20),
            ));
        }
        let read = self.inner.read(buffer)?;
        self.row_bytes.set(self.row_bytes.get() + read as u64);
        Ok(read)
    }
}
