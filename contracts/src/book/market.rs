//! The market's state, its settings and its views (`MarketState.sol`), and the owners' calls to their wallets.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::Address;

use super::{
    error::Error,
    queue::{Book, Level},
    token::Token,
    types::{Agreement, KeyAccount, Limits, Offer, OfferId, Policy, Status, Wallet},
    wallet::Ended,
};
use crate::{
    ids::{AgreementId, BookId},
    params::Params,
    price::{cost_of, price_at},
};

/// Where burned tokens are credited; nobody can withdraw them.
pub const BURNED: Address = alloy::primitives::address!("000000000000000000000000000000000000dEaD");
/// Highest fee, 1/10,000.
pub const MAX_FEE_BPS: u16 = 1_000;
/// Highest number of a template.
pub const MAX_TEMPLATE: u16 = 127;
/// Longest endpoint, bytes.
pub const MAX_ENDPOINT_LENGTH: usize = 256;
/// Longest life of a bid, seconds.
pub const MAX_BID_LIFETIME_S: u64 = 7 * 86_400;
const MAX_CLASS: u8 = 31;
const MIN_BASE_PRICE: u128 = 100;

/// Who holds which power, and the fee of bids to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Owner of the settings.
    pub admin: Address,
    /// Earns fees and a tenth of what is slashed.
    pub treasury: Address,
    /// Rules on disputes.
    pub arbiter: Address,
    /// May stop entries.
    pub pauser: Address,
    /// 1/10,000 of gross pay.
    pub fee_bps: u16,
}

/// A class: its 256 prices, and which templates its bids may name.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// Empty until it is added.
    prices: Vec<u128>,
    /// Bit n: template n.
    templates: u128,
}

/// The whole market: books, rentals, offers, credits, wallets and tokens.
///
/// Every call takes the time first, Unix seconds, and either fails without a change or does what the contracts do.
#[derive(Clone, Debug)]
pub struct Market {
    pub(super) address: Address,
    pub(super) clocks: Params,
    pub(super) config: Config,
    pub(super) paused: bool,
    /// Token units per unit of a limit.
    pub(super) unit: u128,
    pub(super) classes: Vec<Class>,
    pub(super) templates: u128,
    pub(super) books: BTreeMap<BookId, Book>,
    pub(super) agreements: BTreeMap<AgreementId, Agreement>,
    pub(super) offers: Vec<Offer>,
    pub(super) accounts: BTreeMap<Address, KeyAccount>,
    pub(super) credits: BTreeMap<Address, u128>,
    pub(super) treasury_credit: u128,
    pub(super) providers: BTreeSet<Address>,
    pub(super) operators: BTreeSet<(Address, Address)>,
    pub(super) nonces: BTreeMap<(Address, Address), u64>,
    pub(super) wallets: BTreeMap<Address, Wallet>,
    pub(super) token: Token,
}

impl Market {
    /// A market without classes, at `address`, for a token of `decimals` (at most 18).
    pub fn new(address: Address, clocks: Params, config: Config, decimals: u8) -> Self {
        Self {
            address,
            clocks,
            config,
            paused: false,
            unit: 10u128.pow(u32::from(decimals.saturating_sub(6))),
            classes: vec![Class::default(); usize::from(MAX_CLASS) + 1],
            templates: 0,
            books: BTreeMap::new(),
            agreements: BTreeMap::new(),
            offers: Vec::new(),
            accounts: BTreeMap::new(),
            credits: BTreeMap::new(),
            treasury_credit: 0,
            providers: BTreeSet::new(),
            operators: BTreeSet::new(),
            nonces: BTreeMap::new(),
            wallets: BTreeMap::new(),
            token: Token::default(),
        }
    }

    // --- admin ---

