//! Reading: everything as of one block.

use std::ops::ControlFlow;

use alloy::primitives::{Address, B256};
use contracts::{
    ids::{AgreementId, BookId},
    units::Amount,
};
use rocksdb::{IteratorMode, ReadOptions};

use super::{
    Header, Store,
    codec::Row,
    rows::{
        AgreementRow, BookRow, ClassRow, Clearing, ConfigRow, CreditRow, KeyAccountRow, KeyRow, LevelRow, OfferRow,
        ProviderRow, SpendRow, TemplateRow, TotalsRow, WalletRow,
    },
    schema::{self, Fact, Key, Table},
};
use crate::{
    Head,
    error::{IndexError, Result},
};

/// Rows looked at for one page at most, so that a filter that matches nothing cannot read the whole table.
const SCAN_LIMIT: usize = 5_000;
/// Operators of a provider that are listed at most.
const OPERATOR_LIMIT: usize = 256;

/// The index as of one block, however long it is held. Borrowed from its [`Index`](crate::Index); cheap to take.
pub struct Snapshot<'a> {
    store: &'a Store,
    snapshot: rocksdb::Snapshot<'a>,
    header: Option<Header>,
}

/// A provider with its operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its address.
    pub address: Address,
    /// Its row.
    pub row: ProviderRow,
    /// Keys that may act for it; the first 256 by address.
    pub operators: Vec<Address>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end. Stays valid while rows come and go.
    pub next: Option<Vec<u8>>,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn take(store: &'a Store) -> Result<Self> {
        let snapshot = store.db().snapshot();
        let key = Fact::Cursor.key();
        let header = snapshot
            .get_cf(store.chain(), key)?
            .map(|bytes| Header::decode(&bytes).ok_or_else(|| IndexError::damaged("header", key)))
            .transpose()?;
        Ok(Self { store, snapshot, header })
    }

    /// The newest block folded; `None` before the first.
    pub fn head(&self) -> Option<Head> {
        self.header.map(Head::from)
    }

    pub(crate) fn header(&self) -> Option<Header> {
        self.header
    }

    /// A bid or rental.
    pub fn agreement(&self, id: AgreementId) -> Result<Option<AgreementRow>> {
        self.get(&schema::agreement(id))
    }

    /// A wallet's bids and rentals, newest first.
    pub fn agreements_by_wallet(&self, wallet: Address, only_live: bool, limit: usize) -> Result<Vec<AgreementRow>> {
        let table = if only_live { Table::WalletLive } else { Table::WalletAgreements };
        self.first_agreements(&Key::new(table).address(wallet), limit)
    }

    /// A wallet's bids and rentals that are to run one spec, newest first.
    pub fn agreements_of_spec(&self, wallet: Address, spec_hash: B256, limit: usize) -> Result<Vec<AgreementRow>> {
        self.first_agreements(&schema::of_spec(wallet, spec_hash), limit)
    }

    /// A provider's rentals, newest match first.
    pub fn agreements_by_provider(
        &self,
        provider: Address,
        only_live: bool,
        limit: usize,
    ) -> Result<Vec<AgreementRow>> {
        let table = if only_live { Table::ProviderLive } else { Table::ProviderRentals };
        self.first_agreements(&Key::new(table).address(provider), limit)
    }

    fn first_agreements(&self, prefix: &Key, limit: usize) -> Result<Vec<AgreementRow>> {
        let page = self.page(prefix, None, limit, |key, _| self.indexed_agreement(key).map(Some))?;
        Ok(page.items)
    }

    /// Open bids of a book, best first; expired ones stand until somebody removes them.
    pub fn open_bids(&self, book: BookId, limit: usize) -> Result<Vec<AgreementRow>> {
        let prefix = Key::new(Table::Queues).book(book);
        Ok(self.page(&prefix, None, limit, |key, _| self.queued_agreement(key).map(Some))?.items)
    }

    /// The oldest open bid of a class.
    pub fn oldest_bid(&self, class: u8) -> Result<Option<AgreementRow>> {
        Ok(self.first_agreements(&Key::new(Table::Ages).u8(class), 1)?.pop())
    }

    /// A book's sums; empty for a book without bids so far.
    pub fn book(&self, book: BookId) -> Result<BookRow> {
        Ok(self.get(&schema::book(book))?.unwrap_or_default())
    }

    /// Highest tick with open bids.
    pub fn best_tick(&self, book: BookId) -> Result<Option<u8>> {
        Ok(self.book(book)?.best_tick())
    }

    /// One price level.
    pub fn level(&self, book: BookId, tick: u8) -> Result<LevelRow> {
        Ok(self.get(&schema::level(book, tick))?.unwrap_or_default())
    }

    /// The non-empty levels of a book, best first.
    pub fn levels(&self, book: BookId) -> Result<Vec<(u8, LevelRow)>> {
        let bitmap = self.book(book)?.bitmap;
        let ticks = (0..=u8::MAX).rev().filter(|tick| bitmap.bit(usize::from(*tick)));
        ticks.map(|tick| Ok((tick, self.level(book, tick)?))).collect()
    }

    /// An offer.
    pub fn offer(&self, id: u64) -> Result<Option<OfferRow>> {
        self.get(&schema::offer(id))
    }

    /// A provider's offers, by id.
    pub fn offers_by_provider(&self, provider: Address, limit: usize) -> Result<Vec<OfferRow>> {
        let prefix = Key::new(Table::ProviderOffers).address(provider);
        Ok(self.page(&prefix, None, limit, |key, _| self.indexed_offer(key).map(Some))?.items)
    }

    /// Offers of a class that take bids as of this block, by id.
    pub fn offers(&self, class: u8, limit: usize) -> Result<Vec<OfferRow>> {
        let now_s = self.header.map_or(0, |header| header.timestamp_s);
        let prefix = Key::new(Table::ListedOffers).u8(class);
        let open = |key: &[u8]| Ok(Some(self.indexed_offer(key)?).filter(|offer| offer.is_open_at(now_s)));
        Ok(self.page(&prefix, None, limit, |key, _| open(key))?.items)
    }

    /// A provider with its operators.
    pub fn provider(&self, address: Address) -> Result<Option<Provider>> {
        let Some(row) = self.get::<ProviderRow>(&schema::provider(address))? else { return Ok(None) };
        Ok(Some(Provider { address, row, operators: self.operators(address)? }))
    }

    pub(crate) fn operators(&self, provider: Address) -> Result<Vec<Address>> {
        let prefix = Key::new(Table::Operators).address(provider);
        let page = self.page(&prefix, None, OPERATOR_LIMIT, |key, _| Ok(schema::trailing_address(key)))?;
        Ok(page.items)
    }

    /// Whether `operator` may act for `provider`.
    pub fn is_operator(&self, provider: Address, operator: Address) -> Result<bool> {
        self.has(&schema::operator(provider, operator))
    }

    /// A wallet; `None` for an address that the factory did not create.
    pub fn wallet(&self, address: Address) -> Result<Option<WalletRow>> {
        self.get(&schema::wallet(address))
    }

    /// A session key of a wallet.
    pub fn key(&self, wallet: Address, agent: Address) -> Result<Option<KeyRow>> {
        self.get(&schema::session_key(wallet, agent))
    }

    /// A wallet's session keys, dead ones too, by address.
    pub fn keys(&self, wallet: Address, limit: usize) -> Result<Vec<(Address, KeyRow)>> {
        let prefix = Key::new(Table::Keys).address(wallet);
        let page = self.page(&prefix, None, limit, |key, value| {
            let agent = schema::trailing_address(key).ok_or_else(|| IndexError::damaged("key", key))?;
            Ok(Some((agent, decode(key, value)?)))
        })?;
        Ok(page.items)
    }

    /// Whether the key is alive as of this block: neither revoked, nor expired, nor of an earlier epoch, and its
    /// ancestors likewise.
    pub fn is_key_alive(&self, wallet: Address, agent: Address) -> Result<bool> {
        let Some(wallet_row) = self.wallet(wallet)? else { return Ok(false) };
        let now_s = self.header.map_or(0, |header| header.timestamp_s);
        let mut next = Some(agent);
        // A key has at most three ancestors.
        for _ in 0..4 {
            let Some(agent) = next else { return Ok(true) };
            let Some(key) = self.key(wallet, agent)? else { return Ok(false) };
            if key.revoked || key.epoch != wallet_row.epoch || key.expiry_s <= now_s {
                return Ok(false);
            }
            next = key.parent;
        }
        Ok(next.is_none())
    }

    /// Whether `provider` is on the wallet's allow-list.
    pub fn is_provider_allowed(&self, wallet: Address, provider: Address) -> Result<bool> {
        self.has(&schema::allowed_provider(wallet, provider))
    }

    /// What a wallet counted of its keys' ended bids, newest first.
    pub fn spends(&self, wallet: Address, limit: usize) -> Result<Vec<SpendRow>> {
        let prefix = Key::new(Table::Spends).address(wallet);
        Ok(self.page(&prefix, None, limit, |key, value| decode(key, value).map(Some))?.items)
    }

    /// What the market holds for a session key; `None` before its first bid.
    pub fn key_account(&self, agent: Address) -> Result<Option<KeyAccountRow>> {
        self.get(&schema::key_account(agent))
    }

    /// What `account` may pull from the market. Session keys have accounts of their own: [`Self::key_account`].
    pub fn credit(&self, account: Address) -> Result<Amount> {
        Ok(self.get::<CreditRow>(&schema::credit(account))?.map_or(Amount::ZERO, |row| row.amount))
    }

    /// Newest matches of a book, newest first.
    pub fn recent_clearing(&self, book: BookId, limit: usize) -> Result<Vec<Clearing>> {
        let prefix = Key::new(Table::Clearings).book(book);
        Ok(self.page(&prefix, None, limit, |key, value| decode(key, value).map(Some))?.items)
    }

    /// The market's configuration.
    pub fn config(&self) -> Result<ConfigRow> {
        Ok(self.get(&schema::config())?.unwrap_or_default())
    }

    /// What the market holds.
    pub fn totals(&self) -> Result<TotalsRow> {
        Ok(self.get(&schema::totals())?.unwrap_or_default())
    }

    /// A hardware class, if the market has it.
    pub fn class(&self, class: u8) -> Result<Option<ClassRow>> {
        self.get(&schema::class(class))
    }

    /// Price of tick 0 of a class, per second × 1e18.
    pub fn class_base(&self, class: u8) -> Result<Option<u128>> {
        Ok(self.class(class)?.map(|row| row.base_price))
    }

    /// A spec template.
    pub fn template(&self, id: u16) -> Result<Option<TemplateRow>> {
        self.get(&schema::template(id))
    }

    /// The classes that the market has, by number.
    pub fn classes(&self) -> Result<Vec<(u8, ClassRow)>> {
        let page = self.page(&Key::new(Table::Classes), None, usize::from(u8::MAX), |key, value| {
            let class = key.last().copied().ok_or_else(|| IndexError::damaged("class", key))?;
            Ok(Some((class, decode(key, value)?)))
        })?;
        Ok(page.items)
    }

    pub(crate) fn get<R: Row>(&self, key: &Key) -> Result<Option<R>> {
        let bytes = self.snapshot.get_pinned_cf(self.store.state(), key.as_slice())?;
        bytes.map(|bytes| decode(key.as_slice(), &bytes)).transpose()
    }

    fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.snapshot.get_pinned_cf(self.store.state(), key.as_slice())?.is_some())
    }

    /// The agreement that an index key ends with.
    pub(crate) fn indexed_agreement(&self, key: &[u8]) -> Result<AgreementRow> {
        self.pointed_to(key, schema::trailing_id(key))
    }

    /// The agreement that a queue key stands for.
    pub(crate) fn queued_agreement(&self, key: &[u8]) -> Result<AgreementRow> {
        self.pointed_to(key, schema::queued_id(key))
    }

    fn pointed_to(&self, key: &[u8], id: Option<AgreementId>) -> Result<AgreementRow> {
        let row = id.map(|id| self.agreement(id)).transpose()?.flatten();
        row.ok_or_else(|| IndexError::damaged("index entry", key))
    }

    /// The offer that an index key ends with.
    pub(crate) fn indexed_offer(&self, key: &[u8]) -> Result<OfferRow> {
        let offer = schema::trailing_u64(key).map(|id| self.offer(id)).transpose()?.flatten();
        offer.ok_or_else(|| IndexError::damaged("index entry", key))
    }

    /// Rows under `prefix` in key order, from after the key `after`, as far as `pick` wants them.
    pub(crate) fn page<T>(
        &self,
        prefix: &Key,
        after: Option<&[u8]>,
        limit: usize,
        mut pick: impl FnMut(&[u8], &[u8]) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let mut items = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        let mut next = None;
        let mut looked_at = 0;
        self.scan(prefix.as_slice(), after, |key, value| {
            if items.len() >= limit || looked_at >= SCAN_LIMIT {
                next = last.take();
                return Ok(ControlFlow::Break(()));
            }
            looked_at += 1;
            items.extend(pick(key, value)?);
            last = Some(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Page { items, next })
    }

    /// Every row of the state, until `visit` says no.
    pub(super) fn each_row(&self, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        self.scan(&[], None, |key, value| {
            Ok(if visit(key, value) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        // The smallest key above `after` is `after` with a zero byte.
        let lower = after.map_or_else(|| prefix.to_vec(), |after| [after, &[0]].concat());
        options.set_iterate_lower_bound(lower);
        if let Some(upper) = end_of(prefix) {
            options.set_iterate_upper_bound(upper);
        }
        for entry in self.snapshot.iterator_cf_opt(self.store.state(), options, IteratorMode::Start) {
            let (key, value) = entry?;
            if visit(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Sums over the open bids of all books of a class.
impl Snapshot<'_> {
    /// The eight books of a class with their sums.
    pub fn books(&self, class: u8) -> Result<Vec<(BookId, BookRow)>> {
        let books = (0..contracts::ids::BOOKS_PER_CLASS).map(|bits| BookId {
            class,
            bucket: bits >> 1,
            preemptible: bits & 1 == 1,
        });
        books.map(|book| Ok((book, self.book(book)?))).collect()
    }
}

pub(crate) fn decode<R: Row>(key: &[u8], bytes: &[u8]) -> Result<R> {
    R::decode(bytes).ok_or_else(|| IndexError::damaged(R::NAME, key))
}

/// The first key after all that begin with `prefix`; `None` when there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
