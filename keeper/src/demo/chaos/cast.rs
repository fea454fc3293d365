//! The keepers of a chaos run: killed at random, or by themselves at a chosen write of their journal, and brought back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use keeper::crash::WRITES;
use rand::{Rng, SeedableRng, rngs::StdRng};
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

impl Player {
    /// It is gone for a while, which is told.
    fn go_away(&mut self, random: &mut StdRng) -> String {
        let away = Duration::from_millis(random.gen_range(100..3_000));
        self.back = Some(Instant::now() + away);
        format!("{:.1} s", away.as_secs_f64())
    }

    /// Where it will die by itself, if anywhere: the point at the end of the line, which goes to its front.
    fn next_death(&mut self, random: &mut StdRng) -> Option<String> {
        if self.open.is_empty() || !random.gen_ratio(3, 4) {
            return None;
        }
        self.open.rotate_right(1);
        Some(format!("{}:{}", self.open[0], random.gen_range(1..=2)))
    }

    /// Whether it ended because its chain could not be read at the start, as it says: a supervisor would start it again.
    fn failed_to_start(&mut self) -> eyre::Result<bool> {
        Ok(self.actor.has_ended()? && self.endpoint.failed_since(self.started) && !self.actor.was_ready()?)
    }
}

/// All keepers.
#[derive(Debug)]
pub(crate) struct Cast {
    players: Vec<Player>,
    show: Show,
    /// Of its own: how often it is drawn from depends on when keepers die.
    random: StdRng,
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
        seed: u64,
    ) -> eyre::Result<Self> {
        let mut players = Vec::new();
        for name in std::iter::once("agent").chain(PROVIDERS.iter().map(|role| role.name)) {
            let actor = Actor::start(stage, name).await?;
            let (started, endpoint) = (Instant::now(), endpoints[name].clone());
            players.push(Player { actor, crash_at: None, back: None, started, endpoint, open: points(name) });
        }
        let random = StdRng::seed_from_u64(seed.wrapping_add(1));
        Ok(Self { players, show: show.clone(), random, kills: 0, failed_starts: 0, reached: BTreeSet::new() })
    }

    /// Kills one of those present; nobody is killed when all are away.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub(crate) async fn kill_one(&mut self) -> eyre::Result<()> {
        let present: Vec<usize> = (0..self.players.len()).filter(|&i| self.players[i].back.is_none()).collect();
        if present.is_empty() {
            return Ok(());
        }
        let player = &mut self.players[present[self.random.gen_range(0..present.len())]];
        // One that is about to die by itself may be dead already.
        if player.actor.has_ended()? {
            return Ok(());
        }
        player.actor.crash().await?;
        self.kills += 1;
        let away = player.go_away(&mut self.random);
        self.show.line("chaos", &format!("{} killed, back in {away}", player.actor.name));
        Ok(())
    }

    /// Notices who has died and brings back whose time has come, three in four with a place to die at.
    ///
    /// # Errors
    /// When a keeper ended that was not told to.
    pub(crate) fn tend(&mut self) -> eyre::Result<()> {
        for player in &mut self.players {
            if let Some(back) = player.back {
                if Instant::now() >= back {
                    player.back = None;
                    player.crash_at = player.next_death(&mut self.random);
                    player.started = Instant::now();
                    player.actor.come_back(player.crash_at.as_deref())?;
                }
            } else if player.failed_to_start()? {
                self.failed_starts += 1;
                player.back = Some(Instant::now() + Duration::from_secs(1));
            } else if let Some(crash_at) = &player.crash_at {
                if player.actor.was_killed()? {
                    self.kills += 1;
                    let point = crash_at.split(':').next().unwrap_or_default().to_owned();
                    player.open.retain(|open| *open != point);
                    let away = player.go_away(&mut self.random);
                    self.show.line("chaos", &format!("{} died at {point}, back in {away}", player.actor.name));
                    self.reached.insert((player.actor.name, point));
                }
            } else {
                player.actor.check()?;
            }
        }
        Ok(())
    }

    /// Brings everybody back, to stay.
    ///
    /// # Errors
    /// When one does not answer, or ended that was not told to.
    pub(crate) async fn all_back(&mut self) -> eyre::Result<()> {
        for player in &mut self.players {
            player.endpoint.behave();
            let mut away = player.back.take().is_some() || player.failed_to_start()?;
            // One that may still die by itself is replaced.
            if player.crash_at.take().is_some() && !away {
                if !player.actor.was_killed()? {
                    player.actor.crash().await?;
                }
                self.kills += 1;
                away = true;
            }
            if away {
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

/// Where a keeper of this name can die.
fn points(name: &str) -> Vec<String> {
    let never: &[&str] = if name == "agent" { &NOT_OF_AGENTS } else { &NOT_OF_PROVIDERS };
    WRITES
        .iter()
        .filter(|write| !never.contains(write))
        .flat_map(|write| [format!("{write}.before"), format!("{write}.after")])
        .collect()
}
