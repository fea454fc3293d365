//! Every key and value of the store.
//!
//! Two column families in one database. `state` holds what folds from events and nothing else: two indexes of one chain
//! at one block have the same bytes there. `chain` holds what it takes to follow and undo: it depends on the horizon.
//!
//! Numbers are big-endian, so that byte order is number order; `~x` is the bitwise complement, which turns the order
//! round. A key is its table's letter and then the fields named here.
//!
//! | `state` | key | value |
//! |---|---|---|
//! | `A` agreements | id 11 | [`AgreementRow`](super::rows::AgreementRow) |
//! | `q` queues: open bids, best first in their book | book 2, ~tick 1, sequence 8 | – |
//! | `a` ages: open bids of a class, oldest first | class 1, block 8, id 11 | – |
//! | `w` a wallet's agreements, newest first | wallet 20, ~block 8, id 11 | – |
//! | `W` the live ones among them | wallet 20, ~block 8, id 11 | – |
//! | `S` a wallet's agreements for one spec, newest first | wallet 20, spec hash 32, ~block 8, id 11 | – |
//! | `p` a provider's rentals, newest match first | provider 20, ~block 8, id 11 | – |
//! | `P` the live ones among them | provider 20, ~block 8, id 11 | – |
//! | `r` all rentals, newest match first | ~block 8, id 11 | – |
//! | `c` matches of a book as prices, newest first | book 2, ~block 8, id 11 | [`Clearing`](super::rows::Clearing) |
//! | `L` levels | book 2, ~tick 1 | [`LevelRow`](super::rows::LevelRow) |
//! | `B` books | book 2 | [`BookRow`](super::rows::BookRow) |
//! | `C` classes | class 1 | [`ClassRow`](super::rows::ClassRow) |
//! | `T` templates | id 2 | [`TemplateRow`](super::rows::TemplateRow) |
//! | `O` offers | id 8 | [`OfferRow`](super::rows::OfferRow) |
//! | `o` a provider's offers | provider 20, id 8 | – |
//! | `l` active offers of a class | class 1, id 8 | – |
//! | `V` providers | address 20 | [`ProviderRow`](super::rows::ProviderRow) |
//! | `x` operators of a provider | provider 20, operator 20 | – |
//! | `Z` wallets | address 20 | [`WalletRow`](super::rows::WalletRow) |
//! | `K` session keys | wallet 20, key 20 | [`KeyRow`](super::rows::KeyRow) |
//! | `y` providers on a wallet's allow-list | wallet 20, provider 20 | – |
//! | `k` session keys' accounts at the market | key 20 | [`KeyAccountRow`](super::rows::KeyAccountRow) |
//! | `s` what a wallet counted of ended bids, newest first | wallet 20, ~block 8, ~log index 4 | [`SpendRow`](super::rows::SpendRow) |
//! | `M` credits of accounts, never zero | account 20 | [`CreditRow`](super::rows::CreditRow) |
//! | `G` configuration | – | [`ConfigRow`](super::rows::ConfigRow) |
//! | `t` totals | – | [`TotalsRow`](super::rows::TotalsRow) |
//!
//! | `chain` | key | value |
//! |---|---|---|
//! | `m` facts about the store | name | see [`Fact`] |
//! | `h` headers inside the horizon | number 8 | [`Header`](super::Header) |
//! | `u` undo records inside the horizon | number 8 | keys that the block changed, with their values before it |

use alloy::primitives::{Address, B256};
use contracts::ids::{AgreementId, BookId};

/// Number of this layout; a store of another number is refused.
pub(crate) const SCHEMA_VERSION: u32 = 3;

/// Family of rows that fold from events.
pub(crate) const STATE: &str = "state";
/// Family of headers, undo records and facts about the store.
pub(crate) const CHAIN: &str = "chain";

