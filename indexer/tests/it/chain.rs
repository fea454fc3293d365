//! A local chain with the market on it, and people who use it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    network::Ethereum,
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U24, U40, U96},
    },
    providers::{Provider, RootProvider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    bindings::{
        BidTerms, IAIPowerRental as Market, IAgentWallet as Wallet, IAgentWalletFactory as Factory, IERC20, KeyPolicy,
        WalletLimits,
    },
    deploy::{Deployment, REFERENCE_TEMPLATE, Roles, deploy},
    ids::{AgreementId, BookId},
    params::Preset,
    price::cost_of,
};
use indexer::{Index, IndexConfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// One AIT.
pub(crate) const AIT: u128 = 1_000_000_000_000_000_000;
/// What every bid is for.
pub(crate) const SPEC: B256 = B256::repeat_byte(7);
const PATIENCE: Duration = Duration::from_secs(60);

/// A running anvil; it ends with the value.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: String,
}

impl Anvil {
    /// Starts one on a free port, with blocks as transactions come.
    pub(crate) fn start() -> Self {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/.bin/anvil");
        let binary = std::env::var_os("ANVIL").map_or(default, PathBuf::from);
        let mut child = Command::new(&binary)
            .args(["--port", "0", "--order", "fifo"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} cannot be started: {error}; run npm ci, or set ANVIL", binary.display())
            });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        // Somebody must go on reading, or anvil stops at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{address}") }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // The script hands SIGTERM on to the binary it started; SIGKILL would leave that one behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The market, and everybody in it.
pub(crate) struct World {
    pub(crate) anvil: Anvil,
    pub(crate) rpc: RootProvider<Ethereum>,
    pub(crate) market: Deployment,
    pub(crate) admin: Address,
    pub(crate) arbiter: Address,
    pub(crate) owner: Address,
    pub(crate) provider: Address,
    pub(crate) operator: Address,
    /// The wallet's first session key.
    pub(crate) agent: PrivateKeySigner,
    pub(crate) wallet: Address,
    pub(crate) offer: u64,
}

/// The book that the tests use.
pub(crate) fn book(preemptible: bool) -> BookId {
    BookId { class: 1, bucket: 0, preemptible }
}

impl World {
    /// A deployed market, a wallet with a key and 1,000 AIT, a provider with an offer of eight slots.
    pub(crate) async fn new() -> Self {
        let anvil = Anvil::start();
        let rpc = RootProvider::<Ethereum>::new_http(anvil.url.parse().unwrap());
        rpc.client().set_poll_interval(Duration::from_millis(20));
        let accounts = rpc.get_accounts().await.unwrap();
        let [admin, treasury, arbiter, owner, provider, operator] = accounts[..6].try_into().unwrap();
        let roles = Roles { admin, treasury, arbiter, pauser: admin };
        let market = deploy(&rpc, Preset::Demo, roles, None).await.unwrap();
        // A fixed key, so that two worlds with the same deeds are the same.
        let agent = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap();
        let mut world = Self {
            anvil,
            rpc,
            market,
            admin,
            arbiter,
            owner,
            provider,
            operator,
            agent,
            wallet: Address::ZERO,
            offer: 0,
        };
        world.adopt(world.agent.address()).await;
        world.wallet = world.create_wallet(B256::ZERO, world.agent.address()).await;
        world.mint(world.wallet, 1_000 * AIT).await;
        world.mint(provider, 1_000 * AIT).await;
        let market = world.market.market;
        world.call(provider, world.market.token, IERC20::approveCall { spender: market, value: U256::MAX }).await;
        let register = Market::registerProviderCall { endpoint: "http://127.0.0.1:7000".into() };
        world.call(provider, market, register).await;
        world.call(provider, market, Market::setOperatorCall { operator, allowed: true }).await;
        world.offer = world.post_offer(8, AIT).await;
        world
    }

