//! What goes wrong, and in which order: decided by the seed. Which keeper a kill meets, and what it was at, depends on
//! how fast this machine is.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use alloy::{
    network::{EthereumWallet, TransactionBuilder},
    primitives::U256,
    providers::{Provider, ProviderBuilder},
    rpc::types::TransactionRequest,
};
use eyre::{Context as _, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Cast, ChaosArgs,
    proxy::{Endpoint, Fault},
};
use crate::{show::Show, stage::Stage};

/// Deepest reorganisation, blocks.
const DEEPEST: u64 = 12;

/// A kind of event, and how often it comes in a hundred.
const KINDS: [(Kind, u32); 5] =
    [(Kind::Kill, 62), (Kind::Endpoint, 20), (Kind::Reorganisation, 10), (Kind::Drift, 4), (Kind::Engine, 4)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Endpoint,
    Reorganisation,
    Drift,
    Engine,
}

/// The faults of one run.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    stage: &'a Stage,
    endpoints: BTreeMap<&'static str, Endpoint>,
    engine: (PathBuf, PathBuf),
    time: Duration,
    random: StdRng,
    show: Show,
    bad_endpoints: BTreeMap<Fault, u32>,
    depths: Vec<u64>,
    drifts: u32,
    engine_restarts: u32,
}

impl<'a> Faults<'a> {
    /// Nothing has gone wrong yet.
    pub(crate) fn new(
        args: &ChaosArgs,
        stage: &'a Stage,
        endpoints: BTreeMap<&'static str, Endpoint>,
        show: &Show,
    ) -> Self {
        Self {
            stage,
            endpoints,
            engine: (args.engine_script.clone(), args.engine_dir.clone()),
            time: Duration::from_secs_f64(args.minutes * 60.0),
            random: StdRng::seed_from_u64(args.seed),
            show: show.clone(),
            bad_endpoints: BTreeMap::new(),
            depths: Vec::new(),
            drifts: 0,
            engine_restarts: 0,
        }
    }

    /// Makes it all happen; at the end everybody is back.
    ///
    /// # Errors
    /// When a keeper ended that was not told to, or a fault could not be made.
    pub(crate) async fn happen(&mut self, cast: &mut Cast) -> eyre::Result<()> {
        // What set the stage lies deeper than any reorganisation reaches: nobody would fund the cast again.
        let deep = self.stage.chain.get_block_number().await? + DEEPEST;
        while self.stage.chain.get_block_number().await? <= deep {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let end = Instant::now() + self.time;
        // Each kind once, then as they come: a short run has everything too.
        let mut first: Vec<Kind> = KINDS.iter().map(|(kind, _)| *kind).collect();
        let mut next = Instant::now();
        while Instant::now() < end {
            cast.tend()?;
            if Instant::now() >= next {
                let kind = first.pop().unwrap_or_else(|| self.kind());
                self.happens(kind, cast).await?;
                next = Instant::now() + Duration::from_millis(self.random.gen_range(300..4_000));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cast.all_back().await
    }

    fn kind(&mut self) -> Kind {
        let mut drawn = self.random.gen_range(0..KINDS.iter().map(|(_, share)| share).sum());
        for (kind, share) in KINDS {
            if drawn < share {
                return kind;
            }
            drawn -= share;
        }
        Kind::Kill
    }

    async fn happens(&mut self, kind: Kind, cast: &mut Cast) -> eyre::Result<()> {
        match kind {
            Kind::Kill => cast.kill_one().await,
            Kind::Endpoint => {
                self.endpoint();
                Ok(())
            }
            Kind::Reorganisation => self.reorganise().await,
            Kind::Drift => self.drift().await,
            Kind::Engine => self.restart_engine().await,
        }
    }

    fn endpoint(&mut self) {
        let fault = Fault::ALL[self.random.gen_range(0..Fault::ALL.len())];
        let time = Duration::from_millis(self.random.gen_range(500..6_000));
        let chosen = self.random.gen_range(0..self.endpoints.len());
        let Some((name, endpoint)) = self.endpoints.iter().nth(chosen) else { return };
        endpoint.misbehave(fault, time);
        *self.bad_endpoints.entry(fault).or_default() += 1;
        let text = format!("{name}'s endpoint {} for {:.1} s", fault.name(), time.as_secs_f64());
        self.show.line("chaos", &text);
    }

    async fn reorganise(&mut self) -> eyre::Result<()> {
        let depth = self.random.gen_range(1..=DEEPEST);
        let taken = self.stage.chain.raw_request::<_, ()>("anvil_reorg".into(), (depth, Vec::<()>::new()));
        taken.await.wrap_err("taking blocks back")?;
        self.depths.push(depth);
        self.show.line("chaos", &format!("{depth} blocks are taken back"));
        Ok(())
    }

    /// Somebody else uses a keeper's account: its next nonce is gone.
    async fn drift(&mut self) -> eyre::Result<()> {
        let chosen = self.random.gen_range(0..self.stage.payers.len());
        let Some((name, key)) = self.stage.payers.iter().nth(chosen) else { return Ok(()) };
        let wallet = EthereumWallet::from(key.clone());
        let chain = ProviderBuilder::new().wallet(wallet).connect_http(self.stage.rpc.parse()?);
        let request = TransactionRequest::default().with_to(key.address()).with_value(U256::ZERO);
        // Its keeper may have been faster: then the nonce was no longer free, which is no fault of the run.
        if let Err(error) = chain.send_transaction(request).await {
            self.show.line("chaos", &format!("a foreign transaction of {name}'s account was refused: {error}"));
            return Ok(());
        }
        self.drifts += 1;
        self.show.line("chaos", &format!("a foreign transaction uses {name}'s account"));
        Ok(())
    }

    async fn restart_engine(&mut self) -> eyre::Result<()> {
        let (script, folder) = &self.engine;
        self.show.line("chaos", "the engine crashes and comes back");
        let ended = tokio::process::Command::new(script).arg("restart").arg(folder).output().await?;
        ensure!(ended.status.success(), "restarting the engine: {}", String::from_utf8_lossy(&ended.stderr));
        self.engine_restarts += 1;
        Ok(())
    }

    /// How often.
    pub(crate) fn counted(&self) -> BTreeMap<String, Value> {
        let endpoints: BTreeMap<_, _> = self.bad_endpoints.iter().map(|(fault, n)| (fault.name(), n)).collect();
        [
            ("endpoint_faults", json!(endpoints)),
            ("reorgs", json!(self.depths.len())),
            ("deepest_reorg", json!(self.depths.iter().max())),
            ("drifted_nonces", json!(self.drifts)),
            ("engine_restarts", json!(self.engine_restarts)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}
