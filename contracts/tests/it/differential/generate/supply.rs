//! Operations of providers and of the arbiter.

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::SignerSync,
};
use contracts::{
    bindings::Start,
    book::{Agreement, OfferId, OfferTerms, StartItem, Status, SubmitItem},
    ids::{AgreementId, BookId},
    price::cost_of,
    typed_data::{recover, start_digest},
};

use super::{
    super::{
        chain::CHAIN_ID,
        ops::{Countersigned, Op},
        refusal::u40,
        world::CLASSES,
    },
    DAY_S, Generator,
};

impl Generator<'_> {
    pub(super) fn post_offer(&mut self, caller: Address) -> Op {
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

    pub(super) fn change_offer(&mut self) -> Op {
        let (offer, caller) = self.offer();
        if self.random.percent(40) {
            return Op::CloseOffer { caller, offer };
        }
        let valid_until_s = self.now_s + if self.random.percent(85) { self.random.within(1, 9 * DAY_S) } else { 0 };
        let reserve_tick = self.random.pick(&[0, 90, 100, 101, 105, 255]);
        Op::UpdateOffer { caller, offer, reserve_tick, valid_until_s }
    }

    pub(super) fn match_best(&mut self) -> Op {
        let (offer, caller) = self.offer();
        let (book, min_tick) = self.sought(offer);
        let expected = match self.random.below(100) {
            0..75 => None,
            75..92 => self.model.best_bid(self.now_s, book, min_tick),
            _ => Some(self.id_in(Status::Open)),
        };
        Op::Match { caller, offer, book, min_tick, expected }
    }

    pub(super) fn match_batch(&mut self) -> Op {
        let (offer, caller) = self.offer();
        let (book, min_tick) = self.sought(offer);
        Op::MatchBatch { caller, offer, book, min_tick, count: self.random.below(6) as usize }
    }

    pub(super) fn sought(&mut self, offer: OfferId) -> (BookId, u8) {
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

    pub(super) fn countersigned(&mut self, id: AgreementId) -> Countersigned {
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

    pub(super) fn start(&mut self) -> Op {
        let (id, caller) = self.supplied(Status::Confirmed);
        Op::Start { caller, start: self.countersigned(id) }
    }

    pub(super) fn start_batch(&mut self) -> Op {
        let (first, caller) = self.supplied(Status::Confirmed);
        let mut ids = self.same_seller(first, Status::Confirmed);
        ids.push(first);
        Op::StartBatch { caller, starts: ids.into_iter().map(|id| self.countersigned(id)).collect() }
    }

    pub(super) fn result(&mut self, id: AgreementId) -> SubmitItem {
        let agreement = self.model.agreement(id).filter(|agreement| agreement.status == Status::Running);
        let elapsed_s = agreement.map_or(0, |agreement| self.now_s - agreement.start_or_billable_s);
        let claimed_s = match self.random.below(20) {
            0 => elapsed_s + 1,
            1..10 => elapsed_s,
            _ => self.random.within(0, elapsed_s),
        };
        SubmitItem { id, claimed_s, has_receipts: self.random.percent(60) }
    }

    pub(super) fn submit(&mut self) -> Op {
        let (id, caller) = self.supplied(Status::Running);
        Op::Submit { caller, item: self.result(id) }
    }

    pub(super) fn submit_batch(&mut self) -> Op {
        let (first, caller) = self.supplied(Status::Running);
        let mut ids = self.same_seller(first, Status::Running);
        ids.push(first);
        Op::SubmitBatch { caller, items: ids.into_iter().map(|id| self.result(id)).collect() }
    }

    /// Up to two of the same offer; the first may come up again.
    pub(super) fn same_seller(&mut self, first: AgreementId, status: Status) -> Vec<AgreementId> {
        let offer = self.model.agreement(first).map(|agreement| agreement.offer);
        let any = self.random.percent(5);
        let alike = |agreement: &Agreement| agreement.status == status && (any || Some(agreement.offer) == offer);
        let ids: Vec<_> = self.model.agreements().filter(|(_, agreement)| alike(agreement)).map(|(id, _)| id).collect();
        (0..self.random.below(3)).map(|_| self.random.pick_or(&ids, first)).collect()
    }

    pub(super) fn resolve(&mut self) -> Op {
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
}