    /// `addClass`: `base` is the price of tick 0, token units per second × 1e18.
    pub fn add_class(&mut self, caller: Address, class: u8, base: u128) -> Result<(), Error> {
        self.check_admin(caller)?;
        if class == 0 || class > MAX_CLASS || base < MIN_BASE_PRICE {
            return Err(Error::InvalidClass { class });
        }
        let slot = &mut self.classes[usize::from(class)];
        if !slot.prices.is_empty() {
            return Err(Error::ClassExists { class });
        }
        let prices = (0..=u8::MAX).map(|tick| price_at(base, tick)).collect::<Option<_>>();
        slot.prices = prices.ok_or(Error::PriceTooLarge)?;
        Ok(())
    }

    /// `addTemplate`, for the classes of the mask.
    pub fn add_template(&mut self, caller: Address, template: u16, class_mask: u32) -> Result<(), Error> {
        self.check_admin(caller)?;
        if template > MAX_TEMPLATE {
            return Err(Error::InvalidTemplate { template, max: MAX_TEMPLATE });
        }
        if class_mask < 2 {
            return Err(Error::InvalidClass { class: 0 });
        }
        if self.templates >> template & 1 == 1 {
            return Err(Error::TemplateExists { template });
        }
        self.templates |= 1 << template;
        for (class, slot) in self.classes.iter_mut().enumerate().skip(1) {
            slot.templates |= u128::from(class_mask >> class & 1) << template;
        }
        Ok(())
    }

    /// `setConfig`; what was earned stays with whoever was the treasury then. The admin does not change.
    pub fn set_config(&mut self, caller: Address, config: Config) -> Result<(), Error> {
        self.check_admin(caller)?;
        if config.fee_bps > MAX_FEE_BPS {
            return Err(Error::FeeTooHigh { fee_bps: config.fee_bps, max: MAX_FEE_BPS });
        }
        if config.treasury.is_zero() || config.arbiter.is_zero() || config.pauser.is_zero() {
            return Err(Error::ZeroAddress);
        }
        let earned = std::mem::take(&mut self.treasury_credit);
        self.add_credit(self.config.treasury, earned);
        self.config = Config { admin: self.config.admin, ..config };
        Ok(())
    }

    /// `pause` and `unpause`.
    pub fn set_paused(&mut self, caller: Address, paused: bool) -> Result<(), Error> {
        if caller != self.config.pauser && caller != self.config.admin {
            return Err(Error::NotPauser { caller });
        }
        if paused {
            self.check_unpaused()?;
        } else if !self.paused {
            return Err(Error::ExpectedPause);
        }
        self.paused = paused;
        Ok(())
    }

    // --- wallets, by their owners and keys ---

    /// `createWallet` of the factory, which leaves a wallet that exists as it is. The address is the caller's to know.
    pub fn create_wallet(
        &mut self,
        now_s: u64,
        address: Address,
        owner: Address,
        limits: &Limits,
        key: Option<(Address, &Policy)>,
    ) -> Result<(), Error> {
        if owner.is_zero() {
            return Err(Error::ZeroOwner);
        }
        if self.wallets.contains_key(&address) {
            return Ok(());
        }
        let mut wallet = Wallet { owner, ..Default::default() };
        wallet.write_limits(limits, self.unit)?;
        if let Some((agent, policy)) = key {
            wallet.write_key(now_s, agent, None, 0, policy, self.unit)?;
        }
        self.wallets.insert(address, wallet);
        Ok(())
    }

    /// `authorizeAgent`, by the owner or a key that may delegate.
    pub fn authorize(
        &mut self,
        now_s: u64,
        wallet: Address,
        sender: Address,
        agent: Address,
        policy: &Policy,
    ) -> Result<(), Error> {
        let unit = self.unit;
        self.wallet_mut(wallet)?.authorize(now_s, sender, agent, policy, unit)
    }

    /// `revokeAgent`, by the owner, a live ancestor or the key itself.
    pub fn revoke(&mut self, now_s: u64, wallet: Address, sender: Address, agent: Address) -> Result<(), Error> {
        self.wallet_mut(wallet)?.revoke(now_s, sender, agent)
    }

