//! `model_inference`: a trained network judges rows of a table or texts.
//!
//! Which input is what follows from its name: one `.safetensors` file holds the weights; one `.json` file, or the
//! parameter `model`, describes the architecture ([`architecture`]); every other file holds rows, as CSV
//! (`.csv`, `.tsv`) with a header or as JSON objects line by line (`.jsonl`, `.ndjson`).
//!
//! Rows are read and judged in batches: memory depends on the model and the longest row, never on the number of rows.
//! The weights are candle's tensors; what is computed with them is in [`operations`], so that the same input gives the
//! same bytes on every machine. A row with a value that is no finite number, or for which the model gives none, fails
//! its file and is named.

mod architecture;
mod network;
mod operations;
mod predictions;
mod rows;
mod weights;

use std::io::Read as _;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::{architecture::Architecture, network::Network, predictions::Form, rows::Source, weights::Weights};
use crate::{
    data::DELIMITERS,
    failure::Failure,
    output::OutDir,
    task::{Blob, unreadable},
};

/// A file of rows may have at most this many bytes; it bounds the time, not the memory.
const MAX_ROWS_BYTES: u64 = 512 << 20;

/// An architecture may have at most this many bytes.
const MAX_ARCHITECTURE_BYTES: u64 = 256 << 10;

/// What the renter may choose.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Parameters {
    /// The architecture, in place of a `.json` input.
    model: Option<Map<String, Value>>,
    /// How predictions are written; as the rows came, by default.
    format: Option<Form>,
    /// The column whose value is repeated beside each prediction.
    id: Option<String>,
    /// One of `,` `;` `|` and tab; found out by default.
    delimiter: Option<char>,
}

/// A network that is ready to judge.
pub(crate) struct Model {
    parameters: Parameters,
    /// The names of the files that it was made from, weights first.
    names: Vec<String>,
    network: Network,
}

impl Model {
    /// Takes the model's own files out of `blobs` and leaves those with rows.
    ///
    /// # Errors
    /// [`Failure::Usage`] if files are missing, too many or of no known kind, [`Failure::BadInput`] for weights or an
    /// architecture that cannot be used.
    pub(crate) fn load(parameters: Parameters, blobs: &mut Vec<Blob>) -> Result<Self, Failure> {
        if let Some(delimiter) = parameters.delimiter
            && !DELIMITERS.map(char::from).contains(&delimiter)
        {
            return Err(Failure::Usage(format!(
                "parameter delimiter is {delimiter:?}; it must be one of \",\" \";\" \"|\" and tab"
            )));
        }
        let mut weights = take(blobs, "safetensors", "weights")?;
        let Some(weights) = weights.as_mut() else {
            return Err(Failure::Usage("model_inference needs the weights as an input *.safetensors".to_owned()));
        };
        let mut described = take(blobs, "json", "architectures")?;
        let mut names = vec![weights.name.clone()];
        let architecture = match (&parameters.model, described.as_mut()) {
            (Some(_), Some(file)) => {
                return Err(Failure::Usage(format!(
                    "the architecture is given twice, as parameter model and as input {:?}: leave one out",
                    file.name
                )));
            }
            (Some(object), None) => {
                Architecture::checked(&Value::Object(object.clone()).to_string(), "parameter model")
                    .map_err(|failure| Failure::Usage(failure.to_string()))?
            }
            (None, Some(file)) => {
                names.push(file.name.clone());
                Architecture::checked(&read(file)?, &file.name)?
            }
            (None, None) => {
                return Err(Failure::Usage(
                    "model_inference needs the architecture as an input *.json or as parameter model".to_owned(),
                ));
            }
        };
        if let Some(stranger) = blobs.iter().find(|blob| Source::of(&blob.name).is_none()) {
            return Err(Failure::Usage(format!(
                "input {:?} is neither weights (safetensors), nor an architecture (json), nor rows (csv, tsv, jsonl, \
                 ndjson): convert or leave it out",
                stranger.name
            )));
        }
        if blobs.is_empty() {
            return Err(Failure::Usage("model_inference needs rows to judge: an input *.csv or *.jsonl".to_owned()));
        }
        let network = Network::assemble(architecture, &Weights::open(weights)?)?;
        Ok(Self { parameters, names, network })
    }
}

/// Writes `<stem>.predictions.csv` or `.jsonl`, and `<stem>.summary.json`.
pub(crate) fn process(model: &Model, blob: &mut Blob, stem: &str, out: &mut OutDir) -> Result<String, Failure> {
    blob.check_size(MAX_ROWS_BYTES, "model_inference")?;
    let name = blob.name.clone();
    let source = Source::of(&name).ok_or_else(|| Failure::Internal(format!("{name} has no rows")))?;
    let form = model.parameters.format.unwrap_or(source.form());
    let mut batches = rows::Batches::open(source, &model.parameters, &model.network, blob)?;
    let mut sheet = predictions::Sheet::new(form, model.parameters.id.as_deref(), &model.network);
    let file = format!("{stem}.predictions.{}", form.extension());
    let (rows, note) = out.write_in_parts(&file, form.media_type(), |part| {
        part.put(&sheet.head()?)?;
        while let Some(batch) = batches.next()? {
            let judged = model.network.judge(&batch.content)?;
            let lines = sheet.lines(&batch, &judged, &mut batches.faults)?;
            if batches.faults.is_empty() {
                part.put(&lines)?;
            }
        }
        batches.finish()
    })?;
    out.write_json(&format!("{stem}.summary.json"), &sheet.summary(&name, &model.names, rows, note))?;
    Ok(format!("{rows} rows judged"))
}

/// Takes the one input with this extension out of `blobs`, if there is one.
fn take(blobs: &mut Vec<Blob>, extension: &str, what: &str) -> Result<Option<Blob>, Failure> {
    let is_it = |blob: &Blob| extension_of(&blob.name).is_some_and(|found| found.eq_ignore_ascii_case(extension));
    let mut found = blobs.extract_if(.., |blob| is_it(blob));
    let (first, second) = (found.next(), found.next());
    match (first, second) {
        (Some(first), Some(second)) => Err(Failure::Usage(format!(
            "inputs {:?} and {:?} are both {what}: rent once for each model",
            first.name, second.name
        ))),
        (first, _) => Ok(first),
    }
}

fn extension_of(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, extension)| extension)
}

fn read(file: &mut Blob) -> Result<String, Failure> {
    let name = file.name.clone();
    if file.bytes > MAX_ARCHITECTURE_BYTES {
        let reason = format!("has {} bytes; an architecture has at most {MAX_ARCHITECTURE_BYTES}", file.bytes);
        return Err(Failure::bad(&name, reason));
    }
    let mut text = String::new();
    match file.reader()?.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(unreadable(&name, error)),
    }
}
