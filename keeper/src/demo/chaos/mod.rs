//! The chaos run: work goes on while keepers are killed, endpoints misbehave, the engine restarts and blocks are taken back;
//! then everything must have ended as it should, to the last token.

mod cast;
mod faults;
mod load;
mod proxy;
mod verdict;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use eyre::{Context as _, ensure};
use keeper::act::containers;

use self::{cast::Cast, faults::Faults, load::Load, proxy::Endpoint};
use crate::{
    report,
    show::Show,
    stage::{Options, PROVIDERS, Stage},
};

/// Time in which all work must have ended once nothing goes wrong any more: a rental's longest life, twice.
const CALM: Duration = Duration::from_secs(300);

/// What a chaos run is given.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChaosArgs {
    /// Decides the faults and their order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes in which things go wrong.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Files to work on, over and over.
    #[arg(long, num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// anvil.
    #[arg(long, default_value = "node_modules/.bin/anvil")]
    anvil: PathBuf,
    /// Static worker binary.
    #[arg(long)]
    worker: PathBuf,
    /// Folder of a private engine (`script/engine start`), which is restarted now and then.
    #[arg(long)]
    engine_dir: PathBuf,
    /// The script that restarts it.
    #[arg(long, default_value = "script/engine")]
    engine_script: PathBuf,
}

/// Runs it; the last line is one JSON object.
///
/// # Errors
/// When something that must hold does not, named one by one.
pub(crate) async fn run(args: ChaosArgs) -> eyre::Result<()> {
    ensure!((0.1..=1_440.0).contains(&args.minutes), "--minutes {}: from 0.1 to 1440", args.minutes);
    let socket = format!("unix://{}", args.engine_dir.join("docker.sock").display());
    ensure!(
        containers::probe(Some(&socket)).await.is_some(),
        "no engine answers at {socket}; start one with script/engine start {}",
        args.engine_dir.display()
    );
    let temporary = tempfile::Builder::new().prefix("openclaw-chaos-").tempdir().wrap_err("temporary folder")?;
    let options = Options {
        anvil: args.anvil.clone(),
        worker: std::path::absolute(&args.worker)?,
        engine: "docker",
        docker_socket: Some(socket),
        data: temporary.path().to_owned(),
    };
    let stage = Stage::set(&options).await?;
    let mut endpoints = std::collections::BTreeMap::new();
    for name in std::iter::once("agent").chain(PROVIDERS.iter().map(|role| role.name)) {
        endpoints.insert(name, Endpoint::open(&stage.rpc).await?);
    }
    stage.write_configs(&options, |name| endpoints[name].url().to_owned())?;
    let show = Show::new(&stage);
    let played = play(&args, &stage, endpoints, &options, &show).await;
    if played.is_err() {
        anstream::eprintln!("the keepers' folders and logs are in {}", temporary.keep().display());
    }
    played
}

async fn play(
    args: &ChaosArgs,
    stage: &Stage,
    endpoints: std::collections::BTreeMap<&'static str, Endpoint>,
    options: &Options,
    show: &Show,
) -> eyre::Result<()> {
    let mut cast = Cast::start(stage, &endpoints, show, args.seed).await?;
    report::await_offers(stage).await?;
    let load = Load::begin(stage, &args.input)?;
    let mut faults = Faults::new(args, stage, endpoints, show);
    faults.happen(&mut cast).await?;
    load.end().await?;
    show.line("chaos", "nothing goes wrong any more; what is under way must end");
    let calm = tokio::time::timeout(CALM, async {
        load::await_jobs(stage).await?;
        report::await_settlement(stage).await
    });
    tokio::select! {
        ended = calm => ended.wrap_err_with(|| format!("work was not over {CALM:?} after the last fault"))??,
        fault = cast.watch() => return Err(fault),
    }
    let memory_mib = cast.resident_mib();
    let wrong = verdict::check(stage, options, &mut cast).await?;
    let mut line = wrong.line;
    if let Some(fields) = line.as_object_mut() {
        fields.insert("seed".into(), args.seed.into());
        fields.insert("minutes".into(), args.minutes.into());
        fields.extend(faults.counted());
        fields.extend(cast.counted());
        fields.insert("resident_mib".into(), memory_mib.into());
        fields.insert("seconds".into(), show.seconds().round().into());
    }
    cast.stop().await;
    anstream::println!("{line}");
    ensure!(wrong.faults.is_empty(), "what must hold does not: {}", wrong.faults.join("; "));
    Ok(())
}
