//! What the keeper sees of the market: one consistent snapshot of the index, cut down to what its roles decide on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

use crate::seller::Seller;

/// Live rentals of a provider that are looked at.
const RENTALS_SEEN: usize = 2_000;
/// Live agreements of a wallet: far above the jobs a keeper takes at once.
const LIVE_SEEN: usize = 10_000;
/// Newest agreements of one job: far above the bids that an agent places for it.
const JOB_AGREEMENTS_SEEN: usize = 64;
/// Open offers looked at per class.
const OFFERS_SEEN: usize = 1_000;
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BookView {
    /// Price of tick 0, per second × 1e18.
    pub base_price: u128,
    /// Lowest reserve of an offer with a free slot.
    pub free_floor: Option<u8>,
    /// The same, without those that the agent avoids.
    pub liked_floor: Option<u8>,
    /// Lowest reserve of any open offer.
    pub floor: Option<u8>,
    /// Best waiting tick.
    pub best_waiting: Option<u8>,
    /// Waiting bids.
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
    /// Best bid of every book of its class.
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
            .map(|(wallet, key)| AgentView::read(snapshot, wallet, key, &viewer.specs, &avoided))
            .transpose()?;
        let provider = viewer.provider.map(|seller| ProviderView::read(snapshot, &seller)).transpose()?;
        Ok(Some(Self { head, agent, provider }))
    }
}

impl AgentView {
    fn read(
        snapshot: &Snapshot<'_>,
        wallet: Address,
        key: Address,
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
        let mut books = BTreeMap::new();
        for class in HardwareClass::ALL {
            for bucket in 0..4 {
                let book = BookId { class: class.number(), bucket, preemptible: false };
                if let Some(view) = BookView::read(snapshot, book, avoided)? {
                    books.insert((book.class, bucket), view);
                }
            }
        }
        Ok(Self {
            address: wallet,
            wallet: snapshot.wallet(wallet)?,
            key: snapshot.key(wallet, key)?,
            account: snapshot.key_account(key)?,
            funds: None,
            agreements,
            books,
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

impl BookView {
    fn read(
        snapshot: &Snapshot<'_>,
        book: BookId,
        avoided: &dyn Fn(u8, Address) -> bool,
    ) -> Result<Option<Self>, IndexError> {
        let Some(base_price) = snapshot.class_base(book.class)? else { return Ok(None) };
        let offers = snapshot.offers(book.class, OFFERS_SEEN)?;
        let serving = || offers.iter().filter(|offer| offer.book_mask >> book.bits() & 1 == 1);
        let free = || serving().filter(|offer| offer.used < offer.slots);
        let waiting = snapshot.book(book)?;
        Ok(Some(Self {
            base_price,
            free_floor: free().map(|offer| offer.reserve_tick).min(),
            liked_floor: free()
                .filter(|offer| !avoided(book.class, offer.provider))
                .map(|offer| offer.reserve_tick)
                .min(),
            floor: serving().map(|offer| offer.reserve_tick).min(),
            best_waiting: waiting.best_tick(),
            depth: waiting.live,
            recent: snapshot.recent_clearing(book, RECENT_PRICES)?.iter().map(|clearing| clearing.tick).collect(),
        }))
    }
}

impl ProviderView {
    fn read(snapshot: &Snapshot<'_>, seller: &Seller) -> Result<Self, IndexError> {
        let (address, class) = (seller.provider, seller.class);
        let mut heads = Vec::new();
        for bits in 0..contracts::ids::BOOKS_PER_CLASS {
            let book = BookId { class: class.number(), bucket: bits >> 1, preemptible: bits & 1 == 1 };
            heads.extend(snapshot.open_bids(book, 1)?.first().map(|bid| (book, bid.id)));
        }
        let mut offers = match &seller.offers {
            Some(named) => {
                let found = named.iter().map(|id| snapshot.offer(*id)).collect::<Result<Vec<_>, _>>()?;
                found.into_iter().flatten().collect()
            }
            None => snapshot.offers(class.number(), OFFERS_SEEN)?,
        };
        offers.retain(|offer| offer.provider == address);
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