/// Facts about the store, in `chain`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    /// [`SCHEMA_VERSION`], 4 bytes.
    Schema,
    /// Chain id 8, market 20, factory 20, start block 8.
    Identity,
    /// [`Header`](super::Header) of the newest block folded.
    Cursor,
}

impl Fact {
    /// Its key.
    pub(crate) fn key(self) -> &'static [u8] {
        match self {
            Self::Schema => b"mschema",
            Self::Identity => b"midentity",
            Self::Cursor => b"mcursor",
        }
    }
}

/// Tables of `state`, by the letter that opens their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    Agreements = b'A',
    Queues = b'q',
    Ages = b'a',
    WalletAgreements = b'w',
    WalletLive = b'W',
    WalletSpecs = b'S',
    ProviderRentals = b'p',
    ProviderLive = b'P',
    Rentals = b'r',
    Clearings = b'c',
    Levels = b'L',
    Books = b'B',
    Classes = b'C',
    Templates = b'T',
    Offers = b'O',
    ProviderOffers = b'o',
    ListedOffers = b'l',
    Providers = b'V',
    Operators = b'x',
    Wallets = b'Z',
    Keys = b'K',
    KeyAccounts = b'k',
    AllowedProviders = b'y',
    Spends = b's',
    Credits = b'M',
    Config = b'G',
    Totals = b't',
}

