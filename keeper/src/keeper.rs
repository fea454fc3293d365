//! The one loop: events in, intents out. It owns all state; everything slow happens elsewhere and comes back as an event.
//!
//! Parts: `dispatch` (intents to relays and errands, and what comes back) · `answer` (the socket's clients, jobs) · `status`
//! and `show` (documents for them) · `orders` (what an operator has done) · `reconcile` (containers that no rental wants) ·
//! `speed` (how fast nodes are) · `tidy` (what else nobody needs any more).

mod answer;
mod dispatch;
mod orders;
mod reconcile;
mod show;
mod speed;
mod status;
mod tidy;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::Address;
use contracts::{ids::AgreementId, params::Params, units::Amount};
use indexer::Index;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use self::speed::Gauge;
use crate::{
    act::errands::{Courier, Workshop},
    clock::now_s,
    config::{Config, StrategyConfig},
    event::Event,
    job::{Job, JobId, JobState},
    journal::{Journal, JournalError, Record, State, WorkResult},
    ledger::Ledger,
    market::{MarketView, Viewer},
    metrics::{Counters, Source},
    purse::Purse,
    roles::{self, Wish, provider::Delivery},
    seller::Seller,
    socket::Reply,
    speeds::Speeds,
};

/// The market is looked at at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Stored inputs and journal entries that nobody needs are dropped this often.
const TIDY_EVERY_S: u64 = 60;
/// Errands of an agent at once.
const COURIERS: usize = 32;
/// Data of a rental is served for so long after its end, seconds.
pub const GRACE_S: u64 = 3_600;

/// The agent's side of a keeper.
#[derive(Debug)]
pub struct AgentSide {
    /// Wallet.
    pub wallet: Address,
    /// Session key.
    pub key: Address,
    /// Accounts that pay for gas.
    pub relayers: Vec<Address>,
    /// Pricing.
    pub strategy: StrategyConfig,
    /// Deals with providers.
    pub courier: Courier,
    /// Knows what it can pay.
    pub purse: Purse,
    /// Sends its transactions.
    pub relay: mpsc::Sender<Record>,
}

/// The provider's side of a keeper.
#[derive(Debug)]
pub struct ProviderSide {
    /// Whose node it is.
    pub seller: Seller,
    /// Where this node serves blobs.
    pub endpoint: String,
    /// Runs workers.
    pub workshop: Workshop,
    /// Sends its transactions.
    pub relay: mpsc::Sender<Record>,
    /// Arrivals.
    pub deliveries: HashMap<AgreementId, Delivery>,
    /// Results that are not submitted yet, or lately were.
    pub results: HashMap<AgreementId, WorkResult>,
    /// How fast this node is.
    pub gauge: Gauge,
}

/// The keeper.
pub struct Keeper {
    config: Config,
    params: Params,
    index: Index,
    journal: Journal,
    ledger: Ledger,
    jobs: BTreeMap<JobId, Job>,
    followers: HashMap<JobId, Vec<mpsc::Sender<Reply>>>,
    said: HashMap<JobId, String>,
    agent: Option<AgentSide>,
    provider: Option<ProviderSide>,
    errands: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    paused: bool,
    counters: Counters,
    /// Keys of the intents wished at the last look.
    wanted: HashSet<String>,
    started_s: u64,
    tidied_s: u64,
    reconciler: reconcile::Reconciler,
    speeds: Speeds,
    asker: speed::Asker,
    stop: CancellationToken,
}

/// A fault that ends the keeper: what it knows and what is on disk may differ.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] indexer::IndexError),
    /// A hand failed; the text names it.
    #[error("{0}")]
    Fault(String),
}

impl Keeper {
    /// Joins the parts; the journal says where an earlier run stopped.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(
        config: Config,
        index: Index,
        journal: Journal,
        agent: Option<AgentSide>,
        provider: Option<ProviderSide>,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<Self, KeeperError> {
        let params = config.chain.preset.params();
        let ledger = Ledger::new(journal.records()?);
        let speeds = Speeds::new(journal.speeds()?);
        let jobs = journal.jobs()?.into_iter().map(|job| (job.id, job)).collect();
        let paused = orders::is_paused(&config.data_dir);
        if paused {
            info!("still paused, as before the restart; `keeper resume` goes on");
        }
        let counters = Counters::default();
        counters.set_paused(paused);
        let places = provider.as_ref().map_or(0, |_| config.provider.as_ref().map_or(0, |own| usize::from(own.slots)));
        Ok(Self {
            config,
            params,
            index,
            journal,
            ledger,
            jobs,
            followers: HashMap::new(),
            said: HashMap::new(),
            agent,
            provider,
            errands: Arc::new(Semaphore::new(COURIERS + places)),
            events,
            paused,
            counters,
            wanted: HashSet::new(),
            started_s: now_s(),
            tidied_s: 0,
            reconciler: Default::default(),
            speeds,
            asker: Default::default(),
            stop,
        })
    }

    /// Where its metrics come from.
    pub fn metrics_source(&self) -> Source {
        Source {
            index: self.index.clone(),
            journal: self.journal.clone(),
            counters: self.counters.clone(),
            data_dir: self.config.data_dir.clone(),
            agent: self.agent.as_ref().map(|agent| (agent.wallet, agent.key)),
            provider: self.provider.as_ref().map(|own| (own.seller.clone(), own.workshop.engine.clone())),
            chain_id: self.config.chain.chain_id,
            started_s: self.started_s,
        }
    }

