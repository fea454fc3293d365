//! `keeper reap`: the second kill clock. It knows nothing but the engine and the deadlines on its containers' labels, so it
//! works when the keeper is dead, its data folder lost or its chain gone. Run it by a timer.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use eyre::OptionExt as _;

use crate::{
    act::containers::{Engine, EngineConfig},
    clock::now_s,
    config::EngineKind,
    daemon::known_node_id,
};

/// What `keeper reap` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ReapArgs {
    /// Leave what is past its deadline for so long: a keeper that is alive ends and collects it by itself.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// What runs the workers.
    #[arg(long, value_enum, default_value_t)]
    pub engine: EngineKind,
    /// The engine's socket (unix:///path); DOCKER_HOST or the usual places, otherwise.
    #[arg(long)]
    pub docker_socket: Option<String>,
    /// Folder of the processes, `processes` in the keeper's data folder.
    #[arg(long, required_if_eq("engine", "process"))]
    pub state_dir: Option<PathBuf>,
    /// Only workers of the keeper with this data folder: other nodes on the same engine have a timer of their own.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}

/// Ends and removes every worker, of any keeper or of the one that is named, whose deadline and grace have passed, and prints
/// each. The exit code is 1 when one could not be removed.
///
/// # Errors
/// When the engine does not answer, or the data folder has no node's name.
pub async fn run(args: ReapArgs) -> eyre::Result<ExitCode> {
    let only = args.data_dir.as_deref().map(known_node_id).transpose()?;
    let engine = match args.engine {
        EngineKind::Docker => {
            // Nothing is started in this name.
            let owner = only.clone().unwrap_or_default();
            Engine::connect(&EngineConfig::Docker { socket: args.docker_socket, owner }).await?
        }
        EngineKind::Process => {
            let folder =
                args.state_dir.ok_or_eyre("--state-dir names no folder; give `processes` in the data folder")?;
            Engine::processes_in(&folder)
        }
    };
    let now = now_s();
    let due_s = now.saturating_sub(args.grace.as_secs());
    let (reaped, failure) = engine.reap_late(only.as_deref(), due_s).await?;
    for gone in &reaped {
        let late_s = now.saturating_sub(gone.deadline_unix_s);
        anstream::println!("{} removed, {late_s} s past its deadline", gone.name);
    }
    match failure {
        None => {
            anstream::println!("{} removed; nothing else is past its deadline", reaped.len());
            Ok(ExitCode::SUCCESS)
        }
        Some(error) => {
            anstream::eprintln!("{} removed; something else stays: {error}; run this again", reaped.len());
            Ok(ExitCode::FAILURE)
        }
    }
}
