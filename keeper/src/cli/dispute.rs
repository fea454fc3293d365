//! `keeper dispute`: for owners and the arbiter. Lists come from a query API (a keeper's with an `[api]` table, or
//! `indexer run`); a ruling is the arbiter's own transaction.

use std::{process::ExitCode, time::Duration};

use alloy::{primitives::Address, sol_types::SolCall};
use clap::{Args, Subcommand};
use contracts::{
    bindings::{IAIPowerRental as Market, Status},
    ids::AgreementId,
    price,
    units::Amount,
};
use eyre::{Context as _, OptionExt as _, bail};
use reqwest::Url;
use serde_json::Value;

use super::{
    amount, date,
    owner::{OwnerArgs, units},
    print_json,
    table::{Table, print_facts},
    text,
};

/// Pages read of one list.
const PAGES: usize = 100;
/// An answer is awaited for so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

#[derive(Subcommand)]
pub(super) enum Dispute {
    /// Open disputes, newest rental first.
    List(List),
    /// One dispute with all that the chain knows of it.
    Show(Show),
    /// Rule, as the arbiter: what the provider is paid, and what its bond loses.
    Rule(Rule),
}

#[derive(Args)]
struct Api {
    /// Query API.
    #[arg(long, env = "KEEPER_API", default_value = "http://127.0.0.1:8080")]
    api: Url,
    /// As JSON; amounts are token units.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    api: Api,
    /// Those of this wallet alone.
    #[arg(long)]
    wallet: Option<Address>,
    /// Those of this provider alone.
    #[arg(long)]
    provider: Option<Address>,
    /// Settled ones instead of open ones.
    #[arg(long)]
    resolved: bool,
}

#[derive(Args)]
pub(super) struct Show {
    /// The rental.
    rental: AgreementId,
    #[command(flatten)]
    api: Api,
}

#[derive(Args)]
pub(super) struct Rule {
    /// The rental.
    rental: AgreementId,
    #[command(flatten)]
    owner: OwnerArgs,
    /// What the provider is paid, fee included, AIT: from 0 to the escrow.
    #[arg(long, value_name = "AIT")]
    pay: Amount,
    /// What its bond loses, AIT: from 0 to the slot's bond.
    #[arg(long, value_name = "AIT")]
    slash: Amount,
}

impl Dispute {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Rule(rule) => rule.run().await,
        }
    }
}

impl Api {
    async fn get(&self, path: &str, query: &[(&str, String)]) -> eyre::Result<Value> {
        let mut url = self.api.join(path).wrap_err_with(|| format!("--api {} is no base of a URL", self.api))?;
        url.query_pairs_mut().extend_pairs(query);
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let none = || {
            format!(
                "no query API answers at {}; name one with --api (a keeper's [api].listen, or `indexer run`)",
                self.api
            )
        };
        let response = client.get(url).send().await.wrap_err_with(none)?;
        let status = response.status();
        let body: Value = response.json().await.wrap_err_with(none)?;
        if !status.is_success() {
            bail!("the query API refuses: {}", text(&body["detail"]));
        }
        Ok(body)
    }
}

