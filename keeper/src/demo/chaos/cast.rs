//! The keepers of a chaos run: killed at random, or by themselves at a chosen write of their journal, and brought back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use keeper::crash::WRITES;
use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use super::proxy::Endpoint;
use crate::{
    actors::{Actor, READY_WITHIN},
    show::Show,
    stage::{PROVIDERS, Stage},
};

/// Journal writes that an agent never makes, and a provider never makes.
const NOT_OF_AGENTS: [&str; 2] = ["attempt", "result"];
const NOT_OF_PROVIDERS: [&str; 2] = ["job", "job-ended"];

/// One keeper.
#[derive(Debug)]
struct Player {
    actor: Actor,
    /// Where it will die by itself, if anywhere.
    crash_at: Option<String>,
    /// When a dead one comes back.
    back: Option<Instant>,
    started: Instant,
    endpoint: Endpoint,
    /// Points it has not died at yet, the next one last.
    open: Vec<String>,
}

/// All keepers.
#[derive(Debug)]
pub(crate) struct Cast {
    players: Vec<Player>,
    show: Show,
    kills: u32,
    /// Starts that ended because the endpoint failed; a supervisor starts such a keeper again.
    failed_starts: u32,
    /// Deaths at journal writes, by keeper.
    reached: BTreeSet<(&'static str, String)>,
}

impl Cast {
    /// Starts everybody.
    ///
    /// # Errors
    /// When one does not answer.
    pub(crate) async fn start(
        stage: &Stage,
        endpoints: &BTreeMap<&'static str, Endpoint>,
        show: &Show,
    ) -> eyre::Result<Self> {
        let mut players = Vec::new();
        for name in std::iter::once("agent").chain(PROVIDERS.iter().map(|role| role.name)) {
            let actor = Actor::start(stage, name).await?;
            let (started, endpoint) = (Instant::now(), endpoints[name].clone());
            players.push(Player { actor, crash_at: None, back: None, started, endpoint, open: points(name) });
        }
        Ok(Self { players, show: show.clone(), kills: 0, failed_starts: 0, reached: BTreeSet::new() })
    }

    /// Kills one of those present; nobody is killed when all are away.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub(crate) async fn kill_one(&mut self, random: &mut StdRng) -> eyre::Result<()> {
        let present: Vec<usize> = (0..self.players.len()).filter(|&i| self.players[i].back.is_none()).collect();
        if present.is_empty() {
            return Ok(());
        }
        let player = &mut self.players[present[random.gen_range(0..present.len())]];
        // One that is about to die by itself may be dead already.
        if player.actor.has_ended()? {
            return Ok(());
        }
        player.actor.crash().await?;
        self.kills += 1;
        let away = absence(random);
        player.back = Some(Instant::now() + away);
        let text = format!("{} killed, back in {:.1} s", player.actor.name, away.as_secs_f64());
        self.show.line("chaos", &text);
        Ok(())
    }

    /// Notices who has died and brings back whose time has come, three in four with a place to die at.
    ///
    /// # Errors
    /// When a keeper ended that was not told to.
    pub(crate) fn tend(&mut self, random: &mut StdRng) -> eyre::Result<()> {
        for player in &mut self.players {
            let name = player.actor.name;
            match player.back {
                Some(back) if Instant::now() >= back => {
                    player.back = None;
                    player.crash_at = match player.open.pop() {
                        Some(point) if random.gen_ratio(3, 4) => {
                            // To the end of the line: it is gone once it was reached.
                            player.open.insert(0, point.clone());
                            Some(format!("{point}:{}", random.gen_range(1..=2)))
                        }
                        Some(point) => {
                            player.open.push(point);
                            None
                        }
                        None => None,
                    };
                    player.started = Instant::now();
                    player.actor.come_back(player.crash_at.as_deref())?;
                }
                Some(_) => {}
                // It says so and ends when its chain cannot be read at the start.
                None if player.actor.has_ended()?
                    && player.endpoint.failed_since(player.started)
                    && !player.actor.was_ready()? =>
                {
                    self.failed_starts += 1;
                    player.back = Some(Instant::now() + Duration::from_secs(1));
                }
                None => match player.crash_at.clone() {
                    Some(crash_at) if player.actor.has_ended()? => {
                        self.kills += 1;
                        let point = crash_at.split(':').next().unwrap_or_default().to_owned();
                        player.open.retain(|open| *open != point);
                        self.reached.insert((name, point.clone()));
                        let away = absence(random);
                        player.back = Some(Instant::now() + away);
                        self.show
                            .line("chaos", &format!("{name} died at {point}, back in {:.1} s", away.as_secs_f64()));
                    }
                    Some(_) => {}
                    None => player.actor.check()?,
                },
            }
        }
        Ok(())
    }

    /// Brings everybody back, to stay.
    ///
    /// # Errors
    /// When one does not answer.
    pub(crate) async fn all_back(&mut self) -> eyre::Result<()> {
        for player in &mut self.players {
            player.endpoint.behave();
            // One that may still die by itself is replaced.
            if player.crash_at.take().is_some() && player.back.is_none() {
                if !player.actor.has_ended()? {
                    player.actor.crash().await?;
                }
                self.kills += 1;
                player.back = Some(Instant::now());
            }
            if player.back.take().is_some() || (player.actor.has_ended()? && !player.actor.was_ready()?) {
                player.actor.come_back(None)?;
            }
            player.actor.ready(READY_WITHIN).await?;
        }
        Ok(())
    }

    /// Ends when a keeper has ended by itself.
    pub(crate) async fn watch(&mut self) -> eyre::Report {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            for player in &mut self.players {
                if let Err(fault) = player.actor.check() {
                    return fault;
                }
            }
        }
    }

    /// The keepers' processes.
    pub(crate) fn actors(&self) -> impl Iterator<Item = &Actor> {
        self.players.iter().map(|player| &player.actor)
    }

    /// The most memory that one of them holds now, MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        self.actors().filter_map(Actor::resident_mib).max().unwrap_or_default()
    }

    /// What happened to them.
    pub(crate) fn counted(&self) -> BTreeMap<String, Value> {
        let open: BTreeMap<_, _> = self.players.iter().map(|player| (player.actor.name, &player.open)).collect();
        let open = json!(open);
        let counted = [
            ("kills", json!(self.kills)),
            ("kills_at_writes", json!(self.reached.len())),
            ("failed_starts", json!(self.failed_starts)),
            ("not_reached", open),
        ];
        counted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Asks all to end.
    pub(crate) async fn stop(self) {
        for player in self.players {
            player.actor.stop().await;
        }
    }
}

fn absence(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.gen_range(100..3_000))
}

/// Where a keeper of this name can die.
fn points(name: &str) -> Vec<String> {
    let never: &[&str] = if name == "agent" { &NOT_OF_AGENTS } else { &NOT_OF_PROVIDERS };
    WRITES
        .iter()
        .filter(|write| !never.contains(write))
        .flat_map(|write| [format!("{write}.before"), format!("{write}.after")])
        .collect()
}
