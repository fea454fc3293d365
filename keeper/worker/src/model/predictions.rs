//! Predictions as lines, and what they are together.
//!
//! Outputs are written as the shortest decimal that gives their 32-bit number.

use serde::{Deserialize, Serialize, Serializer};

use super::{
    architecture::{Input, Output},
    network::Network,
    rows::{Batch, Faults},
};
use crate::failure::Failure;

/// A probability counts as a yes from here on.
const YES: f32 = 0.5;

/// How predictions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// `row`, `id` if asked for, `class` for a softmax, and a column for each output.
    Csv,
    /// The same as an object a line, with the outputs in an object of their own.
    Jsonl,
}

/// Writes lines and remembers what the summary needs.
pub(crate) struct Sheet<'a> {
    form: Form,
    with_id: bool,
    network: &'a Network,
    totals: Vec<Total>,
}

/// Of one output.
#[derive(Clone)]
struct Total {
    rows: u64,
    min: f32,
    max: f32,
    sum: f64,
}

/// The content of `<stem>.summary.json`.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_note: Option<String>,
    model: &'a [String],
    input: &'static str,
    output: Output,
    /// Numbers of all tensors together.
    parameters: usize,
    rows: u64,
    outputs: Vec<OutputSummary<'a>>,
}

#[derive(Serialize)]
struct OutputSummary<'a> {
    name: &'a str,
    /// Rows of this class; for a sigmoid, those with a probability of 0.5 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    min: f32,
    mean: f64,
    max: f32,
}

/// A prediction as JSON.
#[derive(Serialize)]
struct Line<'a> {
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(serialize_with = "as_object")]
    outputs: Vec<(&'a String, f32)>,
}

impl Form {
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Jsonl => "application/jsonl",
        }
    }
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(form: Form, id: Option<&str>, network: &'a Network) -> Self {
        let total = Total { rows: 0, min: f32::INFINITY, max: f32::NEG_INFINITY, sum: 0.0 };
        let totals = vec![total; network.architecture.outputs.len()];
        Self { form, with_id: id.is_some(), network, totals }
    }

    /// What comes before the first line.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(crate) fn head(&self) -> Result<Vec<u8>, Failure> {
        let mut lines = csv::Writer::from_writer(Vec::new());
        if self.form == Form::Csv {
            let names = self.network.architecture.outputs.iter().map(String::as_str);
            let id = self.with_id.then_some("id");
            let class = self.has_classes().then_some("class");
            lines.write_record(std::iter::once("row").chain(id).chain(class).chain(names)).map_err(defect)?;
        }
        lines.into_inner().map_err(defect)
    }

    /// One line for each row of the batch. A row for which the network has no finite number is noted as a fault.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(crate) fn lines(
        &mut self,
        batch: &Batch,
        judged: &[Vec<f64>],
        faults: &mut Faults,
    ) -> Result<Vec<u8>, Failure> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let mut lines = Vec::new();
        for (index, (row, outputs)) in batch.numbers.iter().zip(judged).enumerate() {
            // What is too large for 32 bits becomes infinite here.
            let outputs: Vec<f32> = outputs.iter().map(|output| *output as f32).collect();
            let names = &self.network.architecture.outputs;
            if let Some(at) = outputs.iter().position(|output| !output.is_finite()) {
                let (name, found) = (&names[at], outputs[at]);
                faults.note(*row, &format!("output {name:?} is {found}: the row's values are too large for the model"));
                continue;
            }
            let class = self.count(&outputs).map(|class| names[class].as_str());
            let id = batch.ids.get(index).map(String::as_str);
            match self.form {
                Form::Csv => {
                    let fields = std::iter::once(row.to_string()).chain(id.map(str::to_owned));
                    let fields = fields.chain(class.map(str::to_owned));
                    let outputs = outputs.iter().map(|output| format!("{output:?}"));
                    table.write_record(fields.chain(outputs)).map_err(defect)?;
                }
                Form::Jsonl => {
                    let line = Line { row: *row, id, class, outputs: names.iter().zip(outputs).collect() };
                    serde_json::to_writer(&mut lines, &line).map_err(defect)?;
                    lines.push(b'\n');
                }
            }
        }
        match self.form {
            Form::Csv => table.into_inner().map_err(defect),
            Form::Jsonl => Ok(lines),
        }
    }

    /// What the summary says after the last line.
    pub(crate) fn summary(
        &'a self,
        name: &'a str,
        model: &'a [String],
        rows: u64,
        encoding_note: Option<String>,
    ) -> Summary<'a> {
        let architecture = &self.network.architecture;
        let outputs = architecture.outputs.iter().zip(&self.totals).map(|(name, total)| OutputSummary {
            name,
            rows: (architecture.output != Output::Linear).then_some(total.rows),
            min: total.min,
            mean: total.sum / rows as f64,
            max: total.max,
        });
        Summary {
            name,
            encoding_note,
            model,
            input: match architecture.input {
                Input::Table(_) => "table",
                Input::Text(_) => "text",
            },
            output: architecture.output,
            parameters: architecture.parameters(),
            rows,
            outputs: outputs.collect(),
        }
    }

    /// Adds a row to the totals and gives its class, the first of equals.
    fn count(&mut self, outputs: &[f32]) -> Option<usize> {
        for (total, output) in self.totals.iter_mut().zip(outputs) {
            total.min = total.min.min(*output);
            total.max = total.max.max(*output);
            total.sum += f64::from(*output);
            total.rows += u64::from(self.network.architecture.output == Output::Sigmoid && *output >= YES);
        }
        if !self.has_classes() {
            return None;
        }
        let class =
            outputs.iter().enumerate().fold(0, |best, (at, output)| if *output > outputs[best] { at } else { best });
        self.totals[class].rows += 1;
        Some(class)
    }

    fn has_classes(&self) -> bool {
        self.network.architecture.output == Output::Softmax
    }
}

fn as_object<S: Serializer>(outputs: &[(&String, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(outputs.iter().copied())
}

fn defect(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(error.to_string())
}
