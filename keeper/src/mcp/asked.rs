//! What the tools take. Unknown fields are refused, so that a model that misspells a limit learns it.

use std::path::Path;

use contracts::{classes::HardwareClass, units::Amount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{Inputs, Kept};
use crate::{
    job::Priority,
    socket::{QuoteRequest, RentRequest, TaskRequest},
    spec::{MAX_KEEP_WARM_S, TaskType},
};

/// Longest rental there is, seconds.
const MAX_DURATION_S: u32 = 86_400;

/// Hardware class.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Class {
    CpuOnly,
    LowEndGpu,
    MidRangeGpu,
    HighEndGpu,
    PremiumGpu,
}

/// How much it matters: what is urgent is bid for higher and given up sooner.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Importance {
    Urgent,
    Critical,
    High,
    #[default]
    Normal,
    Low,
}

/// Kind of work.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Markdown or plain text to clean text, HTML, statistics and an extractive summary.
    TextProcessing,
    /// A picture to a thumbnail, another format and facts about its colours.
    ImageProcessing,
    /// CSV to a profile of its columns.
    DataAnalysis,
    /// Rows of numbers or texts (CSV, JSON lines) to the predictions of a network: its weights (.safetensors) and its
    /// architecture (.json) are inputs too.
    ModelInference,
}

/// A rental to price.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuoteAsked {
    /// Hardware class; the one that suits the priority, if absent.
    class: Option<Class>,
    /// Highest price, AIT per hour, such as "0.05".
    max_price_per_hour: Option<String>,
    /// How much it matters.
    #[serde(default)]
    priority: Importance,
    /// Longest rental, seconds.
    #[serde(default = "default_duration_s")]
    #[schemars(range(min = 1, max = 86_400))]
    max_duration_s: u32,
}

/// One task to rent for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RentAsked {
    /// Kind of work.
    task: Task,
    /// Files to work on, relative to the folder that the server was started for.
    #[serde(default)]
    #[schemars(length(max = 16))]
    inputs: Vec<String>,
    /// Texts to work on, in place of files or beside them.
    #[serde(default)]
    #[schemars(length(max = 16))]
    texts: Vec<InlineText>,
    /// Knobs of the task, such as {"sentences": 3} for text_processing.
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
    /// Hardware class; the one that suits the priority, if absent.
    class: Option<Class>,
    /// Highest price, AIT per hour, such as "0.05".
    max_price_per_hour: Option<String>,
    /// How much it matters.
    #[serde(default)]
    priority: Importance,
    /// Longest rental, seconds.
    #[serde(default = "default_duration_s")]
    #[schemars(range(min = 1, max = 86_400))]
    max_duration_s: u32,
    /// Keep the rental so long after the task, seconds: tasks rented for later that fit into the rest of its time begin in it
    /// at once, without a bid. The wait is paid for.
    #[serde(default)]
    #[schemars(range(max = 3_600))]
    keep_warm_s: u32,
    /// Wait so many seconds for the result; after 0, ask `results` later.
    #[serde(default)]
    #[schemars(range(max = 600))]
    pub(super) wait_s: u64,
}

/// A text to work on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InlineText {
    /// File name, such as "notes.md".
    pub(super) name: String,
    /// The text.
    pub(super) text: String,
}

/// A job to look at.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultsAsked {
    /// Its number, such as "job-3".
    pub(super) job: String,
    /// Wait so many seconds for its end.
    #[serde(default)]
    #[schemars(range(max = 600))]
    pub(super) wait_s: u64,
}

/// A job.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobAsked {
    /// Its number, such as "job-3".
    pub(super) job: String,
}

impl QuoteAsked {
    pub(super) fn request(self) -> Result<QuoteRequest, String> {
        Ok(QuoteRequest {
            class: self.class.map(Into::into),
            max_price_per_hour: price(self.max_price_per_hour)?,
            priority: self.priority.into(),
            max_duration_s: duration(self.max_duration_s)?,
        })
    }
}

impl RentAsked {
    /// The request, and what must be kept until it is taken.
    pub(super) fn request(self, inputs: &Inputs, out_dir: &Path) -> Result<(RentRequest, Kept), String> {
        let (paths, kept) = inputs.admit(&self.inputs, &self.texts)?;
        if self.keep_warm_s > MAX_KEEP_WARM_S {
            return Err(format!("keep_warm_s = {}; use 0 to {MAX_KEEP_WARM_S}", self.keep_warm_s));
        }
        let task = TaskRequest { task_type: self.task.into(), inputs: paths, parameters: self.parameters };
        let request = RentRequest {
            tasks: vec![task],
            keep_warm_s: self.keep_warm_s,
            class: self.class.map(Into::into),
            max_price_per_hour: price(self.max_price_per_hour)?,
            priority: self.priority.into(),
            max_duration_s: duration(self.max_duration_s)?,
            out_dir: out_dir.to_owned(),
        };
        Ok((request, kept))
    }
}

fn price(text: Option<String>) -> Result<Option<Amount>, String> {
    text.map(|text| text.parse().map_err(|error| format!("max_price_per_hour: {error}"))).transpose()
}

fn default_duration_s() -> u32 {
    120
}

fn duration(seconds: u32) -> Result<u32, String> {
    match (1..=MAX_DURATION_S).contains(&seconds) {
        true => Ok(seconds),
        false => Err(format!("max_duration_s = {seconds}; use 1 to {MAX_DURATION_S}")),
    }
}

impl From<Class> for HardwareClass {
    fn from(class: Class) -> Self {
        match class {
            Class::CpuOnly => Self::CpuOnly,
            Class::LowEndGpu => Self::LowEndGpu,
            Class::MidRangeGpu => Self::MidRangeGpu,
            Class::HighEndGpu => Self::HighEndGpu,
            Class::PremiumGpu => Self::PremiumGpu,
        }
    }
}

impl From<Importance> for Priority {
    fn from(importance: Importance) -> Self {
        match importance {
            Importance::Urgent => Self::Urgent,
            Importance::Critical => Self::Critical,
            Importance::High => Self::High,
            Importance::Normal => Self::Normal,
            Importance::Low => Self::Low,
        }
    }
}

impl From<Task> for TaskType {
    fn from(task: Task) -> Self {
        match task {
            Task::TextProcessing => Self::TextProcessing,
            Task::ImageProcessing => Self::ImageProcessing,
            Task::DataAnalysis => Self::DataAnalysis,
            Task::ModelInference => Self::ModelInference,
        }
    }
}
