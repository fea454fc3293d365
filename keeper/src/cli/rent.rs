//! `keeper rent`: one task, from its files to its result.

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use contracts::{classes::HardwareClass, units::Amount};
use eyre::{Context as _, bail};
use keeper::{
    job::{JobId, Priority},
    socket::{self, RentRequest, Reply, Request},
    spec::TaskType,
};

use super::Client;

#[derive(Args)]
pub(super) struct Rent {
    #[command(flatten)]
    client: Client,
    /// Kind of work.
    #[arg(long, required_unless_present = "job")]
    task: Option<TaskType>,
    /// Files to work on.
    #[arg(long, num_args = 1.., required_unless_present = "job")]
    input: Vec<PathBuf>,
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
    #[arg(long, conflicts_with_all = ["task", "input"])]
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
        let request = match (rent.job, rent.task) {
            (Some(job), _) => Request::Follow { job },
            (None, Some(task_type)) => Request::Rent(RentRequest {
                task_type,
                inputs: rent.input.iter().map(absolute).collect::<eyre::Result<_>>()?,
                parameters: rent.parameter.into_iter().collect(),
                class: rent.class,
                max_price_per_hour: rent.max_price,
                priority: rent.priority,
                max_duration_s: u32::try_from(rent.max_duration.as_secs()).wrap_err("--max-duration is too long")?,
                out_dir: absolute(&rent.out)?,
            }),
            (None, None) => bail!("give --task and --input, or --job"),
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
