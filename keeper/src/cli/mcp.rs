//! `keeper mcp`: the keeper as tools for agents.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use keeper::mcp::Door;

use super::Client;

#[derive(Args)]
pub(super) struct Mcp {
    #[command(flatten)]
    client: Client,
    /// Folder whose files an agent may hand in: they go to providers' machines.
    #[arg(long, default_value = ".")]
    inputs: PathBuf,
    /// Folder for the results.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

impl Mcp {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let door = Door::new(self.client.data_dir, self.inputs, self.out).map_err(eyre::Report::msg)?;
        door.serve().await.map_err(eyre::Report::msg)?;
        Ok(ExitCode::SUCCESS)
    }
}
