//! The program `keeper`: a daemon and its clients.

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use contracts::{classes::HardwareClass, units::Amount};
use eyre::{Context as _, bail};
use keeper::{
    config::Config,
    daemon,
    job::{JobId, Priority},
    keys,
    socket::{self, RentRequest, Reply, Request},
    spec::TaskType,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Rents compute for agents, sells it for node operators.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Run {
        /// Configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Log as JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Rent for one task and bring its result.
    Rent(Rent),
    /// Show where everything stands, as JSON.
    Status(Client),
    /// Show the newest intents, as JSON.
    Journal {
        #[command(flatten)]
        client: Client,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// No new bids and matches; what runs goes on.
    Pause(Client),
    /// Bids and matches again.
    Resume(Client),
    /// End the daemon; containers go on and are adopted at the next start.
    Stop(Client),
    /// End workers of any keeper that are past their deadlines; works when the keepers are dead.
    Reap(keeper::reap::ReapArgs),
    /// Make a new key in an encrypted keystore.
    NewKey {
        /// File to write.
        #[arg(long)]
        out: PathBuf,
        /// Environment variable that holds the password.
        #[arg(long, default_value = "KEEPER_PASSWORD")]
        password_env: String,
    },
    /// Show what the keeper works with.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Show the market's clocks and margins of a preset, as JSON.
    Show {
        /// demo or l2.
        #[arg(long, default_value = "l2")]
        preset: contracts::params::Preset,
    },
}

#[derive(Args)]
struct Client {
    /// Data folder of the running keeper.
    #[arg(long, env = "KEEPER_DATA_DIR")]
    data_dir: PathBuf,
}

#[derive(Args)]
struct Rent {
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

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!(
                "{}error:{} {error:#}",
                anstyle::AnsiColor::Red.on_default().bold().render(),
                anstyle::Reset.render()
            );
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> eyre::Result<ExitCode> {
    match cli.command {
        Command::Run { config, json } => {
            log(json);
            let config = Config::load(&config)?;
            runtime()?.block_on(async {
                let stop = CancellationToken::new();
                stop_on_signal(stop.clone())?;
                daemon::run(config, stop).await
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rent(rent) => runtime()?.block_on(run_rent(rent)),
        Command::Status(client) => ask(client, Request::Status),
        Command::Journal { client, limit } => ask(client, Request::Journal { limit }),
        Command::Pause(client) => ask(client, Request::Pause),
        Command::Resume(client) => ask(client, Request::Resume),
        Command::Stop(client) => ask(client, Request::Stop),
        Command::Reap(args) => {
            log(false);
            runtime()?.block_on(keeper::reap::run(args))
        }
        Command::NewKey { out, password_env } => {
            let Ok(password) = std::env::var(&password_env) else {
                bail!(
                    "environment variable {password_env} holds no password; set it, or name another with --password-env"
                );
            };
            let key = keys::create(&out, &password)?;
            anstream::println!("{}", key.address());
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Show { preset }) => {
            anstream::println!("{}", serde_json::to_string_pretty(&preset.params())?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn ask(client: Client, request: Request) -> eyre::Result<ExitCode> {
    match runtime()?.block_on(socket::ask(&client.data_dir, &request, |_| ControlFlow::Continue(())))? {
        Reply::Document { body } => anstream::println!("{}", serde_json::to_string_pretty(&body)?),
        Reply::Ok { text } => anstream::println!("{text}"),
        Reply::Error { text } => bail!(text),
        other => bail!("unexpected reply {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_rent(rent: Rent) -> eyre::Result<ExitCode> {
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

fn runtime() -> eyre::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().wrap_err("starting the runtime")
}

fn log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { builder.json().init() } else { builder.with_target(false).init() }
}

fn stop_on_signal(stop: CancellationToken) -> eyre::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.cancel();
    });
    Ok(())
}
