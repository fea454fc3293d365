//! What the keeper sees of the market: one consistent snapshot of the index, cut down to what its roles decide on.

pub mod slots;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use alloy::primitives::{Address, B256};
use contracts::{
    classes::HardwareClass,
    ids::{AgreementId, BookId},
    units::Amount,
};
use indexer::{
    Head, IndexError, Snapshot,
    rows::{AgreementRow, KeyAccountRow, KeyRow, OfferRow, ProviderRow, Status, WalletRow},
};

use self::slots::FreeSlots;
use crate::seller::Seller;

/// Live rentals of a provider that are looked at.
const RENTALS_SEEN: usize = 2_000;
/// Live agreements of a wallet: far above the jobs a keeper takes at once.
const LIVE_SEEN: usize = 10_000;
/// Newest agreements of one job: far above the bids that an agent places for it.
const JOB_AGREEMENTS_SEEN: usize = 64;
/// Open offers looked at per class.
const OFFERS_SEEN: usize = 1_000;
/// Best waiting bids looked at per book, to see which of them free slots will serve.
const WAITING_SEEN: usize = 64;
/// A provider that is there takes a bid within so many blocks.
const SERVED_WITHIN_BLOCKS: u64 = 5;
/// Most bids that a provider takes at a look.
pub const TAKEN_AT_ONCE: usize = 16;
/// Recent matches that make a price history.
const RECENT_PRICES: usize = 32;

/// The market as of one block.
#[derive(Clone, Debug)]
pub struct MarketView {
    /// The block.
    pub head: Head,
    /// For the agent's role.
    pub agent: Option<AgentView>,
    /// For the provider's role.
    pub provider: Option<ProviderView>,
}

/// What an agent decides on.
#[derive(Clone, Debug, Default)]
pub struct AgentView {
    /// Address of its wallet.
    pub address: Address,
    /// Its wallet, once the index knows it.
    pub wallet: Option<WalletRow>,
    /// Its session key, once authorised.
    pub key: Option<KeyRow>,
    /// What the market holds for the key, once it has bid.
    pub account: Option<KeyAccountRow>,
    /// What the key could bid with now, by the wallet's own word; `None` while the chain cannot be asked.
    pub funds: Option<Funds>,
    /// The wallet's live agreements, and all that there were for its open jobs.
    pub agreements: Vec<AgreementRow>,
    /// Firm books by class and bucket.
    pub books: BTreeMap<(u8, u8), BookView>,
    /// Free slots by class, less those that waiting bids will take.
    pub slots: BTreeMap<u8, FreeSlots>,
    /// Where providers of its rentals serve blobs.
    pub endpoints: HashMap<Address, String>,
}

/// Money that a key can bid with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Funds {
    /// The wallet's tokens.
    pub tokens: Amount,
    /// The key's credit at the market, which bids use first.
    pub credit: Amount,
    /// What the wallet's `availableTo` gives: both, as far as every limit allows.
    pub available: Amount,
}

/// One book as a bidder sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookView {
    /// Price of tick 0, per second × 1e18.
    pub base_price: u128,
    /// Lowest reserve of any open offer.
    pub floor: Option<u8>,
    /// Best tick of others that wait with no free slot to go to.
    pub best_waiting: Option<u8>,
    /// How many wait so, the agent's own among them.
    pub depth: u64,
    /// Recent winning ticks, newest first.
    pub recent: Vec<u8>,
}

/// What a provider's node decides on.
#[derive(Clone, Debug, Default)]
pub struct ProviderView {
    /// The provider's row, once registered.
    pub row: Option<ProviderRow>,
    /// Whether other keys may act for it.
    pub has_operators: bool,
    /// Whether this node's key may.
    pub may_act: bool,
    /// The node's offers: those that it names, or all that take bids.
    pub offers: Vec<OfferRow>,
    /// The node's rentals that can still change.
    pub rentals: Vec<AgreementRow>,
    /// Best bids of every book of its class, as many as there are free slots, in the order in which they will be matched.
    pub heads: Vec<(BookId, AgreementId)>,
    /// Earnings not yet pulled.
    pub credit: Amount,
    /// Price of tick 0 of its class.
    pub base_price: Option<u128>,
}

/// Whose view it is.
#[derive(Clone, Debug, Default)]
pub struct Viewer<'a> {
    /// Wallet and session key of the agent.
    pub agent: Option<(Address, Address)>,
    /// Hashes of the specs of its open jobs.
    pub specs: Vec<B256>,
    /// Node of a provider.
    pub provider: Option<Seller>,
    /// Classes and providers that the agent avoids.
    pub avoided: Option<&'a BTreeSet<(HardwareClass, Address)>>,
}

