//! `keeper status`: what is running, earned, spent, and stuck and why.

use std::process::ExitCode;

use clap::Args;
use contracts::units::Amount;
use keeper::{clock::now_s, socket::Request};
use serde_json::Value;

use super::{
    Client, amount, date, print_json, span, speed,
    table::{Table, print_facts},
    text,
};

/// Jobs shown to people; `--json` has more.
const JOBS_SHOWN: usize = 20;

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    client: Client,
    /// As JSON; amounts are token units.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let body = self.client.document(Request::Status).await?;
        if self.json {
            return print_json(&body);
        }
        keeper_line(&body);
        agent(&body["agent"]);
        provider(&body["provider"]);
        rentals(&body["rentals"]);
        jobs(&body["jobs"]);
        stuck(&body["stuck"]);
        Ok(ExitCode::SUCCESS)
    }
}

fn keeper_line(body: &Value) {
    let state = if body["paused"] == true { "paused" } else { "working" };
    let up = span(body["up_s"].as_u64().unwrap_or_default());
    anstream::println!("keeper {} is {state}, up {up}", text(&body["version"]));
    let block = match body["block"].as_u64() {
        None => "no block read yet".to_owned(),
        Some(block) => {
            let age = span(body["block_age_s"].as_u64().unwrap_or_default());
            format!("block {block}, {age} old, {} blocks behind the chain", text(&body["lag_blocks"]))
        }
    };
    let gas = text(&body["gas_wei"]).parse().unwrap_or_default();
    print_facts(&[
        ("chain", format!("{} ({})", text(&body["chain_id"]), text(&body["preset"]))),
        ("index", block),
        ("gas", format!("{} of gas coin, as far as the journal reaches back", coins(gas))),
    ]);
}

fn agent(agent: &Value) {
    if agent.is_null() {
        return;
    }
    anstream::println!("\nagent");
    let mut facts = vec![("wallet", text(&agent["wallet"])), ("session key", text(&agent["session_key"]))];
    if agent["daily_limit"].is_string() {
        let (spent, reserved) = (amount(&agent["spent_24h"]), amount(&agent["reserved"]));
        facts.push(("spent", format!("{} in all, {spent} in 24 h", amount(&agent["spent"]))));
        facts.push(("reserved", reserved.to_string()));
        facts.push(("daily limit", amount(&agent["daily_limit"]).to_string()));
        facts.push(("key's credit", amount(&agent["credit"]).to_string()));
    }
    if agent["wallet_paused"] == true {
        facts.push(("paused", "by its owner: `keeper wallet resume`".into()));
    }
    if agent["key_alive"] == false {
        facts.push(("key is dead", "revoked or expired: `keeper wallet authorise` revives it".into()));
    }
    print_facts(&facts);
    let speeds = agent["speeds"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !speeds.is_empty() {
        anstream::println!("\nspeeds of providers, 1 being what their class should reach");
        let mut table = Table::new(&["PROVIDER", "CLASS", "SPEED", "KNOWN BY", "AVOIDED"]);
        for speed in speeds {
            table.row([
                text(&speed["provider"]),
                text(&speed["class"]),
                format!("{:.2}", speed["speed"].as_f64().unwrap_or_default()),
                text(&speed["known_by"]),
                if speed["avoided"] == true { "yes" } else { "no" }.into(),
            ]);
        }
        table.print("none");
    }
}

fn provider(provider: &Value) {
    if provider.is_null() {
        return;
    }
    anstream::println!("\nprovider");
    let mut facts = vec![
        ("address", text(&provider["address"])),
        ("acts by", text(&provider["account"])),
        ("endpoint", text(&provider["endpoint"])),
        (
            "sells",
            format!(
                "{}, {} of {} slots in use, from {} per hour, on {}",
                text(&provider["class"]),
                text(&provider["slots_used"]),
                text(&provider["slots"]),
                amount(&provider["reserve_per_hour"]),
                text(&provider["engine"]),
            ),
        ),
        (
            "earned",
            format!(
                "{} by {} rentals, of which {} wait to be pulled",
                amount(&provider["earned"]),
                text(&provider["settled"]),
                amount(&provider["credit"]),
            ),
        ),
    ];
    facts.push(("speed", speed(&provider["score"])));
    let slashed = amount(&provider["slashed"]);
    if slashed > Amount::ZERO {
        facts.push(("lost", format!("bonds of {slashed}, {} rentals failed", text(&provider["failed"]))));
    }
    print_facts(&facts);
}

fn rentals(rentals: &Value) {
    anstream::println!("\nbids and rentals");
    let mut table = Table::new(&["RENTAL", "SIDE", "STATUS", "CLASS", "ESCROW", "UNTIL"]);
    for rental in rentals.as_array().into_iter().flatten() {
        table.row([
            text(&rental["rental"]),
            text(&rental["side"]),
            text(&rental["status"]),
            text(&rental["class"]),
            amount(&rental["escrow"]).to_string(),
            rental["until_s"].as_u64().map_or_else(|| "-".into(), until),
        ]);
    }
    table.print("none is live");
}

fn jobs(jobs: &Value) {
    let jobs = jobs.as_array().map(Vec::as_slice).unwrap_or_default();
    if jobs.is_empty() {
        return;
    }
    anstream::println!("\njobs");
    let mut table = Table::new(&["JOB", "TASK", "STATE", "WHERE IT STANDS"]);
    for job in jobs.iter().take(JOBS_SHOWN) {
        let outcome = &job["outcome"];
        let (state, standing) = match outcome["state"].as_str().unwrap_or_default() {
            "finished" => ("finished", format!("results in {}", text(&job["folder"]))),
            "failed" => ("failed", text(&outcome["reason"])),
            "cancelled" => ("cancelled", "called off".into()),
            _ => ("active", text(&job["progress"])),
        };
        table.row([text(&job["job"]), text(&job["task"]), state.into(), standing]);
    }
    table.print("none");
    if jobs.len() > JOBS_SHOWN {
        anstream::println!("  and {} older ones: --json", jobs.len() - JOBS_SHOWN);
    }
}

fn stuck(stuck: &Value) {
    let stuck = stuck.as_array().map(Vec::as_slice).unwrap_or_default();
    if stuck.is_empty() {
        anstream::println!("\nnothing is stuck");
        return;
    }
    anstream::println!("\nstuck");
    for entry in stuck {
        anstream::println!("  {}: {}\n    {}", text(&entry["what"]), text(&entry["why"]), text(&entry["remedy"]));
    }
}

/// A moment and how far it is.
fn until(unix_s: u64) -> String {
    let now = now_s();
    match unix_s.checked_sub(now) {
        Some(left) => format!("{} (in {})", date(unix_s), span(left)),
        None => format!("{} ({} ago)", date(unix_s), span(now - unix_s)),
    }
}

/// Wei of the chain's coin as whole coins.
fn coins(wei: alloy::primitives::U256) -> String {
    let text = alloy::primitives::utils::format_ether(wei);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".into() } else { text.into() }
}
