//! The work of the demo: one job a file, followed to its end whatever happens to the agent meanwhile.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use alloy::primitives::B256;
use contracts::ids::AgreementId;
use eyre::{Context as _, bail};
use keeper::{
    job::{JobId, Priority},
    socket::{self, ClientError, RentRequest, Reply, Request, TaskRequest},
    spec::TaskType,
};

use crate::show::Show;

/// Longest rental of the demo, seconds.
const MAX_DURATION_S: u32 = 60;

/// One piece of work.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// File name shown.
    pub label: String,
    /// What is asked.
    pub request: RentRequest,
}

impl Piece {
    /// Kind of its work.
    pub(crate) fn task_type(&self) -> &'static str {
        self.request.tasks.first().map_or("nothing", |task| task.task_type.name())
    }
}

/// A result.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// File name shown.
    pub label: String,
    /// Rental that made it.
    pub rental: AgreementId,
    /// Folder of its files.
    pub folder: PathBuf,
    /// Paths in it, with their hashes.
    pub files: Vec<(String, B256)>,
}

/// The pieces of work in `inputs`; the kind of work follows from the file's name.
pub(crate) fn pieces(inputs: &[PathBuf], results: &Path) -> eyre::Result<Vec<Piece>> {
    inputs.iter().enumerate().map(|(number, input)| piece(number, input, results)).collect()
}

fn piece(number: usize, input: &Path, results: &Path) -> eyre::Result<Piece> {
    let about = std::fs::metadata(input).wrap_err_with(|| format!("input {}: check the path", input.display()))?;
    if !about.is_file() || about.len() == 0 {
        bail!("input {} is no file with content; give text, pictures or tables", input.display());
    }
    let extension = input.extension().map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
    let task_type = match extension.as_str() {
        "md" | "markdown" | "txt" | "text" | "html" | "rst" | "log" => TaskType::TextProcessing,
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "bmp" => TaskType::ImageProcessing,
        "csv" | "tsv" => TaskType::DataAnalysis,
        other => bail!(
            "input {}: no task for '.{other}'; give text (md, txt), pictures (png, jpg, gif, webp, bmp) or tables (csv, tsv)",
            input.display()
        ),
    };
    let label = input.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let inputs = vec![std::path::absolute(input)?];
    let request = RentRequest {
        tasks: vec![TaskRequest { task_type, inputs, parameters: Default::default() }],
        keep_warm_s: 0,
        class: None,
        max_price_per_hour: None,
        // Every other piece is pressing, so that both providers' classes are in demand.
        priority: if number.is_multiple_of(2) { Priority::Normal } else { Priority::High },
        max_duration_s: MAX_DURATION_S,
        out_dir: std::path::absolute(results)?,
    };
    Ok(Piece { label, request })
}

/// Hands a piece of work to the agent; gives its job's number.
pub(crate) async fn hand_in(agent: &Path, piece: &Piece) -> eyre::Result<JobId> {
    let request = Request::Rent(piece.request.clone());
    match socket::ask(agent, &request, |_| ControlFlow::Break(())).await? {
        Reply::Accepted { job } => Ok(job),
        Reply::Error { text } => bail!("{}: {text}", piece.label),
        other => bail!("{}: unexpected reply {other:?}", piece.label),
    }
}

/// Follows a job to its end; an agent that is away is waited for.
pub(crate) async fn follow(agent: PathBuf, job: JobId, label: String, show: Show) -> eyre::Result<Finished> {
    loop {
        match socket::ask(&agent, &Request::Follow { job }, |_| ControlFlow::Continue(())).await {
            Ok(Reply::Finished { rental, folder, files, .. }) => {
                show.line("agent", &format!("has the result of {label} and it holds: {} files", files.len()));
                return Ok(Finished { label, rental, folder, files });
            }
            Ok(Reply::Error { text }) => bail!("{label}: {text}"),
            Ok(other) => bail!("{label}: unexpected reply {other:?}"),
            Err(ClientError::Reply(error)) => bail!("{label}: {error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}