    /// Runs until it is stopped or a fault ends it.
    ///
    /// # Errors
    /// [`KeeperError`] when journal or index fail.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), KeeperError> {
        self.go_on()?;
        let mut heads = self.index.subscribe();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        let stop = self.stop.clone();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = inbox.recv() => match event {
                    Some(event) => event,
                    None => return Ok(()),
                },
                changed = heads.changed() => match changed {
                    Ok(()) => Event::Look,
                    Err(_) => return Ok(()),
                },
                _ = tick.tick() => Event::Look,
            };
            self.handle(event).await?;
        }
    }

    /// What an earlier run planned and never signed, or was doing off the chain, is done now. Signed transactions are the
    /// relays' first work.
    fn go_on(&mut self) -> Result<(), KeeperError> {
        for (key, record) in self.journal.records()? {
            if record.state == State::Planned {
                info!(%key, "going on after a restart");
                self.dispatch(record)?;
            }
        }
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> Result<(), KeeperError> {
        match event {
            Event::Look => {}
            Event::Blob(arrived) => self.arrived(arrived).await,
            Event::Acted(outcome) => self.acted(outcome)?,
            Event::Scored { provider, said } => self.heard(provider, said)?,
            Event::Call(call) => self.answer(call)?,
            Event::Fault(text) => return Err(KeeperError::Fault(text)),
        }
        self.look().await
    }

    /// Reads the market and does what the roles wish.
    async fn look(&mut self) -> Result<(), KeeperError> {
        let viewer = Viewer {
            agent: self.agent.as_ref().map(|agent| (agent.wallet, agent.key)),
            specs: self.open_jobs().map(|job| job.spec_hash).collect(),
            provider: self.provider.as_ref().map(|own| own.seller.clone()),
            avoided: Some(&self.asker.avoided),
        };
        let view = {
            let snapshot = self.index.snapshot()?;
            MarketView::read(&snapshot, viewer)?
        };
        let Some(mut view) = view else { return Ok(()) };
        if let (Some(agent), Some(seen)) = (&self.agent, &mut view.agent)
            && self.open_jobs().next().is_some()
        {
            let credit = seen.account.as_ref().map_or(Amount::ZERO, |account| account.credit);
            seen.funds = agent.purse.funds(credit).await;
        }
        let mut wishes = self.agent_wishes(&view);
        wishes.extend(self.provider_wishes(&view));
        let keys = wishes.iter().filter_map(|wish| match wish {
            Wish::Do { intent, .. } => Some(intent.key()),
            _ => None,
        });
        self.wanted = keys.collect();
        // All is planned before the first is handed on, so that bids of one look share a transaction.
        let mut planned = Vec::new();
        for wish in wishes {
            match wish {
                Wish::Do { intent, why } => {
                    if self.ledger.may_plan(&intent, view.head.number, now_s()) {
                        let key = intent.key();
                        let record = match self.journal.plan(intent, why, now_s()) {
                            // The relay moved it meanwhile; its event is on the way.
                            Err(JournalError::Transition { .. }) => continue,
                            planned => planned?,
                        };
                        debug!(%key, why = %record.why, "planned");
                        self.announce(&record);
                        self.ledger.note(key, &record);
                        planned.push(record);
                    }
                }
                Wish::End { job, state } => self.end(job, state)?,
                Wish::Say { job, text } => self.say(job, text),
            }
        }
        for record in planned {
            self.dispatch(record)?;
        }
        if now_s() >= self.tidied_s + TIDY_EVERY_S {
            self.tidied_s = now_s();
            self.tidy(&view).await?;
        }
        self.reconcile();
        self.ask_scores()?;
        Ok(())
    }

    fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.state == JobState::Active)
    }

    fn agent_wishes(&self, view: &MarketView) -> Vec<Wish> {
        let (Some(agent), Some(seen)) = (&self.agent, &view.agent) else { return Vec::new() };
        let live: HashSet<_> = seen.agreements.iter().filter(|row| row.is_live()).map(|row| row.spec_hash).collect();
        let wanted = |job: &&Job| job.state == JobState::Active || live.contains(&job.spec_hash);
        let jobs: Vec<Job> = self.jobs.values().filter(wanted).cloned().collect();
        let slow = self.slow_rentals(seen);
        let desk = roles::agent::Desk {
            jobs: &jobs,
            slow: &slow,
            ledger: &self.ledger,
            strategy: &agent.strategy,
            params: self.params,
            head: view.head.number,
            chain_s: view.head.timestamp,
            now_s: now_s(),
            paused: self.paused,
        };
        roles::agent::wishes(seen, &desk)
    }

    fn provider_wishes(&self, view: &MarketView) -> Vec<Wish> {
        let (Some(own), Some(set), Some(seen)) = (&self.provider, &self.config.provider, &view.provider) else {
            return Vec::new();
        };
        let desk = roles::provider::Desk {
            seller: &own.seller,
            slots: set.slots,
            reserve_per_hour: set.reserve_per_hour.0,
            max_duration_s: set.max_duration.as_secs(),
            preemptible: set.preemptible,
            endpoint: &own.endpoint,
            image: own.workshop.image,
            withdraw_above: set.withdraw_above.0,
            deliveries: &own.deliveries,
            results: &own.results,
            ledger: &self.ledger,
            params: self.params,
            head: view.head.number,
            chain_s: view.head.timestamp,
            paused: self.paused,
        };
        roles::provider::wishes(seen, &desk)
    }
}
