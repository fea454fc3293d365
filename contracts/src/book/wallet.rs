//! What a wallet answers: who may what, and what a key may still spend (`WalletKeys.sol`, `AgentWallet.sol`).
//!
//! Nothing here sees the market: a call either fails or changes the wallet alone.

use std::iter;

use alloy::primitives::Address;

use super::{
    error::Error,
    ledger::Ledger,
    types::{Key, Limits, Policy, Wallet, permission},
};
use crate::ids::AgreementId;

const MAX_DEPTH: u8 = 3;

/// What ended since the wallet counted last, token units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) spent: u128,
    pub(super) released: u128,
}

/// New ledgers, ready to be written.
#[derive(Debug)]
pub(super) struct Accounted {
    keys: Vec<(Address, Ledger)>,
    wallet: Ledger,
}

impl Wallet {
    // --- keys (WalletKeys.sol) ---

    /// `authorizeAgent`: the owner or a key with permission to delegate.
    pub(super) fn authorize(
        &mut self,
        now_s: u64,
        sender: Address,
        agent: Address,
        policy: &Policy,
        unit: u128,
    ) -> Result<(), Error> {
        if sender == self.owner {
            return self.write_key(now_s, agent, None, 0, policy, unit);
        }
        let parent = *self.keys.get(&sender).ok_or(Error::NotAgent { caller: sender })?;
        self.check_live(now_s, sender)?;
        self.check_permission(sender, permission::DELEGATE)?;
        if parent.depth + 1 > MAX_DEPTH {
            return Err(Error::DelegationTooDeep { parent: sender });
        }
        if !contains(&parent, policy, unit) {
            return Err(Error::DelegationExceedsParent { parent: sender });
        }
        self.write_key(now_s, agent, Some(sender), parent.depth + 1, policy, unit)
    }

    /// `_authorize`: again by the same parent, it replaces the policy and revives the key.
    pub(super) fn write_key(
        &mut self,
        now_s: u64,
        agent: Address,
        parent: Option<Address>,
        depth: u8,
        policy: &Policy,
        unit: u128,
    ) -> Result<(), Error> {
        if agent.is_zero()
            || agent == self.owner
            || policy.expiry_s <= now_s
            || policy.permissions == 0
            || policy.permissions > permission::ALL
        {
            return Err(Error::InvalidPolicy);
        }
        let known = self.keys.get(&agent);
        if known.is_some_and(|key| key.parent != parent) {
            return Err(Error::AgentExists { agent });
        }
        let mut max_ticks = [0; 32];
        for class in classes_of(policy.class_mask) {
            if policy.max_ticks[class] == 0 {
                return Err(Error::InvalidPolicy);
            }
            max_ticks[class] = policy.max_ticks[class];
        }
        let spent = known.map(|key| key.ledger).unwrap_or_default();
        let key = Key {
            parent,
            depth,
            expiry_s: policy.expiry_s,
            permissions: policy.permissions,
            active: true,
            provider_list: policy.provider_list,
            epoch: self.epoch,
            per_bid_units: units_of(policy.limits.per_bid, unit)?,
            max_ticks,
            ledger: Ledger {
                daily_units: units_of(policy.limits.daily, unit)?,
                lifetime_units: lifetime_units_of(policy.limits.lifetime, unit)?,
                ..spent
            },
        };
        self.keys.insert(agent, key);
        Ok(())
    }

    /// `revokeAgent`: the owner, a live ancestor, or the key itself.
    pub(super) fn revoke(&mut self, now_s: u64, sender: Address, agent: Address) -> Result<(), Error> {
        if sender != self.owner {
            if !self.keys.contains_key(&sender) || !self.is_lineage(sender, agent) {
                return Err(Error::NotAgent { caller: sender });
            }
            self.check_live(now_s, sender)?;
        }
        let key = self.keys.get_mut(&agent).filter(|key| key.active).ok_or(Error::AgentUnknown { agent })?;
        key.active = false;
        Ok(())
    }

