//! `keeper offer`: what a provider's keeper sells.

mod post;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use contracts::units::Amount;
use eyre::bail;
use keeper::socket::{Order, Question, Request};

use super::{Client, amount, date, print_json, speed, table::Table, text};

#[derive(Subcommand)]
pub(super) enum Offer {
    /// Post one by hand, for a node that names its offers. Prints its number.
    Post(post::Post),
    /// This provider's offers, closed ones too.
    List(List),
    /// Change the lowest price of an offer, or how long it stands.
    Update(Update),
    /// Run the class's benchmark as a rental would be, and publish how fast this node is. Takes some seconds; best while
    /// nothing else runs.
    Measure(Measure),
    /// End an offer: its free bonds come back, rentals that hold a slot go on. Pauses a keeper that would post another.
    Close(Close),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    client: Client,
    /// As JSON; amounts are token units.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Update {
    /// Its number.
    offer: u64,
    #[command(flatten)]
    client: Client,
    /// Lowest price, AIT per hour.
    #[arg(long)]
    reserve_per_hour: Option<Amount>,
    /// Let it stand for so long from now.
    #[arg(long, value_parser = humantime::parse_duration)]
    valid_for: Option<Duration>,
}

#[derive(Args)]
pub(super) struct Close {
    /// Its number.
    offer: u64,
    #[command(flatten)]
    client: Client,
}

#[derive(Args)]
pub(super) struct Measure {
    #[command(flatten)]
    client: Client,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Offer {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::Post(post) => post.run().await,
            Self::List(list) => list.run().await,
            Self::Update(Update { reserve_per_hour: None, valid_for: None, .. }) => {
                bail!("nothing to change: give --reserve-per-hour or --valid-for")
            }
            Self::Update(update) => {
                let order = Order::UpdateOffer {
                    offer: update.offer,
                    reserve_per_hour: update.reserve_per_hour,
                    valid_for_s: update.valid_for.map(|valid| valid.as_secs()),
                };
                update.client.order(order).await
            }
            Self::Measure(Measure { client, json }) => {
                let body = client.document(Request::Measure).await?;
                if json {
                    return print_json(&body);
                }
                anstream::println!("{}: {}", text(&body["class"]), speed(&body));
                Ok(ExitCode::SUCCESS)
            }
            Self::Close(close) => close.client.order(Order::CloseOffer { offer: close.offer }).await,
        }
    }
}

impl List {
    async fn run(self) -> eyre::Result<ExitCode> {
        let body = self.client.show(Question::Offers).await?;
        if self.json {
            return print_json(&body);
        }
        let mut table = Table::new(&[
            "OFFER",
            "NODE",
            "STATE",
            "CLASS",
            "IN USE",
            "FROM, PER HOUR",
            "BOND PER SLOT",
            "VALID UNTIL",
        ]);
        for offer in body["offers"].as_array().into_iter().flatten() {
            table.row([
                text(&offer["offer"]),
                if offer["this_node"] == true { "this" } else { "another" }.into(),
                if offer["open"] == true { "open" } else { "closed" }.into(),
                text(&offer["class"]),
                format!("{} of {}", text(&offer["used"]), text(&offer["slots"])),
                amount(&offer["reserve_per_hour"]).to_string(),
                amount(&offer["bond_per_slot"]).to_string(),
                date(offer["valid_until_s"].as_u64().unwrap_or_default()),
            ]);
        }
        table.print("none yet");
        anstream::println!("speed: {}", speed(&body["score"]));
        Ok(ExitCode::SUCCESS)
    }
}
