//! The index against the chain: every row is compared with what the contracts answer as of the index's head.
//!
//! Completeness comes from the other side: the tail and the bit of every level, the number after the last offer, the
//! bases of all classes, and the market's token balance, which must cover everything the index says it owes.

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use contracts::{
    bindings::{
        IAIPowerRental::{
            agreementCall, bitmapCall, classBaseCall, configCall, creditOfCall, isOperatorCall, isProviderCall,
            keyAccountCall, levelCall, offerCall, timingCall, tokenCall,
        },
        IAgentWallet::{keyStateCall, lifetimeSpentCall, limitsCall, ownerCall, pausedCall, reservedCall},
        IAgentWalletFactory::isWalletCall,
        IERC20::balanceOfCall,
    },
    ids::{AgreementId, BookId},
    units::Amount,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::{
    Head, IndexConfig,
    error::{IndexError, Result},
    follow::rpc::Rpc,
    store::{
        codec::Row,
        rows::{
            AgreementRow, CreditRow, KeyAccountRow, KeyRow, LevelRow, OfferRow, ProviderRow, TotalsRow, WalletRow,
            status_name,
        },
        schema::{Key, Table, trailing_address},
        snapshot::{Snapshot, decode},
    },
};

/// Rows read at a time.
const CHUNK: usize = 256;
/// Calls in flight at once.
const CONCURRENCY: usize = 16;
/// Differences that are listed; more are only counted.
const LISTED: usize = 100;
/// Highest class number.
const LAST_CLASS: u8 = 31;

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The block as of which both were read.
    pub block: Head,
    /// Things compared.
    pub checked: u64,
    /// Things that differ.
    pub differing: u64,
    /// The first hundred of them.
    pub mismatches: Vec<Mismatch>,
    /// Tokens that the market has beyond what it owes: sent to it by mistake.
    pub surplus: Amount,
}

impl VerifyReport {
    /// Whether the index equals the chain.
    pub fn is_equal(&self) -> bool {
        self.differing == 0
    }
}

/// One difference.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// The thing.
    pub what: String,
    /// As the index has it.
    pub index: String,
    /// As the chain has it.
    pub chain: String,
}