    /// `_setLimits`.
    pub(super) fn write_limits(&mut self, limits: &Limits, unit: u128) -> Result<(), Error> {
        let per_bid_units = units_of(limits.per_bid, unit)?;
        let daily_units = units_of(limits.daily, unit)?;
        let lifetime_units = lifetime_units_of(limits.lifetime, unit)?;
        self.per_bid_units = per_bid_units;
        self.ledger.daily_units = daily_units;
        self.ledger.lifetime_units = lifetime_units;
        Ok(())
    }

    pub(super) fn check_owner(&self, sender: Address) -> Result<(), Error> {
        if sender == self.owner { Ok(()) } else { Err(Error::NotOwner { caller: sender }) }
    }

    // --- the limit law ---

    /// `_checkBid`: every key of the lineage is live, and the bid within its caps.
    pub(super) fn check_bid(
        &self,
        now_s: u64,
        address: Address,
        agent: Address,
        id: AgreementId,
        amount: u128,
        unit: u128,
    ) -> Result<(), Error> {
        if self.paused {
            return Err(Error::WalletPaused);
        }
        self.check_permission(agent, permission::BID)?;
        check_per_bid(address, amount, self.per_bid_units, unit)?;
        let (class, tick) = (id.class(), id.tick());
        for (spender, key) in self.lineage(agent) {
            self.check_auth(now_s, spender, key)?;
            if key.permissions & permission::BID == 0 {
                return Err(Error::PermissionMissing { agent: spender, permission: permission::BID });
            }
            check_per_bid(spender, amount, key.per_bid_units, unit)?;
            let max_tick = key.max_ticks[usize::from(class)];
            if max_tick == 0 {
                return Err(Error::ClassForbidden { agent: spender, class });
            }
            if tick > max_tick {
                return Err(Error::TickAboveCap { agent: spender, tick, max_tick });
            }
        }
        Ok(())
    }

    /// `_account`: counts what ended and reserves `amount`, along the key's lineage and on the wallet.
    pub(super) fn account(
        &self,
        now_s: u64,
        address: Address,
        agent: Address,
        amount: u128,
        ended: Ended,
        unit: u128,
    ) -> Result<Accounted, Error> {
        let update =
            |ledger: &Ledger, spender| ledger.updated(now_s, spender, amount, ended.spent, ended.released, unit);
        let keys = self.lineage(agent).map(|(spender, key)| Ok((spender, update(&key.ledger, spender)?)));
        let keys = keys.collect::<Result<_, Error>>()?;
        Ok(Accounted { keys, wallet: update(&self.ledger, address)? })
    }

    /// Writes what [`Self::account`] found.
    pub(super) fn commit(&mut self, accounted: Accounted) {
        for (agent, ledger) in accounted.keys {
            if let Some(key) = self.keys.get_mut(&agent) {
                key.ledger = ledger;
            }
        }
        self.ledger = accounted.wallet;
    }

    /// `_room`: what one bid of `agent` could reserve now, once `ended` is counted.
    pub(super) fn room(&self, now_s: u64, agent: Address, ended: Ended, unit: u128) -> u128 {
        if self.paused || !self.may_bid(now_s, agent) {
            return 0;
        }
        let room = |ledger: &Ledger, per_bid_units: u32| {
            ledger.room(now_s, ended.spent, ended.released, unit).min(u128::from(per_bid_units) * unit)
        };
        let wallet = room(&self.ledger, self.per_bid_units);
        self.lineage(agent).map(|(_, key)| room(&key.ledger, key.per_bid_units)).fold(wallet, u128::min)
    }

    // --- who may what ---

    /// `isActive`: the key and all its ancestors are live.
    pub fn is_active(&self, now_s: u64, agent: Address) -> bool {
        self.keys.contains_key(&agent) && self.lineage(agent).all(|(_, key)| !self.is_dead(now_s, key))
    }

    /// `_mayBid`.
    pub(super) fn may_bid(&self, now_s: u64, agent: Address) -> bool {
        self.keys.contains_key(&agent)
            && self.lineage(agent).all(|(_, key)| key.permissions & permission::BID != 0 && !self.is_dead(now_s, key))
    }

