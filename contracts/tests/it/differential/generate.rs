//! Random operations: mostly such as may succeed, at times that matter, and some that must not.

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::{
    bindings::Start,
    book::{Agreement, Limits, Market, OfferId, OfferTerms, Policy, StartItem, Status, SubmitItem, Terms},
    ids::{AgreementId, BookId},
    price::cost_of,
    typed_data::{recover, start_digest},
};

use super::{
    chain::CHAIN_ID,
    ops::{Countersigned, Op},
    random::Random,
    refusal::u40,
    world::{AIT, CLASSES, TEMPLATE, World, bid_of, sign_bid},
};

const TICKS: [u8; 6] = [100, 100, 101, 101, 104, 130];
const DAY_S: u64 = 86_400;

pub(super) struct Generator<'a> {
    pub(super) random: &'a mut Random,
    pub(super) world: &'a World,
    pub(super) model: &'a Market,
    pub(super) now_s: u64,
}

impl Generator<'_> {
    /// When the next operation happens: often at one of the next deadlines, a second before or after.
    pub(super) fn next_time(&mut self) -> u64 {
        let now_s = self.now_s;
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

    pub(super) fn next_op(&mut self, step: usize) -> Op {
        if step < 2 {
            return self.post_offer(self.world.providers[step]);
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

    // --- demand ---

    fn place(&mut self) -> Op {
        let (wallet, sender) = self.bidder();
        Op::Place { wallet, sender, terms: self.terms() }
    }

    fn place_signed(&mut self) -> Op {
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
    fn bidder(&mut self) -> (Address, Address) {
        let wallet = self.wallet();
        let keys = self.model.wallet(wallet).unwrap();
        let live: Vec<_> = keys.keys.keys().copied().filter(|agent| keys.is_active(self.now_s, *agent)).collect();
        let other = self.agent();
        (wallet, if self.random.percent(93) { self.random.pick_or(&live, other) } else { other })
    }

    fn terms(&mut self) -> Terms {
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

    fn cancel(&mut self) -> Op {
        let status = self.random.pick(&[Status::Open, Status::Open, Status::Open, Status::Confirmed, Status::Running]);
        let id = self.id_in(status);
        if self.random.percent(5) {
            return Op::CancelAtMarket { caller: self.world.stranger, id };
        }
        let (wallet, sender) = self.actor(id);
        Op::Cancel { wallet, sender, id }
    }

    fn dispute(&mut self) -> Op {
        let id = self.id_in(Status::Submitted);
        if self.random.percent(5) {
            return Op::DisputeAtMarket { caller: self.world.stranger, id };
        }
        let (wallet, sender) = self.actor(id);
        Op::Dispute { wallet, sender, id }
    }

    fn collect(&mut self) -> Op {
        let agent = self.agent();
        let account = self.model.key_account(agent);
        if self.random.percent(10) {
            return Op::CollectAtMarket { caller: self.world.stranger, agent };
        }
        let known = !account.wallet.is_zero() && self.random.percent(90);
        Op::Collect { wallet: if known { account.wallet } else { self.wallet() }, agent }
    }

    /// Who acts on an agreement: its key, an ancestor, the owner, or somebody else.
    fn actor(&mut self, id: AgreementId) -> (Address, Address) {
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

    // --- supply ---

    fn post_offer(&mut self, caller: Address) -> Op {
        let random = &mut *self.random;
        let class = if random.percent(90) { CLASSES[0] } else { random.pick(&[CLASSES[1], 9]) };
        let reserve_tick = random.pick(&[0, 0, 0, 50, 100, 101]);
        let bond_s = u32::try_from(self.world.clocks.bond_s).unwrap();
        let minimum = self.model.price(class, reserve_tick).ok().and_then(|price| cost_of(price, bond_s)).unwrap_or(1);
        let bond_per_slot = match random.below(20) {
            0 => minimum - 1,
            1..8 => minimum,
            _ => minimum + random.amount(minimum / 4),
        };
        let terms = OfferTerms {
            class,
            book_mask: if random.percent(92) { 0xff } else { random.next() as u8 },
            slots: if random.percent(97) { random.within(1, 5) as u16 } else { 0 },
            reserve_tick,
            bond_per_slot,
            valid_until_s: if random.percent(97) { self.now_s + random.within(600, 30 * DAY_S) } else { self.now_s },
        };
        Op::PostOffer { caller, terms }
    }

    fn change_offer(&mut self) -> Op {
        let (offer, caller) = self.offer();
        if self.random.percent(40) {
            return Op::CloseOffer { caller, offer };
        }
        let valid_until_s = self.now_s + if self.random.percent(85) { self.random.within(1, 9 * DAY_S) } else { 0 };
        let reserve_tick = self.random.pick(&[0, 90, 100, 101, 105, 255]);
        Op::UpdateOffer { caller, offer, reserve_tick, valid_until_s }
    }

    fn match_best(&mut self) -> Op {
        let (offer, caller) = self.offer();
        let (book, min_tick) = self.sought(offer);
        let expected = match self.random.below(100) {
            0..75 => None,
            75..92 => self.model.best_bid(self.now_s, book, min_tick),
            _ => Some(self.id_in(Status::Open)),
        };
        Op::Match { caller, offer, book, min_tick, expected }
    }

    fn match_batch(&mut self) -> Op {
        let (offer, caller) = self.offer();
        let (book, min_tick) = self.sought(offer);
        Op::MatchBatch { caller, offer, book, min_tick, count: self.random.below(6) as usize }
    }

    fn sought(&mut self, offer: OfferId) -> (BookId, u8) {
        let class = self.model.offer(offer).map_or(CLASSES[0], |offer| offer.class);
        let any = BookId::from_u16(u16::from(class) << 8 | self.random.below(8) as u16).unwrap();
        let dead_too = self.random.percent(20);
        let open: Vec<_> = self
            .model
            .agreements()
            .filter(|(id, agreement)| id.class() == class && agreement.status == Status::Open)
            .filter(|(_, agreement)| self.now_s < agreement.expiry_s || dead_too)
            .filter_map(|(id, _)| id.book())
            .collect();
        let book = if self.random.percent(94) { self.random.pick_or(&open, any) } else { any };
        let foreign = BookId { class: class ^ 4, ..book };
        let book = if self.random.percent(98) { book } else { foreign };
        (book, if self.random.percent(85) { 0 } else { self.random.pick(&[99, 101, 102, 131]) })
    }

    fn countersigned(&mut self, id: AgreementId) -> Countersigned {
        let spec_hash = B256::repeat_byte(5);
        let agreement = self.model.agreement(id).copied();
        let Some(agreement) = agreement.filter(|agreement| agreement.status == Status::Confirmed) else {
            return Countersigned { item: StartItem { id, signer: None }, spec_hash, signature: Bytes::new() };
        };
        let mut start = Start {
            agreementId: id.to_u96(),
            offerId: agreement.offer,
            provider: self.model.offer(agreement.offer).unwrap().provider,
            specHash: spec_hash,
            deadline: u40(agreement.deadline_s),
        };
        let digest = start_digest(&start, CHAIN_ID, self.world.market);
        let keys = self.model.wallet(self.model.key_account(agreement.agent).wallet).unwrap();
        let lineage: Vec<_> = keys.lineage(agreement.agent).map(|(each, _)| each).chain([keys.owner]).collect();
        let by = match self.random.below(10) {
            0..7 => agreement.agent,
            7..9 => self.random.pick(&lineage),
            _ => self.agent(),
        };
        let signers = self.world.agents.iter().chain(&self.world.owners);
        let by = signers.into_iter().find(|signer| signer.address() == by).unwrap_or(&self.world.agents[0]);
        // One field of what is signed, or none, is another.
        match self.random.below(60) {
            0 => start.specHash = B256::ZERO,
            1 => start.offerId += 1,
            2 => start.provider = self.world.stranger,
            3 => start.deadline = u40(agreement.deadline_s + 1),
            4 => start.agreementId = AgreementId::from_u128(id.to_u128() ^ 1).unwrap().to_u96(),
            _ => {}
        }
        let signed = start_digest(&start, CHAIN_ID, self.world.market);
        let mut signature: Bytes = by.sign_hash_sync(&signed).unwrap().as_bytes().to_vec().into();
        if self.random.percent(2) {
            signature = signature.slice(..64);
        }
        let signer = if signature.len() == 65 { recover(&digest, &signature) } else { None };
        Countersigned { item: StartItem { id, signer }, spec_hash, signature }
    }

    fn start(&mut self) -> Op {
        let (id, caller) = self.supplied(Status::Confirmed);
        Op::Start { caller, start: self.countersigned(id) }
    }

    fn start_batch(&mut self) -> Op {
        let (first, caller) = self.supplied(Status::Confirmed);
        let mut ids = self.same_seller(first, Status::Confirmed);
        ids.push(first);
        Op::StartBatch { caller, starts: ids.into_iter().map(|id| self.countersigned(id)).collect() }
    }

    fn result(&mut self, id: AgreementId) -> SubmitItem {
        let agreement = self.model.agreement(id).filter(|agreement| agreement.status == Status::Running);
        let elapsed_s = agreement.map_or(0, |agreement| self.now_s - agreement.start_or_billable_s);
        let claimed_s = match self.random.below(20) {
            0 => elapsed_s + 1,
            1..10 => elapsed_s,
            _ => self.random.within(0, elapsed_s),
        };
        SubmitItem { id, claimed_s, has_receipts: self.random.percent(60) }
    }

    fn submit(&mut self) -> Op {
        let (id, caller) = self.supplied(Status::Running);
        Op::Submit { caller, item: self.result(id) }
    }

    fn submit_batch(&mut self) -> Op {
        let (first, caller) = self.supplied(Status::Running);
        let mut ids = self.same_seller(first, Status::Running);
        ids.push(first);
        Op::SubmitBatch { caller, items: ids.into_iter().map(|id| self.result(id)).collect() }
    }

    /// Up to two of the same offer; the first may come up again.
    fn same_seller(&mut self, first: AgreementId, status: Status) -> Vec<AgreementId> {
        let offer = self.model.agreement(first).map(|agreement| agreement.offer);
        let any = self.random.percent(5);
        let alike = |agreement: &Agreement| agreement.status == status && (any || Some(agreement.offer) == offer);
        let ids: Vec<_> = self.model.agreements().filter(|(_, agreement)| alike(agreement)).map(|(id, _)| id).collect();
        (0..self.random.below(3)).map(|_| self.random.pick_or(&ids, first)).collect()
    }

    fn resolve(&mut self) -> Op {
        let id = self.id_in(Status::Disputed);
        let caller = if self.random.percent(92) { self.model.config().arbiter } else { self.anyone() };
        let agreement = self.model.agreement(id).copied();
        let price = self.model.price(id.class(), id.tick()).unwrap_or_default();
        let cost = |seconds: u64| cost_of(price, seconds as u32).unwrap_or_default();
        let escrow = cost(agreement.map_or(0, |agreement| u64::from(agreement.max_duration_s)));
        let claimed = cost(agreement.map_or(0, |agreement| agreement.start_or_billable_s));
        let bond = agreement.and_then(|a| self.model.offer(a.offer)).map_or(0, |offer| offer.bond_per_slot);
        let pay = match self.random.below(10) {
            0 => escrow + 1,
            1 => escrow,
            2..6 => claimed,
            _ => self.random.amount(escrow),
        };
        let slash = match self.random.below(10) {
            0 => bond + 1,
            1 => bond,
            2..7 => 0,
            _ => self.random.amount(bond),
        };
        Op::Resolve { caller, id, pay, slash }
    }

    // --- keys, owners, admin ---

    fn keys(&mut self) -> Op {
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
    fn policy(&mut self, parent: Option<&contracts::book::Key>) -> Policy {
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

    fn owner(&mut self) -> Op {
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

    fn admin(&mut self) -> Op {
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