    /// `revokeAll`: kills every key and pauses.
    pub fn revoke_all(&mut self, wallet: Address, sender: Address) -> Result<(), Error> {
        let wallet = self.owned(wallet, sender)?;
        wallet.epoch += 1;
        wallet.paused = true;
        Ok(())
    }

    /// `setLimits`.
    pub fn set_limits(&mut self, wallet: Address, sender: Address, limits: &Limits) -> Result<(), Error> {
        let unit = self.unit;
        self.owned(wallet, sender)?.write_limits(limits, unit)
    }

    /// `setPaused` of a wallet.
    pub fn set_wallet_paused(&mut self, wallet: Address, sender: Address, paused: bool) -> Result<(), Error> {
        self.owned(wallet, sender)?.paused = paused;
        Ok(())
    }

    /// `allowProvider`.
    pub fn allow_provider(
        &mut self,
        wallet: Address,
        sender: Address,
        provider: Address,
        allowed: bool,
    ) -> Result<(), Error> {
        let list = &mut self.owned(wallet, sender)?.allowed;
        if allowed {
            list.insert(provider);
        } else {
            list.remove(&provider);
        }
        Ok(())
    }

    /// `withdraw` of a wallet.
    pub fn withdraw_from_wallet(
        &mut self,
        wallet: Address,
        sender: Address,
        to: Address,
        amount: u128,
    ) -> Result<(), Error> {
        self.owned(wallet, sender)?;
        self.token.transfer(wallet, to, amount)
    }

    /// `transferOwnership` of a wallet.
    pub fn transfer_ownership(&mut self, wallet: Address, sender: Address, to: Address) -> Result<(), Error> {
        self.owned(wallet, sender)?.pending_owner = to;
        Ok(())
    }

    /// `acceptOwnership` of a wallet.
    pub fn accept_ownership(&mut self, wallet: Address, sender: Address) -> Result<(), Error> {
        let wallet = self.wallet_mut(wallet)?;
        if sender != wallet.pending_owner {
            return Err(Error::NotOwner { caller: sender });
        }
        wallet.pending_owner = Address::ZERO;
        wallet.owner = sender;
        Ok(())
    }

    // --- views ---

    /// Address of the market itself, which holds escrow and bonds.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Roles and fee.
    pub fn config(&self) -> Config {
        self.config
    }

    /// Whether entries are stopped.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Price of a tick, token units per second × 1e18.
    pub fn price(&self, class: u8, tick: u8) -> Result<u128, Error> {
        let slot = self.classes.get(usize::from(class));
        slot.and_then(|slot| slot.prices.get(usize::from(tick)).copied()).ok_or(Error::ClassUnknown { class })
    }

    /// A bid or rental.
    pub fn agreement(&self, id: AgreementId) -> Option<&Agreement> {
        self.agreements.get(&id)
    }

    /// All bids and rentals, in the order of their ids: by book, tick and age.
    pub fn agreements(&self) -> impl DoubleEndedIterator<Item = (AgreementId, &Agreement)> {
        self.agreements.iter().map(|(id, agreement)| (*id, agreement))
    }

    /// An offer.
    pub fn offer(&self, offer: OfferId) -> Option<&Offer> {
        self.offers.get(usize::try_from(offer.checked_sub(1)?).ok()?)
    }

    /// All offers, oldest first, with their numbers.
    pub fn offers(&self) -> impl Iterator<Item = (OfferId, &Offer)> {
        (1..).zip(&self.offers)
    }

    /// A book; `None` until its first bid.
    pub fn book(&self, book: BookId) -> Option<&Book> {
        self.books.get(&book)
    }

    /// A price level.
    pub fn level(&self, book: BookId, tick: u8) -> Level {
        self.books.get(&book).map(|book| book.level(tick)).unwrap_or_default()
    }

