//! The provider's role: keeps an offer listed, takes the best bids, runs and submits their work, collects the pay.

use std::{cmp::Reverse, collections::HashMap};

use alloy::primitives::{B256, Bytes};
use contracts::{
    ids::{AgreementId, BUCKET_MAX_S, BookId},
    params::Params,
    price,
    units::Amount,
};
use indexer::rows::{AgreementRow, OfferRow, Status};

use super::{Wish, act};
use crate::{
    blobs::RentalFiles,
    event::Intent,
    journal::WorkResult,
    ledger::Ledger,
    market::{ProviderView, TAKEN_AT_ONCE},
    seller::Seller,
};

/// Offers are listed for so long, and listed again or prolonged when less than a tenth is left, seconds.
pub const OFFER_LIFETIME_S: u64 = 30 * 86_400;

/// What has arrived for a rental over the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The spec it belongs to; after a reorganisation the rental's may be another.
    pub spec_hash: B256,
    /// Spec and all inputs are here.
    pub complete: bool,
    /// The agent's countersignature, once here.
    pub countersignature: Option<Bytes>,
}

impl From<RentalFiles> for Delivery {
    fn from(files: RentalFiles) -> Self {
        let complete = files.spec.is_some() && files.missing.is_empty();
        Self { spec_hash: files.spec_hash, complete, countersignature: files.countersignature }
    }
}

/// What the role looks at besides the market.
#[derive(Debug)]
pub struct Desk<'a> {
    /// Whose node it is.
    pub seller: &'a Seller,
    /// Rentals at once.
    pub slots: u16,
    /// Lowest price, per hour.
    pub reserve_per_hour: Amount,
    /// Longest rental, seconds.
    pub max_duration_s: u64,
    /// Whether pre-emptible work is taken.
    pub preemptible: bool,
    /// Where blobs are served.
    pub endpoint: &'a str,
    /// Worker image.
    pub image: B256,
    /// Credit above which earnings are pulled even while rentals run.
    pub withdraw_above: Amount,
    /// Arrivals over the data plane.
    pub deliveries: &'a HashMap<AgreementId, Delivery>,
    /// What workers made.
    pub results: &'a HashMap<AgreementId, WorkResult>,
    /// What is under way.
    pub ledger: &'a Ledger,
    /// The market's clocks.
    pub params: Params,
    /// Number of the newest block.
    pub head: u64,
    /// Time of the newest block.
    pub chain_s: u64,
    /// Take nothing new while set.
    pub paused: bool,
}

/// What the provider wants now.
pub fn wishes(view: &ProviderView, desk: &Desk<'_>) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for row in &view.rentals {
        wishes.extend(tend(desk, row));
    }
    let (seller, is_alone) = (desk.seller, desk.seller.offers.is_none());
    // Without its owner's word, or beside nodes that may work for the same offers, a node takes nothing new.
    if !desk.paused && view.may_act && seller.fault_of_company(view.has_operators).is_none() {
        match is_alone {
            true => wishes.extend(list(view, desk)),
            false => wishes.extend(prolong(view, desk)),
        }
        wishes.extend(take(view, desk));
        wishes.extend(give_way(view, desk));
    }
    let idle = view.rentals.is_empty();
    // The market gives credit to who calls, so an operator could only pull its own.
    if seller.is_owner()
        && view.credit > Amount::ZERO
        && (idle || (desk.withdraw_above > Amount::ZERO && view.credit > desk.withdraw_above))
    {
        wishes.push(act(Intent::Withdraw { to: seller.provider }, format!("{} earned", view.credit)));
    }
    wishes
}

/// Moves one live rental on.
fn tend(desk: &Desk<'_>, row: &AgreementRow) -> Option<Wish> {
    let rental = row.id;
    let due = |at_s: u64| desk.chain_s >= at_s;
    match row.status {
        Status::Confirmed => {
            let deadline_s = row.matched.as_ref()?.start_deadline_s;
            if due(deadline_s + 1) {
                return Some(act(Intent::Advance { rental }, "the start deadline is over"));
            }
            // The market starts whatever spec is countersigned: that it is the bid's is checked here, against the index.
            let delivery = desk.deliveries.get(&rental).filter(|delivery| delivery.spec_hash == row.spec_hash)?;
            let countersignature = delivery.countersignature.clone().filter(|_| delivery.complete)?;
            Some(act(
                Intent::Start { rental, spec_hash: row.spec_hash, image: desk.image, countersignature },
                "work and countersignature are here",
            ))
        }
        Status::Running => {
            let started = row.started.as_ref()?;
            if let Some(result) = result_of(desk, row) {
                let seconds = result.seconds().min(desk.chain_s.saturating_sub(started.time_s));
                let (result_hash, receipt_root) = (result.result_hash(), result.receipt_root());
                return Some(act(Intent::Submit { rental, seconds, result_hash, receipt_root }, "the work is done"));
            }
            if due(started.end_time_s + desk.params.submit_grace_s + 1) {
                return Some(act(Intent::Advance { rental }, "the time to submit is over"));
            }
            // A start that a reorganisation takes back must not have set work going.
            let deep = desk.head >= started.block + desk.params.confirmations;
            deep.then(|| act(Intent::Work { rental }, format!("started {} blocks ago", desk.head - started.block)))
        }
        Status::Submitted => {
            let end_s = row.submitted.as_ref()?.challenge_end_s;
            due(end_s + 1).then(|| act(Intent::Advance { rental }, "the challenge window is over"))
        }
        Status::Disputed => {
            let end_s = row.dispute.as_ref()?.timeout_s;
            due(end_s + 1).then(|| act(Intent::Advance { rental }, "the arbiter was silent"))
        }
        _ => None,
    }
}