impl MarketView {
    /// Reads the view; `None` while the index is empty.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(snapshot: &Snapshot<'_>, viewer: Viewer<'_>) -> Result<Option<Self>, IndexError> {
        let Some(head) = snapshot.head() else { return Ok(None) };
        let avoided = |class: u8, provider: Address| {
            let class = HardwareClass::from_number(class);
            viewer.avoided.zip(class).is_some_and(|(avoided, class)| avoided.contains(&(class, provider)))
        };
        let agent = viewer
            .agent
            .map(|(wallet, key)| AgentView::read(snapshot, head.number, (wallet, key), &viewer.specs, &avoided))
            .transpose()?;
        let provider = viewer.provider.map(|seller| ProviderView::read(snapshot, &seller)).transpose()?;
        Ok(Some(Self { head, agent, provider }))
    }
}

impl AgentView {
    fn read(
        snapshot: &Snapshot<'_>,
        head: u64,
        (wallet, key): (Address, Address),
        specs: &[B256],
        avoided: &dyn Fn(u8, Address) -> bool,
    ) -> Result<Self, IndexError> {
        // What is live must be seen however much came after it: a bid that is overlooked would be placed again.
        let mut agreements = snapshot.agreements_by_wallet(wallet, true, LIVE_SEEN)?;
        for spec in specs {
            let of_job = snapshot.agreements_of_spec(wallet, *spec, JOB_AGREEMENTS_SEEN)?;
            agreements.extend(of_job.into_iter().filter(|row| !row.is_live()));
        }
        let mut endpoints = HashMap::new();
        for provider in agreements
            .iter()
            .filter(|row| row.is_live() || row.status == Status::Settled)
            .filter_map(|row| row.provider())
        {
            if !endpoints.contains_key(&provider)
                && let Some(row) = snapshot.provider(provider)?
            {
                endpoints.insert(provider, row.row.endpoint);
            }
        }
        let (mut books, mut slots) = (BTreeMap::new(), BTreeMap::new());
        for class in HardwareClass::ALL.map(HardwareClass::number) {
            let Some(base_price) = snapshot.class_base(class)? else { continue };
            let (of_class, free) = read_class(snapshot, head, wallet, (class, base_price), avoided)?;
            books.extend(of_class.into_iter().map(|(book, view)| ((class, book.bucket), view)));
            slots.insert(class, free);
        }
        Ok(Self {
            address: wallet,
            wallet: snapshot.wallet(wallet)?,
            key: snapshot.key(wallet, key)?,
            account: snapshot.key_account(key)?,
            funds: None,
            agreements,
            books,
            slots,
            endpoints,
        })
    }

    /// The newest agreements with this spec, oldest first.
    pub fn of_spec(&self, spec_hash: B256) -> Vec<&AgreementRow> {
        let mut found: Vec<_> = self.agreements.iter().filter(|row| row.spec_hash == spec_hash).collect();
        found.sort_by_key(|row| (row.placed_block, row.id));
        found
    }
}

/// The firm books of a class, and its free slots less those that waiting bids will take.
fn read_class(
    snapshot: &Snapshot<'_>,
    head: u64,
    wallet: Address,
    (class, base_price): (u8, u128),
    avoided: &dyn Fn(u8, Address) -> bool,
) -> Result<(BTreeMap<BookId, BookView>, FreeSlots), IndexError> {
    let offers = snapshot.offers(class, OFFERS_SEEN)?;
    let mut free = FreeSlots::of(&offers, |offer| avoided(class, offer.provider));
    let (mut books, mut waiting) = (BTreeMap::new(), Vec::new());
    for bucket in 0..4 {
        let book = BookId { class, bucket, preemptible: false };
        let serving = offers.iter().filter(|offer| offer.book_mask >> book.bits() & 1 == 1);
        let view = BookView {
            base_price,
            floor: serving.map(|offer| offer.reserve_tick).min(),
            best_waiting: None,
            depth: snapshot.book(book)?.live,
            recent: snapshot.recent_clearing(book, RECENT_PRICES)?.iter().map(|clearing| clearing.tick).collect(),
        };
        waiting.extend(snapshot.open_bids(book, WAITING_SEEN)?.into_iter().map(|bid| Waiting {
            book,
            tick: bid.id.tick(),
            is_new: bid.placed_block + SERVED_WITHIN_BLOCKS > head,
            is_own: bid.wallet == wallet,
        }));
        books.insert(book, view);
    }
    queue_up(&mut books, &mut free, waiting);
    Ok((books, free))
}

