//! The demo: one agent rents compute from two providers for real work, on a chain of its own, from nothing to money paid.

mod actors;
mod chaos;
mod report;
mod show;
mod stage;
mod work;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand, ValueEnum};
use contracts::ids::AgreementId;
use eyre::{Context as _, ensure};
use keeper::act::containers::{self, Engine, EngineConfig};
use tokio::sync::Mutex;

use crate::{
    actors::Actor,
    chaos::ChaosArgs,
    show::{DIM, Show},
    stage::{Options, PROVIDERS, Stage},
    work::{Finished, follow, hand_in, pieces},
};

#[derive(Parser)]
#[command(about = "Shows an agent renting compute for real work", max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    instead: Option<Instead>,
    #[command(flatten)]
    demo: Option<DemoArgs>,
}

#[derive(Args)]
struct DemoArgs {
    /// End when the work is done and paid; the last line is one JSON object.
    #[arg(long)]
    once: bool,
    /// Files to work on: text (md, txt), pictures (png, jpg, gif, webp, bmp), tables (csv, tsv).
    #[arg(long, num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// Folder under which each run's results get a folder of their own.
    #[arg(long, default_value = "demo-results")]
    out: PathBuf,
    /// What runs the workers.
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto)]
    engine: EngineChoice,
    /// anvil.
    #[arg(long, default_value = "node_modules/.bin/anvil")]
    anvil: PathBuf,
    /// Static worker binary.
    #[arg(long)]
    worker: PathBuf,
    /// Keep the keepers' folders and logs.
    #[arg(long)]
    keep: bool,
}