    /// Lets the chain send as `account` without its key, and gives it gas money.
    pub(crate) async fn adopt(&self, account: Address) {
        self.raw("anvil_setBalance", json!([account, "0x56bc75e2d63100000"])).await;
        self.raw("anvil_impersonateAccount", json!([account])).await;
    }

    pub(crate) async fn raw(&self, method: &'static str, params: serde_json::Value) -> serde_json::Value {
        self.rpc.raw_request(method.into(), params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends a call and waits for its receipt.
    pub(crate) async fn call<C: SolCall>(&self, from: Address, to: Address, call: C) -> TransactionReceipt {
        let request = TransactionRequest::default().from(from).to(to).input(call.abi_encode().into());
        let pending = self.rpc.send_transaction(request).await.unwrap_or_else(|error| {
            let reason = error.as_error_resp().and_then(|response| response.as_revert_data());
            panic!("{}: {error} {}", C::SIGNATURE, contracts::errors::describe_revert(&reason.unwrap_or_default()))
        });
        let receipt = pending.get_receipt().await.unwrap();
        assert!(receipt.status(), "{} reverted", C::SIGNATURE);
        receipt
    }

    pub(crate) async fn mint(&self, to: Address, units: u128) {
        self.call(self.admin, self.market.token, IERC20::mintCall { to, value: U256::from(units) }).await;
    }

    pub(crate) fn policy() -> KeyPolicy {
        KeyPolicy {
            expiry: U40::from(4_000_000_000u64),
            permissions: 15,
            classMask: 0b10,
            providerList: false,
            daily: U96::from(100 * AIT),
            perBid: U96::from(50 * AIT),
            lifetime: U96::from(400 * AIT),
            maxTicks: U256::MAX,
        }
    }

    pub(crate) async fn create_wallet(&self, salt: B256, agent: Address) -> Address {
        let limits =
            WalletLimits { daily: U96::from(200 * AIT), perBid: U96::from(50 * AIT), lifetime: U96::from(500 * AIT) };
        let call = Factory::createWalletCall { owner: self.owner, salt, limits, agent, policy: Self::policy() };
        let receipt = self.call(self.owner, self.market.factory, call).await;
        event::<Factory::AgentRegistered>(&receipt).wallet
    }

    pub(crate) async fn post_offer(&self, slots: u16, bond: u128) -> u64 {
        let call = Market::postOfferCall {
            cls: 1,
            bookMask: 0xff,
            slots,
            reserveTick: 0,
            bondPerSlot: U96::from(bond),
            validUntil: U40::from(4_000_000_000u64),
        };
        event::<Market::OfferPosted>(&self.call(self.provider, self.market.market, call).await).offerId
    }

    /// The call with which the wallet's key bids.
    pub(crate) async fn bid_call(&self, tick: u8, seconds: u32, preemptible: bool) -> Wallet::placeBidCall {
        let expiry = self.now_s().await + 3_600;
        Wallet::placeBidCall {
            terms: BidTerms {
                cls: 1,
                preemptible,
                tick,
                maxDuration: U24::from(seconds),
                expiry: U40::from(expiry),
                templateId: REFERENCE_TEMPLATE,
                specHash: SPEC,
                policyHash: B256::ZERO,
            },
        }
    }

    pub(crate) async fn bid_as(&self, agent: Address, tick: u8, preemptible: bool) -> AgreementId {
        let call = self.bid_call(tick, 300, preemptible).await;
        let receipt = self.call(agent, self.wallet, call).await;
        event::<Market::BidPlaced>(&receipt).agreementId.into()
    }

    pub(crate) async fn bid(&self, tick: u8) -> AgreementId {
        self.bid_as(self.agent.address(), tick, false).await
    }

    /// The operator takes the best bid of a book.
    pub(crate) async fn take(&self, offer: u64, preemptible: bool) -> AgreementId {
        let book = book(preemptible).to_u16();
        let call = Market::matchBestCall { offerId: offer, book, minTick: 0, expectedId: U96::ZERO };
        event::<Market::AgreementCreated>(&self.call(self.operator, self.market.market, call).await).agreementId.into()
    }

    /// The operator starts it with the agent's countersignature.
    pub(crate) async fn start(&self, id: AgreementId) {
        let market = self.market.market;
        let digest = Market::startDigestCall { agreementId: id.into(), specHash: SPEC };
        let digest: B256 = self.view(market, digest).await;
        let signature = self.agent.sign_hash_sync(&digest).unwrap().as_bytes();
        let call = Market::startCall {
            agreementId: id.into(),
            specHash: SPEC,
            imageDigest: B256::repeat_byte(3),
            countersignature: Bytes::from(signature.to_vec()),
        };
        self.call(self.operator, market, call).await;
    }

    pub(crate) async fn submit(&self, id: AgreementId, seconds: u64) {
        let call = Market::submitCall {
            agreementId: id.into(),
            claimedSeconds: U40::from(seconds),
            resultHash: B256::repeat_byte(4),
            receiptRoot: B256::repeat_byte(5),
        };
        self.call(self.operator, self.market.market, call).await;
    }

    pub(crate) async fn advance(&self, id: AgreementId) {
        self.call(self.admin, self.market.market, Market::advanceCall { agreementId: id.into() }).await;
    }

    /// A rental from bid to settlement.
    pub(crate) async fn rent(&self, tick: u8) -> AgreementId {
        let id = self.bid(tick).await;
        self.take(self.offer, false).await;
        self.start(id).await;
        self.pass(20).await;
        self.submit(id, 15).await;
        self.pass(11).await;
        self.advance(id).await;
        id
    }

    /// Lets time pass, with one empty block.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.raw("evm_increaseTime", json!([seconds])).await;
        self.mine(1).await;
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        self.raw("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    pub(crate) async fn now_s(&self) -> u64 {
        self.rpc.get_block(alloy::eips::BlockId::latest()).await.unwrap().unwrap().header.timestamp
    }

    pub(crate) async fn view<C: SolCall>(&self, to: Address, call: C) -> C::Return {
        let request = TransactionRequest::default().to(to).input(call.abi_encode().into());
        C::abi_decode_returns(&self.rpc.call(request).await.unwrap()).unwrap()
    }

    /// Height and hash of the chain.
    pub(crate) async fn head(&self) -> (u64, B256) {
        let block = self.rpc.get_block(alloy::eips::BlockId::latest()).await.unwrap().unwrap();
        (block.header.number, block.header.hash)
    }

    pub(crate) fn config(&self, folder: &Path) -> IndexConfig {
        IndexConfig {
            rpc_urls: vec![self.anvil.url.clone()],
            chain_id: self.market.chain_id,
            market: self.market.market,
            factory: self.market.factory,
            start_block: self.market.start_block,
            data_dir: folder.join("index"),
            undo_horizon_blocks: 256,
            poll_interval: Duration::from_millis(20),
        }
    }

    /// An index that is made now and follows to the chain's head.
    pub(crate) async fn fresh_dump(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(self.config(folder.path())).await.unwrap();
        self.catch_up(&index).await;
        dump(&index)
    }

    /// Follows until the index is at the chain's head, then stops.
    pub(crate) async fn catch_up(&self, index: &Index) {
        let running = Running::start(index);
        self.reached(index).await;
        running.stop().await;
    }

    /// Waits until the index is at the chain's head.
    pub(crate) async fn reached(&self, index: &Index) {
        let (number, hash) = self.head().await;
        let mut heads = index.subscribe();
        let waited = tokio::time::timeout(PATIENCE, heads.wait_for(|head| head.hash == hash)).await;
        waited.unwrap_or_else(|_| panic!("block {number} is not indexed in time")).unwrap();
    }

    /// Everything that can happen to bids, rentals, offers, keys and wallets.
    pub(crate) async fn busy_life(&self) {
        let market = self.market.market;
        let agent = self.agent.address();
        self.rent(100).await;

        // A worker key below the master's, and a rental with its bid.
        let worker = Address::repeat_byte(0x77);
        self.adopt(worker).await;
        let policy = KeyPolicy { daily: U96::from(20 * AIT), ..Self::policy() };
        self.call(agent, self.wallet, Wallet::authorizeAgentCall { agent: worker, policy }).await;
        let by_worker = self.bid_as(worker, 120, false).await;

        // Cancelled while open, cancelled while running, declined.
        let cancelled = self.bid(60).await;
        self.pass(11).await;
        self.call(agent, self.wallet, Wallet::cancelBidCall { bidId: cancelled.into() }).await;
        assert_eq!(self.take(self.offer, false).await, by_worker, "the best tick goes first");
        self.start(by_worker).await;
        self.pass(7).await;
        self.call(worker, self.wallet, Wallet::cancelBidCall { bidId: by_worker.into() }).await;
        self.pass(11).await;
        self.advance(by_worker).await;
        let called_off = self.bid(89).await;
        self.take(self.offer, false).await;
        self.call(agent, self.wallet, Wallet::cancelBidCall { bidId: called_off.into() }).await;
        let declined = self.bid(90).await;
        self.take(self.offer, false).await;
        self.call(self.operator, market, Market::declineCall { agreementId: declined.into() }).await;

        // Nobody comes; nothing is done; given way.
        let no_show = self.bid(91).await;
        self.take(self.offer, false).await;
        self.pass(31).await;
        self.advance(no_show).await;
        let failed = self.bid(92).await;
        self.take(self.offer, false).await;
        self.start(failed).await;
        self.pass(400).await;
        self.advance(failed).await;
        let preempted = self.bid_as(agent, 93, true).await;
        self.take(self.offer, true).await;
        self.start(preempted).await;
        self.pass(12).await;
        let give_way = Market::preemptCall {
            agreementId: preempted.into(),
            resultHash: B256::repeat_byte(8),
            receiptRoot: B256::ZERO,
        };
        self.call(self.provider, market, give_way).await;
        self.pass(11).await;
        self.advance(preempted).await;

        // Two disputes: one upheld with a slash, one left to the default.
        for (tick, ruled) in [(94, true), (95, false)] {
            let disputed = self.bid(tick).await;
            self.take(self.offer, false).await;
            self.start(disputed).await;
            self.pass(30).await;
            self.submit(disputed, 25).await;
            let call = Wallet::disputeCall { bidId: disputed.into(), reasonHash: B256::repeat_byte(6) };
            self.call(agent, self.wallet, call).await;
            if ruled {
                let ruling =
                    Market::resolveCall { agreementId: disputed.into(), pay: U96::ZERO, slash: U96::from(AIT / 2) };
                self.call(self.arbiter, market, ruling).await;
            } else {
                self.pass(61).await;
                self.advance(disputed).await;
            }
        }
        // A dispute that loses its deposit.
        let lost = self.bid(96).await;
        self.take(self.offer, false).await;
        self.start(lost).await;
        self.pass(30).await;
        self.submit(lost, 25).await;
        let call = Wallet::disputeCall { bidId: lost.into(), reasonHash: B256::repeat_byte(6) };
        self.call(agent, self.wallet, call).await;
        let price = self.view(market, Market::priceOfCall { cls: 1, tick: 96 }).await;
        let pay = U96::from(cost_of(price, 300).unwrap());
        self.call(self.arbiter, market, Market::resolveCall { agreementId: lost.into(), pay, slash: U96::ZERO }).await;

        // The owner's own dispute, whose deposit counts against nobody; lost like the one before.
        let own = self.bid(98).await;
        self.take(self.offer, false).await;
        self.start(own).await;
        self.pass(30).await;
        self.submit(own, 25).await;
        let call = Wallet::disputeCall { bidId: own.into(), reasonHash: B256::repeat_byte(6) };
        self.call(self.owner, self.wallet, call).await;
        let price = self.view(market, Market::priceOfCall { cls: 1, tick: 98 }).await;
        let pay = U96::from(cost_of(price, 300).unwrap());
        self.call(self.arbiter, market, Market::resolveCall { agreementId: own.into(), pay, slash: U96::ZERO }).await;

        // Offers: from credit, changed, closed with a rental in it. Money pulled.
        let second = self.post_offer(1, AIT).await;
        let update =
            Market::updateOfferCall { offerId: second, reserveTick: 1, validUntil: U40::from(3_999_999_999u64) };
        self.call(self.operator, market, update).await;
        let held = self.bid(97).await;
        self.take(second, false).await;
        self.call(self.provider, market, Market::closeOfferCall { offerId: second }).await;
        self.pass(31).await;
        self.advance(held).await;
        self.call(self.provider, market, Market::withdrawCall { to: self.provider }).await;
        for key in [agent, worker] {
            self.call(self.admin, self.wallet, Wallet::collectCall { agent: key }).await;
        }

        // An expired bid, and one that is swept while another is matched.
        let expired = self.bid(80).await;
        let swept = self.bid(81).await;
        self.pass(3_700).await;
        self.advance(expired).await;
        let fresh = self.bid(70).await;
        assert_eq!(self.take(self.offer, false).await, fresh, "the expired one at a better tick is swept away");
        assert_ne!(fresh, swept);

        // Owners: limits, pauses, allow-lists, keys, a transfer, a withdrawal.
        let owner = self.owner;
        let limits =
            WalletLimits { daily: U96::from(150 * AIT), perBid: U96::from(40 * AIT), lifetime: U96::from(450 * AIT) };
        self.call(owner, self.wallet, Wallet::setLimitsCall { limits }).await;
        for allowed in [true, false, true] {
            let call = Wallet::allowProviderCall { provider: self.provider, allowed };
            self.call(owner, self.wallet, call).await;
        }
        self.call(owner, self.wallet, Wallet::revokeAgentCall { agent: worker }).await;
        let to = self.admin;
        self.call(owner, self.wallet, Wallet::withdrawCall { to, amount: U96::from(AIT) }).await;
        let other = self.create_wallet(B256::repeat_byte(1), agent).await;
        self.call(owner, other, Wallet::revokeAllCall {}).await;
        self.call(owner, other, Wallet::setPausedCall { paused_: false }).await;
        self.call(owner, other, Wallet::transferOwnershipCall { newOwner: self.admin }).await;
        self.call(self.admin, other, Wallet::acceptOwnershipCall {}).await;
        self.call(self.provider, market, Market::setOperatorCall { operator: worker, allowed: true }).await;
        self.call(self.provider, market, Market::setOperatorCall { operator: worker, allowed: false }).await;
        self.call(self.admin, market, Market::pauseCall {}).await;
        self.call(self.admin, market, Market::unpauseCall {}).await;

        // Some bids that stay.
        for tick in [40, 40, 41, 42, 42, 42] {
            self.bid(tick).await;
        }
        self.bid_as(agent, 50, true).await;
    }
}

/// An index that follows in the background.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<indexer::Result<()>>,
}

impl Running {
    pub(crate) fn start(index: &Index) -> Self {
        let (index, shutdown) = (index.clone(), CancellationToken::new());
        let token = shutdown.clone();
        Self { shutdown, task: tokio::spawn(async move { index.run(token).await }) }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Waits for an error that ends it.
    pub(crate) async fn failed(self) -> indexer::IndexError {
        tokio::time::timeout(PATIENCE, self.task).await.expect("it fails in time").unwrap().unwrap_err()
    }
}

/// Every row as text.
pub(crate) fn dump(index: &Index) -> String {
    let mut out = Vec::new();
    index.snapshot().unwrap().dump(&mut out).unwrap().unwrap();
    String::from_utf8(out).unwrap()
}

/// The first event of this kind in a receipt.
pub(crate) fn event<E: SolEvent>(receipt: &TransactionReceipt) -> E {
    let found = receipt.logs().iter().find_map(|log| E::decode_log(&log.inner).ok());
    found.unwrap_or_else(|| panic!("no {} in the receipt", E::SIGNATURE)).data
}
