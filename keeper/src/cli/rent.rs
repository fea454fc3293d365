//! `keeper rent`: one task or several, from their files to their results.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use contracts::{classes::HardwareClass, units::Amount};
use eyre::Context as _;
use keeper::{
    job::{JobId, Priority},
    socket::{self, RentRequest, Reply, Request, TaskRequest},
    spec::TaskType,
};

use super::Client;

#[derive(Args)]
pub(super) struct Rent {
    #[command(flatten)]
    client: Client,
    /// Kind of work.
    #[arg(long, required_unless_present_any = ["job", "tasks"])]
    task: Option<TaskType>,
    /// Files to work on.
    #[arg(long, num_args = 1.., required_unless_present_any = ["job", "tasks"])]
    input: Vec<PathBuf>,
    /// Several tasks for one rental, as JSON: [{"task": "text_processing", "inputs": ["a.md"], "parameters": {}}, …].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["task", "input", "parameter"])]
    tasks: Option<PathBuf>,
    /// Keep the rental so long after its last task, such as 5m: jobs that come later and fit begin in it at once. The wait is
    /// paid for.
    #[arg(long, value_parser = humantime::parse_duration)]
    keep_warm: Option<Duration>,
    /// Hardware class; the one that suits the priority, otherwise.
    #[arg(long)]
    class: Option<HardwareClass>,
    /// Highest price, AIT per hour.
    #[arg(long)]
    max_price: Option<Amount>,
    /// How much it matters.
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    priority: Priority,
    /// Longest rental.
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    max_duration: Duration,
    /// Knob of the task type, such as sentences=3.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    parameter: Vec<(String, serde_json::Value)>,
    /// Folder for the results.
    #[arg(long, default_value = "results")]
    out: PathBuf,
    /// Go on following a job taken earlier.
    #[arg(long, conflicts_with_all = ["task", "input", "tasks", "keep_warm"])]
    job: Option<JobId>,
    /// Print replies as JSON lines.
    #[arg(long)]
    json: bool,
}

fn parameter(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}': write NAME=VALUE"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.into(), value))
}

impl Rent {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let rent = self;
        let absolute = |path: &PathBuf| std::path::absolute(path).wrap_err_with(|| path.display().to_string());
        let seconds =
            |name: &str, long: Duration| u32::try_from(long.as_secs()).wrap_err_with(|| format!("{name} is too long"));
        let tasks = match (rent.tasks, rent.task) {
            (Some(file), _) => read_tasks(&file)?,
            (None, Some(task_type)) => {
                let inputs = rent.input.iter().map(absolute).collect::<eyre::Result<_>>()?;
                vec![TaskRequest { task_type, inputs, parameters: rent.parameter.into_iter().collect() }]
            }
            (None, None) => Vec::new(),
        };
        let request = match rent.job {
            Some(job) => Request::Follow { job },
            None => Request::Rent(RentRequest {
                tasks,
                keep_warm_s: seconds("--keep-warm", rent.keep_warm.unwrap_or_default())?,
                class: rent.class,
                max_price_per_hour: rent.max_price,
                priority: rent.priority,
                max_duration_s: seconds("--max-duration", rent.max_duration)?,
                out_dir: absolute(&rent.out)?,
            }),
        };
        let json = rent.json;
        let last = socket::ask(&rent.client.data_dir, &request, |reply| {
            show(reply, json);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(if matches!(last, Reply::Finished { .. }) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Tasks in a file; inputs are relative to it.
fn read_tasks(file: &Path) -> eyre::Result<Vec<TaskRequest>> {
    let text = std::fs::read_to_string(file).wrap_err_with(|| format!("--tasks {}", file.display()))?;
    let mut tasks: Vec<TaskRequest> = serde_json::from_str(&text).wrap_err_with(|| {
        format!(
            "--tasks {}: a list of {{\"task\": …, \"inputs\": […], \"parameters\": {{…}}}} is needed",
            file.display()
        )
    })?;
    let folder = std::path::absolute(file)?;
    let folder = folder.parent().unwrap_or(Path::new("/"));
    for input in tasks.iter_mut().flat_map(|task| &mut task.inputs) {
        *input = folder.join(&*input);
    }
    Ok(tasks)
}

fn show(reply: &Reply, json: bool) {
    if json {
        anstream::println!("{}", serde_json::to_string(reply).unwrap_or_default());
        return;
    }
    match reply {
        Reply::Accepted { job } => anstream::eprintln!("{job} taken"),
        Reply::Progress { text, .. } => anstream::eprintln!("  {text}"),
        Reply::Finished { rental, folder, files, .. } => {
            anstream::eprintln!("done by rental {rental}; results in {}", folder.display());
            for (path, hash) in files {
                anstream::println!("{}  {hash}", folder.join(path).display());
            }
        }
        Reply::Error { text } => anstream::eprintln!("error: {text}"),
        Reply::Document { body } => anstream::println!("{body}"),
        Reply::Ok { text } => anstream::println!("{text}"),
    }
}