#[derive(Subcommand)]
enum Instead {
    /// Work under kills, bad endpoints, engine restarts and reorganisations, and a reckoning at the end.
    Chaos(ChaosArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EngineChoice {
    /// Docker or Podman when it answers, else plain processes.
    Auto,
    /// Docker or Podman.
    Docker,
    /// Plain processes: no isolation.
    Process,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Cli::parse() {
        Cli { instead: Some(Instead::Chaos(args)), .. } => chaos::run(args).await,
        Cli { demo: Some(args), .. } => run(args).await,
        // Without a subcommand the parser asks for the demo's own arguments.
        Cli { .. } => Err(eyre::eyre!("nothing to show; see --help")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: DemoArgs) -> eyre::Result<()> {
    let results = stage::results_dir(&cli.out);
    let pieces = pieces(&cli.input, &results)?;
    let socket = match cli.engine {
        EngineChoice::Process => None,
        _ => containers::probe(None).await,
    };
    ensure!(
        socket.is_some() || cli.engine != EngineChoice::Docker,
        "no Docker or Podman answers; start one, or use --engine auto"
    );
    let temporary = tempfile::Builder::new().prefix("openclaw-demo-").tempdir().wrap_err("temporary folder")?;
    let options = Options {
        anvil: cli.anvil.clone(),
        worker: std::path::absolute(&cli.worker)?,
        engine: if socket.is_some() { "docker" } else { "process" },
        docker_socket: socket,
        data: temporary.path().to_owned(),
    };
    anstream::println!("{DIM}setting the stage: a chain, the market, keys and wallets …{DIM:#}");
    let stage = Stage::set(&options).await?;
    stage.write_configs(&options, |_| stage.rpc.clone())?;
    introduce(&stage, &options);
    let show = Show::new(&stage);
    let watcher =
        tokio::spawn(show.clone().follow(stage.chain.clone(), stage.deployment.market, stage.deployment.start_block));
    let mut cast = vec![Actor::start(&stage, "agent").await?];
    for role in &PROVIDERS {
        cast.push(Actor::start(&stage, role.name).await?);
    }
    let cast = Arc::new(Mutex::new(cast));
    let played = tokio::select! {
        played = play(&stage, &cast, &pieces, &show, &options) => played,
        fault = watch(&cast) => Err(fault),
        () = asked_to_end() => Err(eyre::eyre!("stopped before the work was done")),
    };
    if let Err(error) = &played {
        anstream::eprintln!("demo: {error:#}");
    }
    if played.is_ok() && !cli.once {
        anstream::println!("\n  The query API stays up at http://{}/v1/status until Ctrl-C.", stage.api);
        asked_to_end().await;
    }
    watcher.abort();
    if let Ok(cast) = Arc::try_unwrap(cast) {
        for actor in cast.into_inner() {
            actor.stop().await;
        }
    }
    drop(stage);
    if cli.keep || played.is_err() {
        anstream::eprintln!("the keepers' folders and logs are in {}", temporary.keep().display());
    }
    if let (Ok(line), true) = (&played, cli.once) {
        anstream::println!("{line}");
    }
    played.map(|_| ())
}

/// Ends when a keeper has ended by itself.
async fn watch(cast: &Mutex<Vec<Actor>>) -> eyre::Report {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        for actor in cast.lock().await.iter_mut() {
            if let Err(fault) = actor.check() {
                return fault;
            }
        }
    }
}

/// Ctrl-C, or a polite kill.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn introduce(stage: &Stage, options: &Options) {
    let at = &stage.deployment;
    let row = |name: &str, text: String| anstream::println!("  {name:<14}{text}");
    row("chain", format!("anvil at {}, one block a second", stage.rpc));
    row("market", format!("{} {DIM}forwarder {}{DIM:#}", at.market, at.forwarder));
    row("agent", format!("wallet {}, may spend {} a day, asks nobody", stage.wallet, stage::DAILY_LIMIT));
    for role in &PROVIDERS {
        let text = format!("{}, {} slots from {} AIT/h, {} CPU each", role.class, role.slots, role.reserve, role.cpus);
        row(role.name, text);
    }
    row("note", "on one machine the classes differ by CPU quota alone".into());
    match options.engine {
        "docker" => {
            row("engine", "containers: no network, read-only root, no capabilities, memory and pid limits".into())
        }
        _ => row(
            "engine",
            "PLAIN PROCESSES, NOT ISOLATED: no Docker or Podman answers; install one to run workers safely".into(),
        ),
    }
    anstream::println!();
}

async fn play(
    stage: &Stage,
    cast: &Arc<Mutex<Vec<Actor>>>,
    pieces: &[work::Piece],
    show: &Show,
    options: &Options,
) -> eyre::Result<String> {
    let agent = stage.data_dir("agent");
    show.line("chain", "waiting for the providers to list their slots");
    report::await_offers(stage).await?;
    let mut following = Vec::new();
    for piece in pieces {
        let job = hand_in(&agent, piece).await?;
        name_work(stage, cast, job, piece, show).await?;
        show.line("agent", &format!("{job}: {} for {}", piece.task_type(), piece.label));
        following.push(tokio::spawn(follow(agent.clone(), job, piece.label.clone(), show.clone())));
    }
    let mut finished: Vec<Finished> = Vec::new();
    for follower in following {
        finished.push(follower.await??);
    }
    show.line("chain", "all results are here; the challenge windows run out");
    report::await_settlement(stage).await?;
    let left = containers_left(stage, options).await?;
    let line = report::reckon(stage, &cast.lock().await, &finished, options.engine, left, show).await?;
    summarise(&finished, &line);
    Ok(line.to_string())
}

/// Tells the show which file a spec stands for.
async fn name_work(
    stage: &Stage,
    cast: &Arc<Mutex<Vec<Actor>>>,
    job: keeper::job::JobId,
    piece: &work::Piece,
    show: &Show,
) -> eyre::Result<()> {
    let cast = cast.lock().await;
    let agent = cast.iter().find(|actor| actor.data_dir == stage.data_dir("agent"));
    let Some(agent) = agent else { return Ok(()) };
    let status = agent.document(keeper::socket::Request::Status).await?;
    let jobs = status["jobs"].as_array().cloned().unwrap_or_default();
    if let Some(found) = jobs.iter().find(|entry| entry["job"] == job.to_string().as_str()) {
        show.label(serde_json::from_value(found["spec_hash"].clone())?, piece.label.clone());
    }
    Ok(())
}

/// Containers that any of the demo's keepers left on the engine.
async fn containers_left(stage: &Stage, options: &Options) -> eyre::Result<usize> {
    let mut left: Vec<AgreementId> = Vec::new();
    for role in &PROVIDERS {
        let data_dir = stage.data_dir(role.name);
        let owner = std::fs::read_to_string(data_dir.join("node-id"))?.trim().to_owned();
        let config = match options.engine {
            "docker" => EngineConfig::Docker { socket: options.docker_socket.clone(), owner },
            _ => EngineConfig::Process { worker: options.worker.clone(), state_dir: data_dir.join("processes"), owner },
        };
        let engine = Engine::connect(&config).await?;
        left.extend(engine.list(stage.deployment.chain_id).await?.iter().map(|found| found.id.rental));
    }
    Ok(left.len())
}

fn summarise(finished: &[Finished], line: &serde_json::Value) {
    anstream::println!("\n  Results");
    for result in finished {
        anstream::println!("    {} {DIM}{}{DIM:#}", result.label, result.folder.display());
        for (path, hash) in &result.files {
            anstream::println!("      {path:<36} {DIM}{hash}{DIM:#}");
        }
    }
    let amount = |field: &str| {
        let units = line[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        show::short(contracts::units::Amount(units))
    };
    anstream::println!("\n  Money");
    anstream::println!(
        "    the agent spent     {} of {} a day",
        amount("wallet_spent_wei"),
        amount("wallet_limit_wei")
    );
    anstream::println!("    providers earned    {}", amount("provider_earned_wei"));
    anstream::println!("    the market's fee    {}", amount("fee_wei"));
    anstream::println!("    still in escrow     {}", amount("escrow_held_wei"));
    let equal =
        if line["index_equals_chain"] == true { "equals the chain, row by row" } else { "DIFFERS from the chain" };
    anstream::println!("\n  The index {equal}.\n");
}
