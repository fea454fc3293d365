//! The architecture of a network, as its JSON document describes it.
//!
//! ```json
//! {
//!   "version": 1,
//!   "input": { "table": { "columns": ["lines", "bytes"], "normalise": true } },
//!   "layers": [{ "name": "0", "size": 16, "activation": "relu" }, { "name": "2", "size": 2 }],
//!   "output": "softmax",
//!   "outputs": ["Rust", "Solidity"]
//! }
//! ```
//!
//! Tensors are named as PyTorch names them: a layer has `<name>.weight` of shape `[size, size before]` and, unless
//! `"bias": false`, `<name>.bias` of shape `[size]`; a layer without a name is called `layers.<number>`, from 0.
//!
//! Of a table, `columns` are the network's inputs, in their order. With `normalise`, each is lessened by `input.mean`
//! and divided by `input.std`, both of shape `[columns]`.
//!
//! Of a text, `"input": { "text": { "column": "text", "ngrams": { "shortest": 2, "longest": 4 }, "buckets": 4096,
//! "size": 16, "lower_case": true } }`: the mean of the rows of `embedding.weight`, of shape `[buckets, size]`, that
//! the text's character n-grams fall upon. Runs of white space become one blank, one blank is put before and one after
//! the text; an n-gram's row is the FNV-1a hash (64 bits) of its UTF-8 bytes modulo `buckets`. With `lower_case`, the
//! text is put in lower case first, as Unicode does without regard to language.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The one version of the document that this worker reads.
const VERSION: u32 = 1;

pub(crate) const MAX_LAYERS: usize = 64;
/// Neurons of a layer, or numbers of an embedding.
pub(crate) const MAX_SIZE: usize = 16_384;
pub(crate) const MAX_COLUMNS: usize = 4_096;
pub(crate) const MAX_BUCKETS: usize = 1 << 20;
/// Characters of an n-gram.
const MAX_NGRAM: usize = 8;
/// Numbers of all tensors together: 64 MiB as they are held in memory.
pub(crate) const MAX_PARAMETERS: usize = 16 << 20;
const MAX_NAME_BYTES: usize = 120;

/// What predictions have beside their outputs.
const RESERVED: [&str; 3] = ["row", "id", "class"];

/// A description that was checked: no size in it is out of bounds, and the sizes together are not either.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Architecture {
    version: u32,
    pub(crate) input: Input,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output: Output,
    /// Names of the last layer's neurons.
    pub(crate) outputs: Vec<String>,
}

/// What the first layer sees of a row.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    Table(Table),
    Text(Text),
}

/// Columns of numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    #[serde(default)]
    pub(crate) normalise: bool,
}

/// A bag of hashed character n-grams.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    pub(crate) column: String,
    pub(crate) ngrams: Ngrams,
    pub(crate) buckets: usize,
    pub(crate) size: usize,
    #[serde(default)]
    pub(crate) lower_case: bool,
}

/// Lengths of the n-grams in characters, inclusive.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ngrams {
    pub(crate) shortest: usize,
    pub(crate) longest: usize,
}

/// One fully connected layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    #[serde(default)]
    name: Option<String>,
    pub(crate) size: usize,
    #[serde(default)]
    pub(crate) activation: Activation,
    #[serde(default = "yes")]
    pub(crate) bias: bool,
}

/// What a neuron makes of its sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activation {
    #[default]
    None,
    Relu,
    /// With the error function, as Hendrycks and Gimpel (2016) define it.
    Gelu,
    /// Their approximation with the hyperbolic tangent.
    GeluTanh,
    Tanh,
}

/// What the last layer's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Output {
    /// One class of several: probabilities that add up to one.
    Softmax,
    /// Each output is a probability of its own.
    Sigmoid,
    /// Numbers as they are.
    Linear,
}

impl Architecture {
    /// Reads and checks a document that comes from `name`.
    ///
    /// # Errors
    /// [`Failure::BadInput`].
    pub(crate) fn checked(json: &str, name: &str) -> Result<Self, Failure> {
        let architecture: Self = serde_json::from_str(json)
            .map_err(|error| Failure::bad(name, format!("is not an architecture: {error}")))?;
        match architecture.fault() {
            Some(reason) => Err(Failure::bad(name, reason)),
            None => Ok(architecture),
        }
    }