impl List {
    async fn run(self) -> eyre::Result<ExitCode> {
        let status = if self.resolved { "resolved" } else { "disputed" };
        let mut query = vec![("status", status.to_owned()), ("limit", "200".to_owned())];
        query.extend(self.wallet.map(|wallet| ("wallet", wallet.to_string())));
        query.extend(self.provider.map(|provider| ("provider", provider.to_string())));
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let mut asked = query.clone();
            asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page = self.api.get("/v1/rentals", &asked).await?;
            found.extend(page["items"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        if self.api.json {
            return print_json(&found.into());
        }
        let mut table = Table::new(&["RENTAL", "PROVIDER", "ESCROW", "CLAIMED", "DEPOSIT", "DEFAULT RULING AT"]);
        for rental in &found {
            table.row([
                text(&rental["id"]),
                text(&rental["matched"]["provider"]),
                amount(&rental["escrow"]).to_string(),
                claimed(rental).map_or_else(|| "-".into(), |claimed| claimed.to_string()),
                amount(&rental["dispute"]["deposit"]).to_string(),
                date(rental["dispute"]["timeout_s"].as_u64().unwrap_or_default()),
            ]);
        }
        table.print(&format!("none is {status}"));
        if cursor.is_some() {
            anstream::println!("  and more; narrow it with --wallet or --provider");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    async fn run(self) -> eyre::Result<ExitCode> {
        let body = self.api.get(&format!("/v1/rentals/{}", self.rental), &[]).await?;
        let rental = &body["data"];
        if self.api.json {
            return print_json(rental);
        }
        let dispute = &rental["dispute"];
        if dispute.is_null() {
            bail!("rental {} is {} and was never disputed", self.rental, text(&rental["status"]));
        }
        let submitted = &rental["submitted"];
        anstream::println!("rental {} is {}", self.rental, text(&rental["status"]));
        let mut facts = vec![
            ("class", text(&rental["class"])),
            ("wallet", text(&rental["wallet"])),
            ("provider", text(&rental["matched"]["provider"])),
            ("spec", text(&rental["spec_hash"])),
            ("started for", text(&rental["started"]["spec_hash"])),
            ("result", text(&submitted["result_hash"])),
            ("receipts", text(&submitted["receipt_root"])),
            ("escrow", amount(&rental["escrow"]).to_string()),
            ("claimed", format!("{} for {} s", claimed(rental).unwrap_or_default(), text(&submitted["billable_s"]))),
            ("filed by", text(&dispute["initiator"])),
            ("reason", format!("SHA-256 {}", text(&dispute["reason_hash"]))),
            ("deposit", amount(&dispute["deposit"]).to_string()),
        ];
        match dispute["ruled_pay"].is_null() {
            true => facts.push(("default ruling", date(dispute["timeout_s"].as_u64().unwrap_or_default()))),
            false => facts.push((
                "ruled",
                format!(
                    "pay {}, slash {}{}",
                    amount(&dispute["ruled_pay"]),
                    amount(&dispute["ruled_slash"]),
                    if dispute["timed_out"] == true { ", by default" } else { "" }
                ),
            )),
        }
        print_facts(&facts);
        Ok(ExitCode::SUCCESS)
    }
}

/// What the provider billed, fee included.
fn claimed(rental: &Value) -> Option<Amount> {
    let price = rental["price"].as_str()?.parse().ok()?;
    let seconds = u32::try_from(rental["submitted"]["billable_s"].as_u64()?).ok()?;
    price::cost_of(price, seconds).map(Amount)
}

impl Rule {
    async fn run(self) -> eyre::Result<ExitCode> {
        let owner = self.owner.open().await?;
        let at = owner.chain.config.chain.market;
        let market = Market::new(at, &owner.chain.provider);
        let arbiter = market.config().call().await.wrap_err("reading the market's arbiter")?.arbiter;
        if arbiter != owner.address() {
            bail!("the market's arbiter is {arbiter}, but the key is {}; only the arbiter rules", owner.address());
        }
        let reading = "reading the rental";
        let rental = market.agreement(self.rental.into()).call().await.wrap_err(reading)?;
        match rental.status {
            Status::Disputed => {}
            Status::None => bail!("there is no rental {}; `keeper dispute list` shows the open disputes", self.rental),
            other => bail!("rental {} is {}, not disputed", self.rental, indexer::rows::status_name(other)),
        }
        let offer = market.offer(rental.offerId).call().await.wrap_err("reading the offer")?;
        let price =
            market.priceOf(self.rental.class(), self.rental.tick()).call().await.wrap_err("reading the price")?;
        let escrow =
            price::cost_of(price, rental.maxDuration.to::<u32>()).map(Amount).ok_or_eyre("the escrow is too large")?;
        let bond = Amount::from(offer.bondPerSlot);
        if self.pay > escrow {
            bail!("--pay {} is more than the escrow, {escrow}", self.pay);
        }
        if self.slash > bond {
            bail!("--slash {} is more than the slot's bond, {bond}", self.slash);
        }
        let data = Market::resolveCall {
            agreementId: self.rental.into(),
            pay: units(self.pay, "--pay")?,
            slash: units(self.slash, "--slash")?,
        };
        if owner.send(at, data.abi_encode(), "ruling").await?.is_some() {
            anstream::println!(
                "rental {}: {} of {escrow} go to the provider's side, {} of its bond is lost",
                self.rental,
                self.pay,
                self.slash
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
