//! `keeper run`: the daemon.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use keeper::{config::Config, daemon};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::runtime;

/// From the wish to end to the end, even when a part hangs on something that does not answer. With [`LAST`] below the
/// 15 s that an operator may count on.
const END_WITHIN: Duration = Duration::from_secs(10);
/// For what blocks a thread.
const LAST: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(super) struct Run {
    /// Configuration file.
    #[arg(long, env = "KEEPER_CONFIG")]
    config: PathBuf,
    /// Form of the log on stderr; RUST_LOG filters it.
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
    /// The same as --log json.
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogForm {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Run {
    pub(super) fn run(self) -> eyre::Result<ExitCode> {
        log(self.json || self.log == LogForm::Json);
        let config = Config::load(&self.config)?;
        let runtime = runtime()?;
        let ended = runtime.block_on(async {
            let stop = CancellationToken::new();
            stop_on_signal(stop.clone())?;
            let overdue = async {
                stop.cancelled().await;
                tokio::time::sleep(END_WITHIN).await;
            };
            tokio::select! {
                ended = daemon::run(config, stop.clone()) => ended,
                () = overdue => {
                    tracing::warn!("some parts did not end in time; the journal has what they were at");
                    Ok(())
                }
            }
        });
        // A blocking read that hangs on a dead endpoint must not hold the end up: all that counts is in the journal.
        runtime.shutdown_timeout(LAST);
        ended?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Logs to standard error.
pub(super) fn log(json: bool) {
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
        tracing::info!("asked to end; what runs goes on and is adopted at the next start");
        stop.cancel();
    });
    Ok(())
}