    /// `mayStart`: whether `signer` may countersign the start of a bid of `agent` by `provider`.
    pub fn may_start(&self, now_s: u64, agent: Address, signer: Address, provider: Address) -> bool {
        if signer == self.owner {
            return true;
        }
        if self.paused {
            return false;
        }
        let (mut found, mut listed) = (false, false);
        for (each, key) in self.lineage(agent) {
            found |= each == signer;
            if found && (self.is_dead(now_s, key) || key.permissions & permission::BID == 0) {
                return false;
            }
            listed |= key.provider_list;
        }
        found && (!listed || self.allowed.contains(&provider))
    }

    /// `_checkActor`, past the owner: the bid's key or an ancestor, live and permitted.
    pub(super) fn check_actor(
        &self,
        now_s: u64,
        sender: Address,
        agent: Address,
        id: AgreementId,
        needed: u8,
    ) -> Result<(), Error> {
        if !self.is_lineage(sender, agent) {
            return Err(Error::NotBidAgent { id, caller: sender });
        }
        self.check_live(now_s, sender)?;
        self.check_permission(sender, needed)?;
        if needed == permission::DISPUTE && self.paused { Err(Error::WalletPaused) } else { Ok(()) }
    }

    /// A key and its ancestors, from the key up.
    pub fn lineage(&self, agent: Address) -> impl Iterator<Item = (Address, &Key)> {
        let with_key = |agent: Address| self.keys.get(&agent).map(|key| (agent, key));
        iter::successors(with_key(agent), move |(_, key)| key.parent.and_then(with_key))
    }

    fn is_lineage(&self, ancestor: Address, agent: Address) -> bool {
        ancestor == agent || self.lineage(agent).any(|(each, _)| each == ancestor)
    }

    fn check_live(&self, now_s: u64, agent: Address) -> Result<(), Error> {
        self.lineage(agent).try_for_each(|(each, key)| self.check_auth(now_s, each, key))
    }

    fn check_permission(&self, agent: Address, needed: u8) -> Result<(), Error> {
        let key = self.keys.get(&agent).ok_or(Error::AgentUnknown { agent })?;
        if key.permissions & needed == 0 {
            return Err(Error::PermissionMissing { agent, permission: needed });
        }
        Ok(())
    }

    fn check_auth(&self, now_s: u64, agent: Address, key: &Key) -> Result<(), Error> {
        if !key.active || key.epoch != self.epoch {
            return Err(Error::AgentUnknown { agent });
        }
        if key.expiry_s <= now_s {
            return Err(Error::AgentExpired { agent, expiry_s: key.expiry_s });
        }
        Ok(())
    }

    fn is_dead(&self, now_s: u64, key: &Key) -> bool {
        !key.active || key.epoch != self.epoch || key.expiry_s <= now_s
    }
}

/// `_checkContained`: whether `policy` asks for nothing that `parent` lacks.
fn contains(parent: &Key, policy: &Policy, unit: u128) -> bool {
    policy.expiry_s <= parent.expiry_s
        && policy.permissions & !parent.permissions & permission::ALL == 0
        && policy.limits.daily <= u128::from(parent.ledger.daily_units) * unit
        && policy.limits.per_bid <= u128::from(parent.per_bid_units) * unit
        && policy.limits.lifetime <= u128::from(parent.ledger.lifetime_units) * unit
        && (policy.provider_list || !parent.provider_list)
        && classes_of(policy.class_mask).all(|class| policy.max_ticks[class] <= parent.max_ticks[class])
}

fn classes_of(mask: u32) -> impl Iterator<Item = usize> {
    (1..32).filter(move |class| mask >> class & 1 == 1)
}

fn check_per_bid(spender: Address, amount: u128, units: u32, unit: u128) -> Result<(), Error> {
    let limit = u128::from(units) * unit;
    if amount > limit { Err(Error::PerBidLimitExceeded { spender, amount, limit }) } else { Ok(()) }
}

fn units_of(limit: u128, unit: u128) -> Result<u32, Error> {
    u32::try_from(limit / unit).map_err(|_| Error::LimitTooLarge { limit, max: u128::from(u32::MAX) * unit })
}

fn lifetime_units_of(limit: u128, unit: u128) -> Result<u64, Error> {
    u64::try_from(limit / unit).map_err(|_| Error::LimitTooLarge { limit, max: u128::from(u64::MAX) * unit })
}