    /// A key's account.
    pub fn key_account(&self, agent: Address) -> KeyAccount {
        self.accounts.get(&agent).copied().unwrap_or_default()
    }

    /// What `account` could withdraw.
    pub fn credit_of(&self, account: Address) -> u128 {
        let credit = self.credits.get(&account).copied().unwrap_or_default();
        if account == self.config.treasury { credit + self.treasury_credit } else { credit }
    }

    /// Next nonce of `agent` for bids by signature.
    pub fn nonce(&self, wallet: Address, agent: Address) -> u64 {
        self.nonces.get(&(wallet, agent)).copied().unwrap_or_default()
    }

    /// Whether `provider` is registered.
    pub fn is_provider(&self, provider: Address) -> bool {
        self.providers.contains(&provider)
    }

    /// Whether `operator` acts for `provider`.
    pub fn is_operator(&self, provider: Address, operator: Address) -> bool {
        self.operators.contains(&(provider, operator))
    }

    /// A wallet.
    pub fn wallet(&self, wallet: Address) -> Option<&Wallet> {
        self.wallets.get(&wallet)
    }

    /// Token units per unit of a limit.
    pub fn unit(&self) -> u128 {
        self.unit
    }

    /// What `wallet` spent in the rolling window, rounded up.
    pub fn spent_in_window(&self, now_s: u64, wallet: Address) -> u128 {
        self.wallet(wallet).map_or(0, |wallet| wallet.ledger.window.sum(now_s) * self.unit)
    }

    /// `availableTo`: what `agent` could still reserve now, under every limit and the funds at hand.
    pub fn available_to(&self, now_s: u64, wallet: Address, agent: Address) -> u128 {
        let account = self.key_account(agent);
        let Some(state) = self.wallet(wallet).filter(|_| account.wallet == wallet || account.wallet.is_zero()) else {
            return 0;
        };
        let ended = Ended { spent: account.spent, released: account.released };
        state.room(now_s, agent, ended, self.unit).min(self.token.balance_of(wallet) + account.credit)
    }

    /// The token's balances.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The token, to mint and approve.
    pub fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }

    // --- internals ---

    pub(super) fn status(&self, id: AgreementId) -> Status {
        self.agreements.get(&id).map_or(Status::None, |agreement| agreement.status)
    }

    /// Token units for `seconds` at the price in an id that the market gave; they always fit.
    pub(super) fn cost(&self, id: AgreementId, seconds: u64) -> u128 {
        let price = self.price(id.class(), id.tick()).unwrap_or_default();
        u32::try_from(seconds).ok().and_then(|seconds| cost_of(price, seconds)).unwrap_or_default()
    }

    pub(super) fn has_template(&self, class: u8, template: u16) -> bool {
        let known = self.classes.get(usize::from(class)).map_or(0, |slot| slot.templates);
        template <= MAX_TEMPLATE && known >> template & 1 == 1
    }

    pub(super) fn check_unpaused(&self) -> Result<(), Error> {
        if self.paused { Err(Error::EnforcedPause) } else { Ok(()) }
    }

    fn check_admin(&self, caller: Address) -> Result<(), Error> {
        if caller == self.config.admin { Ok(()) } else { Err(Error::OwnableUnauthorizedAccount { caller }) }
    }

    pub(super) fn wallet_mut(&mut self, wallet: Address) -> Result<&mut Wallet, Error> {
        self.wallets.get_mut(&wallet).ok_or(Error::NotWallet { caller: wallet })
    }

    fn owned(&mut self, wallet: Address, sender: Address) -> Result<&mut Wallet, Error> {
        let wallet = self.wallet_mut(wallet)?;
        wallet.check_owner(sender)?;
        Ok(wallet)
    }

    pub(super) fn add_credit(&mut self, account: Address, amount: u128) {
        if amount != 0 {
            *self.credits.entry(account).or_default() += amount;
        }
    }
}