/// Compares everything in `snapshot` with the chain.
pub(crate) async fn verify(snapshot: &Snapshot<'_>, rpc: &Rpc, config: &IndexConfig) -> Result<VerifyReport> {
    let head = snapshot.head().ok_or(IndexError::Empty)?;
    let chain = Chain { rpc, market: config.market, factory: config.factory, hash: head.hash };
    let submit_grace_s: u64 = chain.market(timingCall {}).await?.submitGrace.to();
    let mut tally = Tally {
        report: VerifyReport { block: head, checked: 0, differing: 0, mismatches: Vec::new(), surplus: Amount::ZERO },
    };
    let mut sums = TotalsRow::default();

    rows(snapshot, Table::Agreements, &mut tally, |_, row: AgreementRow| {
        add_agreement(&mut sums, &row);
        let chain = &chain;
        async move { chain.agreement(&row, submit_grace_s).await }
    })
    .await?;
    let mut last_offer = 0;
    rows(snapshot, Table::Offers, &mut tally, |_, row: OfferRow| {
        sums.bonds = sums.bonds + Amount(row.bond_per_slot.0 * u128::from(row.slots));
        last_offer = last_offer.max(row.id);
        let chain = &chain;
        async move { chain.offer(&row).await }
    })
    .await?;
    let after = chain.market(offerCall { offerId: last_offer + 1 }).await?.provider;
    tally.add(differs(format!("offer {}", last_offer + 1), &Address::ZERO, &after));

    rows(snapshot, Table::Levels, &mut tally, |key, row: LevelRow| {
        let place = level_of(&key);
        let chain = &chain;
        async move {
            let (book, tick) = place.ok_or_else(|| IndexError::damaged("level", &key))?;
            let first = snapshot.page(&Key::new(Table::Queues).book(book).u8(!tick), None, 1, |key, _| {
                Ok(crate::store::schema::queued_id(key))
            })?;
            chain.level(book, tick, &row, first.items.first().copied()).await
        }
    })
    .await?;
    rows(snapshot, Table::Credits, &mut tally, |key, row: CreditRow| {
        sums.credits = sums.credits + row.amount;
        let chain = &chain;
        async move { chain.credit(account(&key)?, row.amount).await }
    })
    .await?;
    rows(snapshot, Table::Wallets, &mut tally, |key, row: WalletRow| {
        let chain = &chain;
        async move { chain.wallet(account(&key)?, &row, snapshot).await }
    })
    .await?;
    rows(snapshot, Table::Keys, &mut tally, |key, row: KeyRow| {
        let chain = &chain;
        async move {
            let wallet = key.get(1..21).map(Address::from_slice).ok_or_else(|| IndexError::damaged("key", &key))?;
            let epoch = snapshot.wallet(wallet)?.map_or(0, |wallet| wallet.epoch);
            let agent = account(&key)?;
            let mut compared = chain.key(wallet, agent, &row, epoch).await?;
            if snapshot.key_account(agent)?.is_none() {
                compared.extend(chain.key_account(agent, None).await?);
            }
            Ok(compared)
        }
    })
    .await?;
    rows(snapshot, Table::KeyAccounts, &mut tally, |key, row: KeyAccountRow| {
        sums.credits = sums.credits + row.credit;
        let chain = &chain;
        async move { chain.key_account(account(&key)?, Some(row)).await }
    })
    .await?;
    rows(snapshot, Table::Providers, &mut tally, |key, row: ProviderRow| {
        let chain = &chain;
        async move { chain.provider(account(&key)?, &row, snapshot).await }
    })
    .await?;
    for class in 1..=LAST_CLASS {
        tally.extend(chain.class(class, snapshot).await?);
    }
    tally.add(chain.config(snapshot).await?);
    let totals = snapshot.totals()?;
    let of = |totals: &TotalsRow| [totals.escrow, totals.bonds, totals.credits, totals.deposits].map(|sum| sum.0);
    tally.add(differs("the index's own sums of escrow, bonds, credits and deposits", &of(&totals), &of(&sums)));

    let token = chain.market(tokenCall {}).await?;
    let balance = chain.call(token, balanceOfCall { account: config.market }).await?;
    let owed = of(&sums).into_iter().map(U256::from).sum::<U256>();
    tally.report.surplus = Amount::from_units(balance.saturating_sub(owed));
    tally.add(differs("the market's token balance (at least)", &owed, &balance.min(owed)));
    Ok(tally.report)
}

/// Compares every row of `table`, a few at a time.
async fn rows<R, F, A>(snapshot: &Snapshot<'_>, table: Table, tally: &mut Tally, mut compare: F) -> Result<()>
where
    R: Row,
    F: FnMut(Vec<u8>, R) -> A,
    A: Future<Output = Result<Vec<Compared>>>,
{
    let prefix = Key::new(table);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = snapshot
            .page(&prefix, after.as_deref(), CHUNK, |key, value| Ok(Some((key.to_vec(), decode::<R>(key, value)?))))?;
        let checks: Vec<_> = page.items.into_iter().map(|(key, row)| compare(key, row)).collect();
        let mut found = stream::iter(checks).buffered(CONCURRENCY);
        while let Some(compared) = found.try_next().await? {
            tally.extend(compared);
        }
        let Some(next) = page.next else { return Ok(()) };
        after = Some(next);
    }
}

/// One comparison: `None` when both sides agree.
type Compared = Option<Mismatch>;

struct Tally {
    report: VerifyReport,
}

impl Tally {
    fn add(&mut self, compared: Compared) {
        self.report.checked += 1;
        if let Some(mismatch) = compared {
            self.report.differing += 1;
            if self.report.mismatches.len() < LISTED {
                self.report.mismatches.push(mismatch);
            }
        }
    }