/// What came of a rental, once nothing more will. After a reorganisation the same id can stand for other work: a result
/// counts for its own spec alone.
fn result_of<'a>(desk: &'a Desk<'_>, row: &AgreementRow) -> Option<&'a WorkResult> {
    desk.results.get(&row.id).filter(|made| made.is_final && made.spec_hash == row.spec_hash)
}

/// Keeps the provider registered and an offer listed.
fn list(view: &ProviderView, desk: &Desk<'_>) -> Option<Wish> {
    if view.row.as_ref().is_none_or(|row| row.endpoint != desk.endpoint) {
        let intent = Intent::RegisterProvider { endpoint: desk.endpoint.to_owned() };
        return Some(act(intent, "agents must find the data plane"));
    }
    // A slot whose bond was slashed is gone for good; what is missing is listed anew.
    let listed: u16 = fresh_offers(view, desk).map(|offer| offer.slots).fold(0, u16::saturating_add);
    let slots = desk.slots.checked_sub(listed).filter(|missing| *missing > 0)?;
    let reserve_tick = lowest_tick(view.base_price?, desk.reserve_per_hour)?;
    let bond = least_bond(view.base_price?, reserve_tick, desk.params.bond_s)?;
    let total = Amount(bond.0.checked_mul(u128::from(slots))?);
    let post = Intent::PostOffer {
        class: desk.seller.class.number(),
        book_mask: book_mask(desk.max_duration_s, desk.preemptible),
        slots,
        reserve_tick,
        bond_per_slot: bond,
        valid_until: desk.chain_s + OFFER_LIFETIME_S,
    };
    let approve = Intent::ApproveBond { amount: total };
    // The allowance is used up by each listing, so every listing after the first needs its own.
    let approved_at = desk.ledger.is_done(&approve.key()).then(|| desk.ledger.changed_at_s(&approve.key())).flatten();
    let listed_at = desk.ledger.changed_at_s(&post.key());
    if approved_at.is_some_and(|approved| listed_at.is_none_or(|listed| approved > listed)) {
        return Some(act(post, format!("{slots} slots of {}", desk.seller.class)));
    }
    Some(act(approve, format!("bonds of {total} for {slots} slots")))
}

/// Lets the offers that a node names stand on: only their owner can list others.
fn prolong<'a>(view: &'a ProviderView, desk: &'a Desk<'_>) -> impl Iterator<Item = Wish> + 'a {
    let until_s = desk.chain_s + OFFER_LIFETIME_S / 10;
    view.offers.iter().filter(move |offer| offer.active && !offer.is_open_at(until_s)).map(|offer| {
        let intent = Intent::UpdateOffer {
            offer: offer.id,
            reserve_tick: offer.reserve_tick,
            valid_until: desk.chain_s + OFFER_LIFETIME_S,
        };
        act(intent, "its time is running out")
    })
}

/// Rentals that the node has room for, besides those that it has.
fn room(view: &ProviderView, desk: &Desk<'_>) -> u16 {
    view.offers.iter().map(|offer| offer.used).fold(desk.slots, u16::saturating_sub)
}

/// Free slots by offer, while the node has room for another rental.
fn free_slots<'a>(view: &'a ProviderView, desk: &Desk<'_>) -> Vec<(&'a OfferRow, u16)> {
    let room = room(view, desk);
    let free = fresh_offers(view, desk).map(|offer| (offer, offer.slots.saturating_sub(offer.used).min(room)));
    free.filter(|(_, slots)| *slots > 0).collect()
}

