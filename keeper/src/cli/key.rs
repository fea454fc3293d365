//! `keeper new-key`: a key in an encrypted keystore.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use eyre::bail;
use keeper::keys;

#[derive(Args)]
pub(super) struct NewKey {
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    /// Environment variable that holds the password.
    #[arg(long, default_value = "KEEPER_PASSWORD")]
    password_env: String,
}

impl NewKey {
    pub(super) fn run(self) -> eyre::Result<ExitCode> {
        let variable = &self.password_env;
        let password = std::env::var(variable).unwrap_or_default();
        if password.is_empty() {
            bail!("environment variable {variable} holds no password; set it, or name another with --password-env");
        }
        let key = keys::create(&self.out, &password)?;
        anstream::println!("{}", key.address());
        Ok(ExitCode::SUCCESS)
    }
}