    fn extend(&mut self, compared: Vec<Compared>) {
        for compared in compared {
            self.add(compared);
        }
    }
}

fn differs<T: PartialEq + std::fmt::Debug>(what: impl Into<String>, index: &T, chain: &T) -> Compared {
    (index != chain).then(|| Mismatch { what: what.into(), index: format!("{index:?}"), chain: format!("{chain:?}") })
}

fn account(key: &[u8]) -> Result<Address> {
    trailing_address(key).ok_or_else(|| IndexError::damaged("account", key))
}

fn level_of(key: &[u8]) -> Option<(BookId, u8)> {
    let [_, high, low, tick] = key else { return None };
    Some((BookId::from_u16(u16::from_be_bytes([*high, *low]))?, !tick))
}

fn add_agreement(sums: &mut TotalsRow, row: &AgreementRow) {
    if row.is_live() {
        sums.escrow = sums.escrow + row.escrow;
    }
    if let Some(dispute) = row.dispute.as_ref().filter(|dispute| dispute.ruling.is_none()) {
        sums.deposits = sums.deposits + dispute.deposit;
    }
}

/// The contracts as of one block.
struct Chain<'a> {
    rpc: &'a Rpc,
    market: Address,
    factory: Address,
    hash: B256,
}

impl Chain<'_> {
    async fn market<C: SolCall>(&self, call: C) -> Result<C::Return> {
        self.call(self.market, call).await
    }

    async fn call<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return> {
        let failed = |reason: String| IndexError::Call { what: format!("{} of {to}", C::SIGNATURE), reason };
        let answer = self.rpc.eth_call(to, call.abi_encode().into(), self.hash).await;
        let bytes = answer.map_err(|error| failed(error.to_string()))?;
        C::abi_decode_returns(&bytes).map_err(|error| failed(error.to_string()))
    }

    async fn agreement(&self, row: &AgreementRow, submit_grace_s: u64) -> Result<Vec<Compared>> {
        let chain = self.market(agreementCall { agreementId: row.id.into() }).await?;
        let expected = Stored::expect(row, submit_grace_s);
        let actual = Stored {
            wallet: chain.wallet,
            agent: chain.agent,
            max_duration_s: chain.maxDuration.to(),
            expiry_s: chain.expiry.to(),
            fee_bps: chain.feeBps,
            status: status_name(chain.status),
            flags: chain.flags,
            offer_id: chain.offerId,
            start_or_billable_s: chain.startOrBillable.to(),
            deadline_s: chain.deadline.to(),
            paid: chain.paid.into(),
        };
        Ok(vec![differs(format!("rental {}", row.id), &expected, &actual)])
    }

    async fn offer(&self, row: &OfferRow) -> Result<Vec<Compared>> {
        let chain = self.market(offerCall { offerId: row.id }).await?;
        let actual = OfferRow {
            id: row.id,
            provider: chain.provider,
            class: chain.cls,
            book_mask: chain.bookMask,
            slots: chain.slots,
            used: chain.used,
            reserve_tick: chain.reserveTick,
            bond_per_slot: chain.bondPerSlot.into(),
            valid_until_s: chain.validUntil.to(),
            active: !chain.validUntil.is_zero(),
            posted_block: row.posted_block,
            updated_block: row.updated_block,
        };
        Ok(vec![differs(format!("offer {}", row.id), row, &actual)])
    }

    /// The head of a level may lie anywhere up to the first open bid: gaps are stepped over when somebody matches.
    async fn level(&self, book: BookId, tick: u8, row: &LevelRow, first: Option<AgreementId>) -> Result<Vec<Compared>> {
        let chain = self.market(levelCall { book: book.to_u16(), tick }).await?;
        let bound = first.map_or(row.tail, AgreementId::sequence);
        let what = format!("level {tick} of book {book} (tail, live, first open)");
        let head = if row.live == 0 { chain.head } else { chain.head.max(bound) };
        Ok(vec![differs(what, &(row.tail, row.live, bound), &(chain.tail, chain.live, head))])
    }

    async fn credit(&self, account: Address, expected: Amount) -> Result<Vec<Compared>> {
        let actual = self.market(creditOfCall { account }).await?;
        Ok(vec![differs(format!("credit of {account}"), &expected, &actual.into())])
    }

    /// `None` for a key that never bid.
    async fn key_account(&self, agent: Address, expected: Option<KeyAccountRow>) -> Result<Vec<Compared>> {
        let chain = self.market(keyAccountCall { agent }).await?;
        let actual = KeyAccountRow {
            wallet: chain.wallet,
            credit: chain.credit.into(),
            spent: chain.spent.into(),
            released: chain.released.into(),
        };
        let zero = Amount::ZERO;
        let none = KeyAccountRow { wallet: Address::ZERO, credit: zero, spent: zero, released: zero };
        Ok(vec![differs(format!("the market's account of key {agent}"), &expected.unwrap_or(none), &actual)])
    }

    async fn wallet(&self, wallet: Address, row: &WalletRow, snapshot: &Snapshot<'_>) -> Result<Vec<Compared>> {
        let limits = self.call(wallet, limitsCall {}).await?;
        let known = self.call(self.factory, isWalletCall { wallet }).await?;
        let actual = WalletRow {
            owner: self.call(wallet, ownerCall {}).await?,
            paused: self.call(wallet, pausedCall {}).await?,
            daily: limits.daily.into(),
            per_bid: limits.perBid.into(),
            lifetime: limits.lifetime.into(),
            reserved: self.call(wallet, reservedCall {}).await?.into(),
            spent: self.call(wallet, lifetimeSpentCall {}).await?.into(),
            ..row.clone()
        };
        let mut compared = vec![
            differs(format!("wallet {wallet}"), row, &actual),
            differs(format!("factory's word on wallet {wallet}"), &true, &known),
        ];
        compared.extend(self.credit(wallet, snapshot.credit(wallet)?).await?);
        Ok(compared)
    }

    async fn key(&self, wallet: Address, agent: Address, row: &KeyRow, epoch: u32) -> Result<Vec<Compared>> {
        let chain = self.call(wallet, keyStateCall { agent }).await?;
        let actual = KeyRow {
            parent: (!chain.parent.is_zero()).then_some(chain.parent),
            expiry_s: chain.policy.expiry.to(),
            per_bid: chain.policy.perBid.into(),
            daily: chain.policy.daily.into(),
            lifetime: chain.policy.lifetime.into(),
            max_ticks: chain.policy.maxTicks,
            class_mask: chain.policy.classMask,
            permissions: chain.policy.permissions,
            provider_list: chain.policy.providerList,
            reserved: chain.reserved.into(),
            spent: chain.lifetimeSpent.into(),
            ..row.clone()
        };
        let alive = !row.revoked && row.epoch == epoch;
        Ok(vec![
            differs(format!("key {agent} of wallet {wallet}"), row, &actual),
            differs(format!("whether key {agent} of wallet {wallet} is active"), &alive, &chain.active),
        ])
    }

    async fn provider(&self, provider: Address, row: &ProviderRow, snapshot: &Snapshot<'_>) -> Result<Vec<Compared>> {
        let authorized = self.market(isProviderCall { provider }).await?;
        let mut compared = vec![differs(format!("provider {provider}"), &row.authorized, &authorized)];
        compared.extend(self.credit(provider, snapshot.credit(provider)?).await?);
        for operator in snapshot.provider(provider)?.map(|known| known.operators).unwrap_or_default() {
            let may = self.market(isOperatorCall { provider, operator }).await?;
            compared.push(differs(format!("operator {operator} of provider {provider}"), &true, &may));
        }
        Ok(compared)
    }

    async fn class(&self, class: u8, snapshot: &Snapshot<'_>) -> Result<Vec<Compared>> {
        let base = self.market(classBaseCall { cls: class }).await?;
        let expected = snapshot.class_base(class)?.unwrap_or_default();
        let mut compared = vec![differs(format!("base price of class {class}"), &expected, &base)];
        if base == 0 {
            return Ok(compared);
        }
        for (book, row) in snapshot.books(class)? {
            let bitmap = self.market(bitmapCall { book: book.to_u16() }).await?;
            compared.push(differs(format!("bitmap of book {book}"), &row.bitmap, &bitmap));
            let mut sums: BTreeMap<&str, u128> = BTreeMap::new();
            for (_, level) in snapshot.levels(book)? {
                *sums.entry("live").or_default() += u128::from(level.live);
                *sums.entry("seconds").or_default() += u128::from(level.seconds);
                *sums.entry("escrow").or_default() += level.escrow.0;
            }
            let of = |name| sums.get(name).copied().unwrap_or_default();
            let own = (u128::from(row.live), u128::from(row.seconds), row.escrow.0);
            let what = format!("the index's own sums of book {book}");
            compared.push(differs(what, &own, &(of("live"), of("seconds"), of("escrow"))));
        }
        Ok(compared)
    }

    async fn config(&self, snapshot: &Snapshot<'_>) -> Result<Compared> {
        let chain = self.market(configCall {}).await?;
        // OpenZeppelin's `paused()`, which the market's own interface does not repeat.
        let answer = self.rpc.eth_call(self.market, Bytes::from(pausedCall {}.abi_encode()), self.hash).await;
        let bytes = answer.map_err(|error| IndexError::Call { what: "paused()".into(), reason: error.to_string() })?;
        let paused = pausedCall::abi_decode_returns(&bytes)
            .map_err(|error| IndexError::Call { what: "paused()".into(), reason: error.to_string() })?;
        let row = snapshot.config()?;
        let expected = (row.fee_bps, row.treasury, row.arbiter, row.pauser, row.paused);
        let actual = (chain.feeBps, chain.treasury, chain.arbiter, chain.pauser, paused);
        Ok(differs("configuration", &expected, &actual))
    }
}