    /// The name of a layer's tensors, without `.weight` and `.bias`.
    pub(crate) fn layer_name(&self, index: usize) -> String {
        match self.layers.get(index).and_then(|layer| layer.name.as_deref()) {
            Some(name) => name.to_owned(),
            None => format!("layers.{index}"),
        }
    }

    /// Numbers that the first layer sees.
    pub(crate) fn input_size(&self) -> usize {
        match &self.input {
            Input::Table(table) => table.columns.len(),
            Input::Text(text) => text.size,
        }
    }

    /// Numbers of all tensors together. It cannot overflow: all sizes were checked.
    pub(crate) fn parameters(&self) -> usize {
        let input = match &self.input {
            Input::Table(table) => 2 * table.columns.len() * usize::from(table.normalise),
            Input::Text(text) => text.buckets * text.size,
        };
        let sizes = std::iter::once(self.input_size()).chain(self.layers.iter().map(|layer| layer.size));
        let layers = sizes.zip(&self.layers).map(|(before, layer)| layer.size * (before + usize::from(layer.bias)));
        input + layers.sum::<usize>()
    }

    fn fault(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("has version {}; this worker reads version {VERSION}", self.version));
        }
        let layers = self.layers.len();
        let sizes = || self.layers.iter().map(|layer| layer.size).enumerate();
        let input = match &self.input {
            Input::Table(table) => table.fault(),
            Input::Text(text) => text.fault(),
        };
        if input.is_some() {
            return input;
        }
        if layers == 0 || layers > MAX_LAYERS {
            return Some(format!("has {layers} layers; a network has 1 to {MAX_LAYERS}"));
        }
        if let Some((index, size)) = sizes().find(|(_, size)| !(1..=MAX_SIZE).contains(size)) {
            return Some(format!("layer {index} has size {size}; it must be 1 to {MAX_SIZE}"));
        }
        let last = self.layers[layers - 1].size;
        if self.outputs.len() != last {
            let named = self.outputs.len();
            return Some(format!("names {named} outputs, but the last layer has size {last}: name each of them"));
        }
        if self.output == Output::Softmax && last < 2 {
            return Some("output softmax needs at least 2 outputs; use sigmoid for a single one".to_owned());
        }
        let names: Vec<String> = (0..layers).map(|index| self.layer_name(index)).collect();
        if let Some(name) = self.outputs.iter().find(|name| RESERVED.contains(&name.as_str())) {
            return Some(format!("output name {name:?} is a column of all predictions: choose another one"));
        }
        unusable(&names, "layer").or_else(|| unusable(&self.outputs, "output")).or_else(|| {
            let parameters = self.parameters();
            (parameters > MAX_PARAMETERS)
                .then(|| format!("has {parameters} parameters; this worker takes at most {MAX_PARAMETERS}"))
        })
    }
}

impl Table {
    fn fault(&self) -> Option<String> {
        let columns = self.columns.len();
        if columns == 0 || columns > MAX_COLUMNS {
            return Some(format!("has {columns} input columns; it must have 1 to {MAX_COLUMNS}"));
        }
        unusable(&self.columns, "column")
    }
}

impl Text {
    fn fault(&self) -> Option<String> {
        let Ngrams { shortest, longest } = self.ngrams;
        if shortest == 0 || shortest > longest || longest > MAX_NGRAM {
            return Some(format!("has n-grams of {shortest} to {longest}; the lengths must be 1 to {MAX_NGRAM}"));
        }
        if !(1..=MAX_BUCKETS).contains(&self.buckets) {
            return Some(format!("has {} buckets; it must have 1 to {MAX_BUCKETS}", self.buckets));
        }
        if !(1..=MAX_SIZE).contains(&self.size) {
            return Some(format!("has embeddings of size {}; it must be 1 to {MAX_SIZE}", self.size));
        }
        unusable(std::slice::from_ref(&self.column), "column")
    }
}

/// A name that is empty, too long, or there twice.
fn unusable(names: &[String], what: &str) -> Option<String> {
    let mut seen = HashSet::new();
    names.iter().find_map(|name| {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            Some(format!("{what} name {name:?} has {} bytes; it must have 1 to {MAX_NAME_BYTES}", name.len()))
        } else {
            (!seen.insert(name)).then(|| format!("{what} name {name:?} is there twice"))
        }
    })
}

const fn yes() -> bool {
    true
}
