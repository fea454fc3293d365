//! `keeper config`: what the keeper works with.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use contracts::params::Preset;
use keeper::config::{self, check::Finding};

use super::{print_json, runtime};

#[derive(Subcommand)]
pub(super) enum Config {
    /// Parse a configuration, then look whether the world is as it says; ends with 1 if anything is not.
    Check(Check),
    /// Show a configuration as the keeper understands it, without secrets, or a preset's clocks and margins, as JSON.
    Show(Show),
}

#[derive(Args)]
pub(super) struct Check {
    /// Configuration file.
    #[arg(env = "KEEPER_CONFIG")]
    file: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Show {
    /// Configuration file; without one, the preset alone is shown.
    #[arg(long, env = "KEEPER_CONFIG")]
    config: Option<PathBuf>,
    /// demo or l2.
    #[arg(long)]
    preset: Option<Preset>,
}

impl Config {
    pub(super) fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run(),
            Self::Show(Show { config: Some(file), preset: None }) => {
                print_json(&config::show::document(&config::Config::load_for_client(&file)?))
            }
            Self::Show(Show { preset, .. }) => {
                print_json(&serde_json::to_value(preset.unwrap_or(Preset::L2).params())?)
            }
        }
    }
}

impl Check {
    fn run(self) -> eyre::Result<ExitCode> {
        let config = config::Config::load(&self.file)?;
        let findings = runtime()?.block_on(config::check::check(&config));
        let all_good = findings.iter().all(|finding| finding.good);
        if self.json {
            print_json(&serde_json::to_value(&findings)?)?;
        } else {
            show(&findings);
            let bad = findings.iter().filter(|finding| !finding.good).count();
            match bad {
                0 => anstream::println!("\n{}: a keeper can run with it", self.file.display()),
                _ => anstream::println!("\n{}: {bad} to mend", self.file.display()),
            }
        }
        Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.field.len()).max().unwrap_or_default();
    for Finding { field, good, text } in findings {
        let (mark, colour) = if *good { ('✓', anstyle::AnsiColor::Green) } else { ('✗', anstyle::AnsiColor::Red) };
        let style = colour.on_default();
        anstream::println!("{style}{mark}{style:#} {field:<width$}  {text}");
    }
}