/// An agreement as the market stores it.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    wallet: Address,
    agent: Address,
    max_duration_s: u32,
    expiry_s: u64,
    fee_bps: u16,
    status: &'static str,
    flags: u8,
    offer_id: u64,
    start_or_billable_s: u64,
    deadline_s: u64,
    paid: Amount,
}

impl Stored {
    /// What the market must have stored for the row; see `Rentals.sol` for the flags.
    fn expect(row: &AgreementRow, submit_grace_s: u64) -> Self {
        let (matched, started, submitted) = (row.matched.as_ref(), row.started.as_ref(), row.submitted.as_ref());
        let flags = [
            (1, submitted.is_some_and(|submitted| submitted.receipts)),
            (2, submitted.is_some_and(|submitted| submitted.preempted)),
            (8, submitted.is_some_and(|submitted| submitted.cancelled)),
            (4, row.dispute.as_ref().is_some_and(|dispute| dispute.counted)),
        ];
        let deadline_s = row
            .dispute
            .as_ref()
            .map(|dispute| dispute.timeout_s)
            .or(submitted.map(|submitted| submitted.challenge_end_s))
            .or(started.map(|started| started.end_time_s + submit_grace_s))
            .or(matched.map(|matched| matched.start_deadline_s));
        Self {
            wallet: row.wallet,
            agent: row.agent,
            max_duration_s: row.max_duration_s,
            expiry_s: row.expiry_s,
            fee_bps: row.fee_bps,
            status: status_name(row.status),
            flags: flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum(),
            offer_id: matched.map_or(0, |matched| matched.offer_id),
            start_or_billable_s: submitted
                .map(|submitted| submitted.billable_s)
                .or(started.map(|started| started.time_s))
                .unwrap_or_default(),
            deadline_s: deadline_s.unwrap_or_default(),
            paid: row.payment.as_ref().map_or(Amount::ZERO, |payment| payment.pay + payment.fee + payment.penalty),
        }
    }
}
