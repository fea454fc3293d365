//! `keeper cancel`: calls a job off.

use std::process::ExitCode;

use clap::Args;
use keeper::{job::JobId, socket::Order};

use super::Client;

#[derive(Args)]
pub(super) struct Cancel {
    /// The job, as `keeper status` shows it.
    job: JobId,
    #[command(flatten)]
    client: Client,
}

impl Cancel {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        self.client.order(Order::Cancel { job: self.job }).await
    }
}
