//! `keeper journal`: what the keeper set out to do.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use eyre::{OptionExt as _, bail};
use keeper::{
    clock::now_s,
    journal::State,
    socket::{Order, Question, Request},
};
use serde_json::Value;

use super::{Client, print_json, span, table::Table, text};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Journal {
    #[command(subcommand)]
    command: Option<JournalCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// The newest intents, newest first; the same as without a subcommand.
    List(List),
    /// One intent with all that is known of it, as JSON.
    Show(One),
    /// Try a failed intent at once instead of later, if the keeper still wants it.
    Retry(One),
    /// Never try a failed intent again, until `retry`.
    Abandon(One),
}

#[derive(Args)]
struct List {
    /// Data folder of the running keeper.
    #[arg(long, env = "KEEPER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// How many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only those in this state: planned, signed, included, done or failed.
    #[arg(long)]
    state: Option<String>,
    /// As columns for people instead of JSON.
    #[arg(long)]
    table: bool,
}

#[derive(Args)]
struct One {
    /// The intent's key, as `keeper journal list` shows it.
    key: String,
    #[command(flatten)]
    client: Client,
}

impl Journal {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self.command {
            None => self.list.run().await,
            Some(JournalCommand::List(list)) => list.run().await,
            Some(JournalCommand::Show(one)) => print_json(&one.client.show(Question::Record { key: one.key }).await?),
            Some(JournalCommand::Retry(one)) => one.client.order(Order::Retry { key: one.key }).await,
            Some(JournalCommand::Abandon(one)) => one.client.order(Order::Abandon { key: one.key }).await,
        }
    }
}

impl List {
    async fn run(self) -> eyre::Result<ExitCode> {
        if let Some(state) = &self.state
            && !State::NAMES.contains(&state.as_str())
        {
            bail!("'{state}' is no state of an intent: use one of {}", State::NAMES.join(", "));
        }
        let data_dir = self.data_dir.ok_or_eyre("name the keeper's data folder with --data-dir or KEEPER_DATA_DIR")?;
        // The keeper's own bound; the states are sorted out here.
        let asked = if self.state.is_some() { usize::MAX } else { self.limit };
        let body = Client { data_dir }.document(Request::Journal { limit: asked }).await?;
        let wanted =
            |record: &&Value| self.state.as_ref().is_none_or(|state| record["state"]["state"] == state.as_str());
        let records: Vec<_> = body.as_array().into_iter().flatten().filter(wanted).take(self.limit).cloned().collect();
        if !self.table {
            return print_json(&records.into());
        }
        let mut table = Table::new(&["KEY", "STATE", "TRY", "AGE", "WHY, OR WHAT WENT WRONG"]);
        for record in &records {
            let state = &record["state"];
            let said = if state["error"].is_string() { text(&state["error"]) } else { text(&record["why"]) };
            table.row([
                text(&record["key"]),
                text(&state["state"]),
                text(&record["attempt"]),
                span(now_s().saturating_sub(record["at_s"].as_u64().unwrap_or_default())),
                said,
            ]);
        }
        table.print("the journal has none");
        Ok(ExitCode::SUCCESS)
    }
}
