//! Operations of wallets and their keys on bids.

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use contracts::{
    book::{Status, Terms},
    ids::AgreementId,
};

use super::{
    super::{
        ops::Op,
        world::{CLASSES, TEMPLATE, bid_of, sign_bid},
    },
    DAY_S, Generator,
};

const TICKS: [u8; 6] = [100, 100, 101, 101, 104, 130];

impl Generator<'_> {
    pub(super) fn place(&mut self) -> Op {
        let (wallet, sender) = self.bidder();
        Op::Place { wallet, sender, terms: self.terms() }
    }

    /// One of a crowd at one tick: most expire at the first chance, some live on.
    pub(super) fn place_in_crowd(&mut self) -> Op {
        let (wallet, sender) = (self.world.wallets[0], self.world.agents[self.random.pick(&[0, 3])].address());
        let clocks = self.world.clocks;
        let life_s = clocks.min_bid_lifetime_s + if self.random.percent(80) { self.random.below(3) } else { 3_600 };
        let terms = Terms {
            class: CLASSES[0],
            preemptible: false,
            tick: TICKS[0],
            max_duration_s: clocks.min_billed_s as u32,
            expiry_s: self.now_s + life_s,
            template: TEMPLATE,
            spec_hash: B256::repeat_byte(5),
        };
        Op::Place { wallet, sender, terms }
    }

    pub(super) fn place_signed(&mut self) -> Op {
        let (wallet, agent) = self.bidder();
        let terms = self.terms();
        let nonce = self.model.nonce(wallet, agent) + u64::from(self.random.percent(5));
        let bid = bid_of(wallet, agent, &terms, nonce);
        let by = if self.random.percent(8) { self.agent() } else { agent };
        let by = self.world.agents.iter().find(|signer| signer.address() == by);
        let mut signature = by.map(|by| sign_bid(&bid, by, self.world.market)).unwrap_or_default();
        let mut signer = by.map(PrivateKeySigner::address);
        if self.random.percent(4) {
            signature = signature.slice(..self.random.below(signature.len() as u64) as usize);
            signer = None;
        }
        Op::PlaceSigned { caller: self.world.stranger, wallet, agent, terms, nonce, signer, signature }
    }

    /// Mostly a key that may bid.
    pub(super) fn bidder(&mut self) -> (Address, Address) {
        let wallet = self.wallet();
        let keys = self.model.wallet(wallet).unwrap();
        let live: Vec<_> = keys.keys.keys().copied().filter(|agent| keys.is_active(self.now_s, *agent)).collect();
        let other = self.agent();
        (wallet, if self.random.percent(93) { self.random.pick_or(&live, other) } else { other })
    }

    pub(super) fn terms(&mut self) -> Terms {
        let clocks = self.world.clocks;
        let random = &mut *self.random;
        let class = match random.below(50) {
            0 => random.pick(&[1, 0, 12, 250]),
            1..5 => CLASSES[1],
            _ => CLASSES[0],
        };
        let tick = if random.percent(95) { random.pick(&TICKS) } else { random.next() as u8 };
        let min_s = clocks.min_billed_s;
        let max_duration_s = match random.below(100) {
            0..60 => random.within(min_s, 120),
            60..80 => random.within(120, 600),
            80..93 => random.within(601, 3_600),
            93..96 => random.within(3_601, DAY_S),
            96..98 => min_s - 1,
            _ => random.pick(&[0, DAY_S + 1, 0xff_ffff]),
        };
        let expiry_s = self.now_s
            + match random.below(100) {
                0..20 => clocks.min_bid_lifetime_s + random.below(60),
                20..60 => clocks.min_bid_lifetime_s + random.below(7_200),
                60..96 => random.within(clocks.min_bid_lifetime_s, 7 * DAY_S),
                96..98 => clocks.min_bid_lifetime_s - 1,
                _ => 7 * DAY_S + random.below(2),
            };
        Terms {
            class,
            preemptible: random.percent(35),
            tick,
            max_duration_s: max_duration_s as u32,
            expiry_s,
            template: if random.percent(98) { TEMPLATE } else { random.below(200) as u16 },
            spec_hash: if random.percent(99) { B256::repeat_byte(5) } else { B256::ZERO },
        }
    }

    pub(super) fn cancel(&mut self) -> Op {
        let status = self.random.pick(&[Status::Open, Status::Open, Status::Open, Status::Confirmed, Status::Running]);
        let id = self.id_in(status);
        if self.random.percent(5) {
            return Op::CancelAtMarket { caller: self.world.stranger, id };
        }
        let (wallet, sender) = self.actor(id);
        Op::Cancel { wallet, sender, id }
    }

    pub(super) fn dispute(&mut self) -> Op {
        let id = self.id_in(Status::Submitted);
        if self.random.percent(5) {
            return Op::DisputeAtMarket { caller: self.world.stranger, id };
        }
        let (wallet, sender) = self.actor(id);
        Op::Dispute { wallet, sender, id }
    }

    pub(super) fn collect(&mut self) -> Op {
        let agent = self.agent();
        let account = self.model.key_account(agent);
        if self.random.percent(10) {
            return Op::CollectAtMarket { caller: self.world.stranger, agent };
        }
        let known = !account.wallet.is_zero() && self.random.percent(90);
        Op::Collect { wallet: if known { account.wallet } else { self.wallet() }, agent }
    }

    /// Who acts on an agreement: its key, an ancestor, the owner, or somebody else.
    pub(super) fn actor(&mut self, id: AgreementId) -> (Address, Address) {
        let agent = self.model.agreement(id).map(|agreement| agreement.agent).unwrap_or_default();
        let wallet = self.model.key_account(agent).wallet;
        let Some(keys) = self.model.wallet(wallet).filter(|_| self.random.percent(96)) else {
            return (self.wallet(), self.anyone());
        };
        let lineage: Vec<_> = keys.lineage(agent).map(|(each, _)| each).collect();
        let sender = match self.random.below(10) {
            0..5 => agent,
            5..7 => self.random.pick_or(&lineage, agent),
            7..9 => keys.owner,
            _ => self.anyone(),
        };
        (wallet, sender)
    }
}
