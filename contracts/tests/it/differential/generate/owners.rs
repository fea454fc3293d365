//! Operations of owners, of keys on keys, and of those who run the market.

use alloy::primitives::Address;
use contracts::book::{Limits, Policy};

use super::{
    super::{
        ops::Op,
        world::{AIT, CLASSES, TEMPLATE},
    },
    DAY_S, Generator,
};

impl Generator<'_> {
    pub(super) fn keys(&mut self) -> Op {
        let wallet = self.wallet();
        let keys = self.model.wallet(wallet).unwrap();
        let known: Vec<_> = keys.keys.keys().copied().collect();
        let sender = match self.random.below(10) {
            0..4 => keys.owner,
            4..9 => self.random.pick_or(&known, keys.owner),
            _ => self.anyone(),
        };
        if self.random.percent(20) {
            return Op::Revoke { wallet, sender, agent: self.agent() };
        }
        let agent = if self.random.percent(98) { self.agent() } else { self.random.pick(&[Address::ZERO, keys.owner]) };
        Op::Authorize { wallet, sender, agent, policy: self.policy(keys.keys.get(&sender)) }
    }

    /// For an owner's key anything; for a key's key mostly what its parent may give.
    pub(super) fn policy(&mut self, parent: Option<&contracts::book::Key>) -> Policy {
        let unit = self.model.unit();
        let random = &mut *self.random;
        let mut limits = Limits {
            daily: random.amount(4 * AIT),
            per_bid: random.amount(3 * AIT),
            lifetime: AIT + random.amount(10 * AIT),
        };
        let mut expiry_s = self.now_s + random.within(3_600, 20 * DAY_S);
        let mut permissions = if random.percent(80) { 15 } else { random.below(17) as u8 };
        let mut provider_list = random.percent(10);
        let mut max_ticks = [random.pick(&[101, 104, 200, 220]); 32];
        if let Some(parent) = parent.filter(|_| random.percent(85)) {
            limits.daily = limits.daily.min(u128::from(parent.ledger.daily_units) * unit);
            limits.per_bid = limits.per_bid.min(u128::from(parent.per_bid_units) * unit);
            limits.lifetime = limits.lifetime.min(u128::from(parent.ledger.lifetime_units) * unit);
            expiry_s = expiry_s.min(parent.expiry_s);
            permissions &= parent.permissions;
            provider_list |= parent.provider_list;
            max_ticks = parent.max_ticks;
        }
        let class_mask = match random.below(20) {
            0 => random.next() as u32,
            1 => 1 << CLASSES[1],
            _ => 1 << CLASSES[0] | 1 << CLASSES[1],
        };
        if random.percent(2) {
            max_ticks[usize::from(CLASSES[0])] = 0;
        }
        match random.below(50) {
            0 => expiry_s = self.now_s,
            1 => limits.daily = AIT << 20,
            2 => limits.per_bid = AIT << 20,
            3 => limits.lifetime = 1,
            _ => {}
        }
        Policy { expiry_s, permissions, class_mask, provider_list, limits, max_ticks }
    }

    pub(super) fn owner(&mut self) -> Op {
        let wallet = self.wallet();
        let state = self.model.wallet(wallet).unwrap();
        let sender = if self.random.percent(90) { state.owner } else { self.anyone() };
        match self.random.below(100) {
            0..8 => Op::RevokeAll { wallet, sender },
            8..35 => {
                let random = &mut *self.random;
                let large = random.percent(5);
                let limits = Limits {
                    daily: if large { AIT << 20 } else { random.amount(6 * AIT) },
                    per_bid: random.amount(4 * AIT),
                    lifetime: random.amount(20 * AIT),
                };
                Op::SetLimits { wallet, sender, limits }
            }
            35..50 => Op::SetWalletPaused { wallet, sender, paused: self.random.percent(50) },
            50..70 => {
                let provider = self.random.pick(&self.world.providers);
                Op::AllowProvider { wallet, sender, provider, allowed: self.random.percent(70) }
            }
            70..80 => {
                let balance = self.model.token().balance_of(wallet);
                let amount = if self.random.percent(80) { self.random.amount(balance) } else { balance + 1 };
                Op::WalletWithdraw { wallet, sender, to: self.anyone_or_zero(), amount }
            }
            80..90 => {
                let to =
                    if self.random.percent(80) { self.random.pick(&self.world.owners).address() } else { self.agent() };
                Op::TransferOwnership { wallet, sender, to }
            }
            _ => {
                let sender = if self.random.percent(80) { state.pending_owner } else { self.anyone() };
                Op::AcceptOwnership { wallet, sender }
            }
        }
    }

    pub(super) fn admin(&mut self) -> Op {
        let world = self.world;
        let caller = if self.random.percent(80) { world.admin } else { self.anyone() };
        match self.random.below(100) {
            0..25 => Op::SetPaused { caller, paused: self.random.percent(60) },
            25..50 => {
                let mut config = self.model.config();
                config.fee_bps = self.random.pick(&[0, 250, 999, 1_000, 1_001]);
                config.treasury =
                    self.random.pick(&[world.treasury, world.providers[0], world.stranger, Address::ZERO]);
                Op::SetConfig { caller, config }
            }
            50..60 => {
                let base = self.random.pick(&[99, 100, AIT * AIT / 100_000]);
                let class = self.random.below(34) as u8;
                Op::AddClass { caller, class: self.random.pick(&[CLASSES[0], class]), base }
            }
            60..70 => {
                let template = self.random.below(130) as u16;
                let class_mask = self.random.pick(&[1, 1 << CLASSES[0], u32::MAX]);
                Op::AddTemplate { caller, template: self.random.pick(&[TEMPLATE, template, template, 128]), class_mask }
            }
            70..85 => Op::Register { caller: self.provider(), length: self.random.pick(&[0, 20, 256, 257]) },
            _ => {
                let operator = self.random.pick(&world.operators);
                Op::SetOperator { caller: self.provider(), operator, allowed: self.random.percent(70) }
            }
        }
    }
}