/// A key of `state`, built field by field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// The table's letter alone.
    pub(crate) fn new(table: Table) -> Self {
        let mut bytes = Vec::with_capacity(72);
        bytes.push(table as u8);
        Self(bytes)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn address(self, address: Address) -> Self {
        self.bytes(address.as_slice())
    }

    pub(crate) fn u8(self, number: u8) -> Self {
        self.bytes(&[number])
    }

    pub(crate) fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Highest first.
    pub(crate) fn down(self, number: u64) -> Self {
        self.u64(!number)
    }

    pub(crate) fn id(self, id: AgreementId) -> Self {
        self.bytes(&id.to_be_bytes())
    }

    pub(crate) fn book(self, book: BookId) -> Self {
        self.bytes(&book.to_u16().to_be_bytes())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) fn agreement(id: AgreementId) -> Key {
    Key::new(Table::Agreements).id(id)
}

pub(crate) fn queue(book: BookId, tick: u8, sequence: u64) -> Key {
    Key::new(Table::Queues).book(book).u8(!tick).u64(sequence)
}

pub(crate) fn age(class: u8, block: u64, id: AgreementId) -> Key {
    Key::new(Table::Ages).u8(class).u64(block).id(id)
}

/// Key of `table`, one of the indexes that list an account's agreements newest first.
pub(crate) fn by_account(table: Table, account: Address, block: u64, id: AgreementId) -> Key {
    Key::new(table).address(account).down(block).id(id)
}

/// All agreements of a wallet that are to run one spec.
pub(crate) fn of_spec(wallet: Address, spec_hash: B256) -> Key {
    Key::new(Table::WalletSpecs).address(wallet).bytes(spec_hash.as_slice())
}

pub(crate) fn rental(block: u64, id: AgreementId) -> Key {
    Key::new(Table::Rentals).down(block).id(id)
}

pub(crate) fn clearing(book: BookId, block: u64, id: AgreementId) -> Key {
    Key::new(Table::Clearings).book(book).down(block).id(id)
}

pub(crate) fn level(book: BookId, tick: u8) -> Key {
    Key::new(Table::Levels).book(book).u8(!tick)
}

pub(crate) fn book(book: BookId) -> Key {
    Key::new(Table::Books).book(book)
}

pub(crate) fn class(class: u8) -> Key {
    Key::new(Table::Classes).u8(class)
}

pub(crate) fn template(id: u16) -> Key {
    Key::new(Table::Templates).bytes(&id.to_be_bytes())
}

pub(crate) fn offer(id: u64) -> Key {
    Key::new(Table::Offers).u64(id)
}

pub(crate) fn provider_offer(provider: Address, id: u64) -> Key {
    Key::new(Table::ProviderOffers).address(provider).u64(id)
}

pub(crate) fn listed_offer(class: u8, id: u64) -> Key {
    Key::new(Table::ListedOffers).u8(class).u64(id)
}

pub(crate) fn provider(provider: Address) -> Key {
    Key::new(Table::Providers).address(provider)
}

pub(crate) fn operator(provider: Address, operator: Address) -> Key {
    Key::new(Table::Operators).address(provider).address(operator)
}

pub(crate) fn wallet(wallet: Address) -> Key {
    Key::new(Table::Wallets).address(wallet)
}

pub(crate) fn session_key(wallet: Address, agent: Address) -> Key {
    Key::new(Table::Keys).address(wallet).address(agent)
}

pub(crate) fn allowed_provider(wallet: Address, provider: Address) -> Key {
    Key::new(Table::AllowedProviders).address(wallet).address(provider)
}

pub(crate) fn key_account(agent: Address) -> Key {
    Key::new(Table::KeyAccounts).address(agent)
}

pub(crate) fn spend(wallet: Address, block: u64, log_index: u32) -> Key {
    Key::new(Table::Spends).address(wallet).down(block).bytes(&(!log_index).to_be_bytes())
}

pub(crate) fn credit(account: Address) -> Key {
    Key::new(Table::Credits).address(account)
}

pub(crate) fn config() -> Key {
    Key::new(Table::Config)
}

pub(crate) fn totals() -> Key {
    Key::new(Table::Totals)
}

/// Key of a header, in `chain`.
pub(crate) fn header(number: u64) -> [u8; 9] {
    numbered(b'h', number)
}

/// Key of an undo record, in `chain`.
pub(crate) fn undo(number: u64) -> [u8; 9] {
    numbered(b'u', number)
}

fn numbered(letter: u8, number: u64) -> [u8; 9] {
    let mut key = [letter; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The id at the end of an index key.
pub(crate) fn trailing_id(key: &[u8]) -> Option<AgreementId> {
    key.last_chunk::<11>().map(|bytes| AgreementId::from_be_bytes(*bytes))
}

/// The address at the end of an index key.
pub(crate) fn trailing_address(key: &[u8]) -> Option<Address> {
    key.last_chunk::<20>().map(|bytes| Address::from(*bytes))
}

/// The number at the end of an index key.
pub(crate) fn trailing_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The bid that a queue key stands for.
pub(crate) fn queued_id(key: &[u8]) -> Option<AgreementId> {
    let (_, rest) = key.split_first()?;
    let (book, rest) = rest.split_first_chunk::<2>()?;
    let (tick, rest) = rest.split_first()?;
    let sequence = u64::from_be_bytes(*rest.first_chunk::<8>()?);
    Some(AgreementId::new(BookId::from_u16(u16::from_be_bytes(*book))?, !tick, sequence))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queues_sort_best_and_oldest_first() {
        let book_id = BookId { class: 2, bucket: 1, preemptible: false };
        let keys = [queue(book_id, 9, 0), queue(book_id, 9, 1), queue(book_id, 8, 0)];
        assert!(keys.is_sorted());
        assert_eq!(queued_id(keys[1].as_slice()).unwrap(), AgreementId::new(book_id, 9, 1));
        assert!(rental(8, AgreementId::default()) < rental(7, AgreementId::default()), "newest first");
    }

    #[test]
    fn the_end_of_a_key_is_read_back() {
        let id = AgreementId::new(BookId { class: 5, bucket: 3, preemptible: true }, 255, u64::MAX);
        let account = Address::repeat_byte(7);
        assert_eq!(trailing_id(by_account(Table::WalletLive, account, 3, id).as_slice()), Some(id));
        assert_eq!(trailing_address(operator(Address::ZERO, account).as_slice()), Some(account));
        assert_eq!(trailing_u64(listed_offer(1, 77).as_slice()), Some(77));
    }
}
