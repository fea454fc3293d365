//! Random operations: mostly such as may succeed, at times that matter, and some that must not.

mod demand;
mod owners;
mod supply;

use alloy::primitives::Address;
use contracts::{
    book::{Agreement, Market, OfferId, Status},
    ids::AgreementId,
};

use super::{ops::Op, random::Random, world::World};

const DAY_S: u64 = 86_400;

pub(super) struct Generator<'a> {
    pub(super) random: &'a mut Random,
    pub(super) world: &'a World,
    pub(super) model: &'a Market,
    pub(super) now_s: u64,
    pub(super) step: usize,
    /// Whether the sequence begins with a queue of bids that soon expire, longer than one match steps over.
    pub(super) crowded: bool,
}

/// Steps in which a crowded sequence only places.
const CROWD: std::ops::Range<usize> = 2..22;

impl Generator<'_> {
    /// When the next operation happens: often at one of the next deadlines, a second before or after.
    pub(super) fn next_time(&mut self) -> u64 {
        let now_s = self.now_s;
        if self.crowded && self.step < CROWD.end {
            return now_s;
        }
        if self.crowded && self.step == CROWD.end {
            return now_s + self.world.clocks.min_bid_lifetime_s + self.random.below(4);
        }
        match self.random.below(1_000) {
            0..550 => now_s,
            550..830 => now_s + self.random.within(1, 12),
            830..975 => {
                let coming = |due_s: &u64| *due_s >= now_s;
                let mut due_s: Vec<_> =
                    self.model.agreements().filter_map(|(_, agreement)| due(agreement)).filter(coming).collect();
                due_s.sort_unstable();
                due_s.truncate(4);
                let aimed_s = self.random.pick_or(&due_s, now_s) - 1 + self.random.below(3);
                aimed_s.clamp(now_s, now_s + 4 * DAY_S)
            }
            975..992 => now_s + self.random.within(60, 7_200),
            _ => now_s + self.random.within(7_200, 2 * DAY_S),
        }
    }

    pub(super) fn next_op(&mut self) -> Op {
        if self.step < 2 {
            return self.post_offer(self.world.providers[self.step]);
        }
        if self.crowded && CROWD.contains(&self.step) {
            return self.place_in_crowd();
        }
        if self.crowded && self.step < CROWD.end + 3 {
            return self.match_best();
        }
        if let Some(op) = self.recover() {
            return op;
        }
        match self.kind() {
            0..270 => self.place(),
            270..310 => self.place_signed(),
            310..320 => Op::PlaceAtMarket { caller: self.world.stranger, agent: self.agent(), terms: self.terms() },
            320..520 => self.match_best(),
            520..545 => self.match_batch(),
            545..620 => self.start(),
            620..635 => self.start_batch(),
            635..690 => self.submit(),
            690..705 => self.submit_batch(),
            705..720 => {
                let (id, caller) = self.giving_way();
                Op::Preempt { caller, id, has_receipts: self.random.percent(60) }
            }
            720..730 => {
                let (id, caller) = self.supplied(Status::Confirmed);
                Op::Decline { caller, id }
            }
            730..775 => self.cancel(),
            775..805 => self.dispute(),
            805..820 => self.resolve(),
            820..860 => Op::Advance { id: self.due_id() },
            860..875 => {
                let count = self.random.below(6);
                Op::Prune { ids: (0..count).map(|_| self.due_id()).collect() }
            }
            875..890 => self.collect(),
            890..900 => Op::Withdraw { caller: self.earner(), to: self.anyone_or_zero() },
            900..920 => {
                let caller = self.provider();
                self.post_offer(caller)
            }
            920..930 => self.change_offer(),
            930..960 => self.keys(),
            960..985 => self.owner(),
            _ => self.admin(),
        }
    }

    /// A number for `next_op`; mostly not one of an operation that finds nothing to work on.
    fn kind(&mut self) -> u64 {
        if self.random.percent(22)
            && let Some(kind) = self.follow_up()
        {
            return kind;
        }
        let kind = self.random.below(1_000);
        let needed = match kind {
            320..545 => Status::Open,
            545..635 | 720..730 => Status::Confirmed,
            635..720 => Status::Running,
            775..805 => Status::Submitted,
            805..820 => Status::Disputed,
            _ => return kind,
        };
        let found = self.model.agreements().any(|(_, agreement)| agreement.status == needed);
        if found || self.random.percent(10) {
            return kind;
        }
        let any_open = self.model.agreements().any(|(_, agreement)| agreement.status == Status::Open);
        if any_open && self.random.percent(60) { 320 } else { 0 }
    }

    /// What comes next in the life of some rental that is not late.
    fn follow_up(&mut self) -> Option<u64> {
        let lives: Vec<_> = self
            .model
            .agreements()
            .filter(|(_, agreement)| self.now_s < agreement.deadline_s)
            .map(|(_, agreement)| agreement.status)
            .filter(|status| !status.is_terminal())
            .collect();
        match self.random.pick_or(&lives, Status::None) {
            Status::Confirmed => Some(self.random.pick(&[545, 545, 545, 620, 720])),
            Status::Running => Some(self.random.pick(&[635, 635, 690, 705, 730])),
            Status::Submitted => Some(775),
            Status::Disputed => Some(805),
            _ => None,
        }
    }

    /// So that a sequence does not spend its rest paused or without keys and slots.
    fn recover(&mut self) -> Option<Op> {
        if self.model.is_paused() && self.random.percent(25) {
            return Some(Op::SetPaused { caller: self.model.config().pauser, paused: false });
        }
        for (index, address) in self.world.wallets.iter().enumerate() {
            let wallet = self.model.wallet(*address)?;
            let sender = wallet.owner;
            if wallet.paused && self.random.percent(15) {
                return Some(Op::SetWalletPaused { wallet: *address, sender, paused: false });
            }
            if !wallet.keys.keys().any(|agent| wallet.is_active(self.now_s, *agent)) && self.random.percent(15) {
                let (agent, policy) = (self.world.agents[index].address(), self.policy(None));
                return Some(Op::Authorize { wallet: *address, sender, agent, policy });
            }
        }
        let free = |offer: &contracts::book::Offer| offer.valid_until_s > self.now_s && offer.used < offer.slots;
        if !self.model.offers().any(|(_, offer)| free(offer)) && self.random.percent(30) {
            let caller = self.world.providers[self.random.below(2) as usize];
            return Some(self.post_offer(caller));
        }
        None
    }

    // --- whom and what ---

    fn wallet(&mut self) -> Address {
        self.random.pick(&self.world.wallets)
    }

    fn agent(&mut self) -> Address {
        self.random.pick(&self.world.agents).address()
    }

    fn provider(&mut self) -> Address {
        if self.random.percent(5) { self.world.stranger } else { self.random.pick(&self.world.providers) }
    }

    fn earner(&mut self) -> Address {
        let world = self.world;
        self.random.pick(&[world.providers[0], world.providers[1], world.providers[2], world.treasury, world.stranger])
    }

    /// Not the wallets: what they send to the market they send only by their own entries.
    fn anyone(&mut self) -> Address {
        let everyone = self.world.everyone();
        let people = &everyone[..everyone.len() - self.world.wallets.len()];
        self.random.pick(people)
    }

    fn anyone_or_zero(&mut self) -> Address {
        if self.random.percent(5) { Address::ZERO } else { self.anyone() }
    }

    /// An offer, mostly one that can match, and who may act for it, mostly.
    fn offer(&mut self) -> (OfferId, Address) {
        let able = |offer: &contracts::book::Offer| offer.valid_until_s > self.now_s && offer.used < offer.slots;
        let free: Vec<_> = self.model.offers().filter(|(_, offer)| able(offer)).map(|(id, _)| id).collect();
        let any = self.random.below(self.model.offers().count() as u64 + 2);
        let offer = if self.random.percent(95) { self.random.pick_or(&free, any) } else { any };
        (offer, self.seller(offer))
    }

    fn seller(&mut self, offer: OfferId) -> Address {
        let Some(provider) = self.model.offer(offer).map(|offer| offer.provider) else { return self.provider() };
        match self.random.below(20) {
            0 => self.anyone(),
            1..5 => {
                let operators = self.world.operators.iter().copied();
                let allowed: Vec<_> =
                    operators.filter(|operator| self.model.is_operator(provider, *operator)).collect();
                self.random.pick_or(&allowed, provider)
            }
            _ => provider,
        }
    }

    fn supplied(&mut self, status: Status) -> (AgreementId, Address) {
        let id = self.id_in(status);
        let offer = self.model.agreement(id).map_or(0, |agreement| agreement.offer);
        (id, self.seller(offer))
    }

    /// A running rental, mostly one that gives way.
    fn giving_way(&mut self) -> (AgreementId, Address) {
        let found = self.supplied(Status::Running);
        let fits = |id: AgreementId, agreement: &Agreement| {
            agreement.status == Status::Running && id.book().is_some_and(|book| book.preemptible)
        };
        let ids: Vec<_> = self.model.agreements().filter(|(id, each)| fits(*id, each)).map(|(id, _)| id).collect();
        if ids.is_empty() || self.random.percent(15) {
            return found;
        }
        let id = self.random.pick(&ids);
        (id, self.seller(self.model.agreement(id).map_or(0, |agreement| agreement.offer)))
    }

    /// An agreement, mostly one in `status` and not late.
    fn id_in(&mut self, status: Status) -> AgreementId {
        let late_too = self.random.percent(12);
        let in_time = |agreement: &Agreement| due(agreement).is_some_and(|due_s| self.now_s < due_s);
        let fits = |agreement: &Agreement| agreement.status == status && (late_too || in_time(agreement));
        let fitting: Vec<_> =
            self.model.agreements().filter(|(_, agreement)| fits(agreement)).map(|(id, _)| id).collect();
        let any = self.any_id();
        if self.random.percent(96) { self.random.pick_or(&fitting, any) } else { any }
    }

    /// An agreement, mostly one that time moves on.
    fn due_id(&mut self) -> AgreementId {
        let is_due = |agreement: &Agreement| due(agreement).is_some_and(|due_s| due_s <= self.now_s);
        let ids: Vec<_> =
            self.model.agreements().filter(|(_, agreement)| is_due(agreement)).map(|(id, _)| id).collect();
        let any = self.any_id();
        if self.random.percent(85) { self.random.pick_or(&ids, any) } else { any }
    }

    fn any_id(&mut self) -> AgreementId {
        let all: Vec<_> = self.model.agreements().map(|(id, _)| id).collect();
        let invented = AgreementId::from_u128(self.random.amount((1 << 88) - 1)).unwrap();
        if self.random.percent(95) { self.random.pick_or(&all, invented) } else { invented }
    }
}

/// When time alone moves it.
fn due(agreement: &Agreement) -> Option<u64> {
    match agreement.status {
        Status::Open => Some(agreement.expiry_s),
        status if status.is_terminal() => None,
        _ => Some(agreement.deadline_s),
    }
}