/// Takes the dearest bids that free slots serve, a slot each. The market matches the best bid of a book alone, so those of one
/// book are taken in its order; a bid whose match is under way keeps its slot.
fn take(view: &ProviderView, desk: &Desk<'_>) -> Vec<Wish> {
    let mut free = free_slots(view, desk);
    let mut room = usize::from(room(view, desk)).min(TAKEN_AT_ONCE);
    let mut bids: Vec<_> = view.heads.iter().collect();
    bids.sort_by_key(|(book, bid)| Reverse((bid.tick(), !book.preemptible)));
    let mut wishes = Vec::new();
    for under_way in [true, false] {
        bids.retain(|(book, bid)| {
            let matching = |offer: &OfferRow| Intent::Match {
                offer: offer.id,
                book: book.to_u16(),
                min_tick: offer.reserve_tick,
                expected: *bid,
            };
            let serving = free.iter_mut().filter(|_| room > 0).find(|(offer, slots)| {
                *slots > 0
                    && offer.book_mask >> book.bits() & 1 == 1
                    && bid.tick() >= offer.reserve_tick
                    && (!under_way || desk.ledger.is_live(&matching(offer).key()))
            });
            let Some((offer, slots)) = serving else { return true };
            (*slots, room) = (*slots - 1, room - 1);
            wishes.push(act(matching(offer), format!("bid of {book} at tick {}", bid.tick())));
            false
        });
    }
    wishes
}

/// Ends the cheapest pre-emptible rental when all slots are taken and a dearer firm bid waits, one at a time: the slot is
/// matched again as soon as its bill is settled. Work that is done already is submitted, not given up.
fn give_way(view: &ProviderView, desk: &Desk<'_>) -> Option<Wish> {
    let is_giving_way = |row: &AgreementRow| row.submitted.as_ref().is_some_and(|bill| bill.preempted);
    if !free_slots(view, desk).is_empty() || view.rentals.iter().any(is_giving_way) {
        return None;
    }
    let deep = |row: &AgreementRow| {
        row.started.as_ref().is_some_and(|started| desk.head >= started.block + desk.params.confirmations)
    };
    let cheapest = view
        .rentals
        .iter()
        .filter(|row| row.status == Status::Running && row.id.book().is_some_and(|book| book.preemptible) && deep(row))
        .filter(|row| result_of(desk, row).is_none())
        .min_by_key(|row| row.id.tick())?;
    let slot_of = cheapest.matched.as_ref()?.offer_id;
    let offer = fresh_offers(view, desk).find(|offer| offer.id == slot_of)?;
    let floor = offer.reserve_tick.max(cheapest.id.tick().saturating_add(1));
    let (_, dearer) = view
        .heads
        .iter()
        .filter(|(book, bid)| !book.preemptible && offer.book_mask >> book.bits() & 1 == 1 && bid.tick() >= floor)
        .max_by_key(|(_, bid)| bid.tick())?;
    let why = format!("firm bid {dearer} at tick {} waits for its slot", dearer.tick());
    Some(act(Intent::Preempt { rental: cheapest.id }, why))
}

fn fresh_offers<'a>(view: &'a ProviderView, desk: &Desk<'_>) -> impl Iterator<Item = &'a OfferRow> {
    // What is posted anew is not matched on any more; a named offer serves to its end.
    let left_s = if desk.seller.offers.is_none() { OFFER_LIFETIME_S / 10 } else { 0 };
    let (class, until_s) = (desk.seller.class.number(), desk.chain_s + left_s);
    view.offers.iter().filter(move |offer| offer.class == class && offer.is_open_at(until_s))
}

/// Lowest tick of a class whose price is at least `per_hour`.
pub fn lowest_tick(base_price: u128, per_hour: Amount) -> Option<u8> {
    let wanted = per_hour.0.checked_mul(price::PRICE_SCALE)? / 3_600;
    (0..=u8::MAX).find(|tick| price::price_at(base_price, *tick).is_some_and(|at| at >= wanted))
}

/// Smallest bond that the market takes for a slot at this lowest price.
pub fn least_bond(base_price: u128, tick: u8, bond_s: u64) -> Option<Amount> {
    let price = price::price_at(base_price, tick)?;
    price::cost_of(price, u32::try_from(bond_s).ok()?).map(Amount)
}

/// All buckets up to the longest rental; firm, and pre-emptible if taken.
pub fn book_mask(max_duration_s: u64, preemptible_too: bool) -> u8 {
    let books = (0..4u8).flat_map(|bucket| [false, true].map(|preemptible| BookId { class: 1, bucket, preemptible }));
    let longest_s = |bucket: u8| u64::from(BUCKET_MAX_S[usize::from(bucket)]);
    books
        .filter(|book| longest_s(book.bucket) <= max_duration_s && (preemptible_too || !book.preemptible))
        .fold(0, |mask, book| mask | 1 << book.bits())
}

#[cfg(test)]
mod tests;