/// A bid in a book.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    book: BookId,
    tick: u8,
    /// Whether a provider may not have had the time to take it.
    is_new: bool,
    /// Whether it is the agent's own: nobody should outbid himself.
    is_own: bool,
}

/// Lets waiting bids take the free slots, the dearest first; those that find none make the queue.
fn queue_up(books: &mut BTreeMap<BookId, BookView>, free: &mut FreeSlots, mut waiting: Vec<Waiting>) {
    waiting.sort_by_key(|bid| Reverse(bid.tick));
    for bid in waiting {
        let Some(view) = books.get_mut(&bid.book) else { continue };
        // Whoever waits long beside a free slot shows that nobody is there to sell it.
        if free.claim(bid.book, bid.tick) && bid.is_new {
            view.depth = view.depth.saturating_sub(1);
        } else if !bid.is_own {
            view.best_waiting = view.best_waiting.max(Some(bid.tick));
        }
    }
}

impl ProviderView {
    fn read(snapshot: &Snapshot<'_>, seller: &Seller) -> Result<Self, IndexError> {
        let (address, class) = (seller.provider, seller.class);
        let mut offers = match &seller.offers {
            Some(named) => {
                let found = named.iter().map(|id| snapshot.offer(*id)).collect::<Result<Vec<_>, _>>()?;
                found.into_iter().flatten().collect()
            }
            None => snapshot.offers(class.number(), OFFERS_SEEN)?,
        };
        offers.retain(|offer| offer.provider == address);
        let free: usize = offers.iter().map(|offer| usize::from(offer.slots.saturating_sub(offer.used))).sum();
        let mut heads = Vec::new();
        for bits in 0..contracts::ids::BOOKS_PER_CLASS {
            let book = BookId { class: class.number(), bucket: bits >> 1, preemptible: bits & 1 == 1 };
            let best = snapshot.open_bids(book, free.clamp(1, TAKEN_AT_ONCE))?;
            heads.extend(best.iter().map(|bid| (book, bid.id)));
        }
        let mut rentals = snapshot.agreements_by_provider(address, true, RENTALS_SEEN)?;
        rentals.retain(|row| seller.works_on(row));
        let about = snapshot.provider(address)?;
        Ok(Self {
            has_operators: about.as_ref().is_some_and(|about| !about.operators.is_empty()),
            may_act: seller.is_owner() || snapshot.is_operator(address, seller.account)?,
            row: about.map(|about| about.row),
            offers,
            rentals,
            heads,
            credit: snapshot.credit(address)?,
            base_price: snapshot.class_base(class.number())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::slots::tests::{LONG, SHORT, offer};

    /// Best and number of those who wait in the short book, and its lowest free slot, when two slots at 80 were free.
    fn after(waiting: &[Waiting]) -> (Option<u8>, u64, Option<u8>) {
        let mut free = FreeSlots::of(&[offer(&[SHORT, LONG], 80, 2, 0)], |_| false);
        let depth = |book| waiting.iter().filter(|bid| bid.book == book).count() as u64;
        let view = |book| (book, BookView { depth: depth(book), ..Default::default() });
        let mut books = BTreeMap::from([SHORT, LONG].map(view));
        queue_up(&mut books, &mut free, waiting.to_vec());
        (books[&SHORT].best_waiting, books[&SHORT].depth, free.floor(SHORT))
    }

    #[test]
    fn bids_that_free_slots_will_serve_are_no_queue() {
        let bid = |tick| Waiting { book: SHORT, tick, is_new: true, is_own: false };
        assert_eq!(after(&[]), (None, 0, Some(80)));
        assert_eq!(after(&[bid(90)]), (None, 0, Some(80)));
        assert_eq!(after(&[bid(90), bid(85)]), (None, 0, None));
        assert_eq!(after(&[bid(81), bid(90), bid(85)]), (Some(81), 1, None));
        assert_eq!(after(&[bid(79)]), (Some(79), 1, Some(80)), "it cannot pay for any");
        let other = Waiting { book: LONG, ..bid(90) };
        assert_eq!(after(&[bid(81), other, other]), (Some(81), 1, None), "other books share the slots");
    }

    #[test]
    fn a_slot_that_serves_nobody_is_not_counted_on_and_nobody_outbids_himself() {
        let old = |tick| Waiting { book: SHORT, tick, is_new: false, is_own: false };
        assert_eq!(after(&[old(90)]), (Some(90), 1, Some(80)));
        assert_eq!(after(&[old(90), old(85)]), (Some(90), 2, None));
        let own = |bid| Waiting { is_own: true, ..bid };
        assert_eq!(after(&[own(old(90)), old(85)]), (Some(85), 2, None));
    }
}
