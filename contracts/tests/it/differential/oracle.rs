//! Matching by brute force: no bitmap, no levels, no heads.

use std::cmp::Reverse;

use contracts::{
    book::{MAX_DEAD, Market, Status},
    ids::{AgreementId, BookId},
};

/// Highest tick, then lowest sequence, of the open and unexpired bids at or above `floor`.
pub(super) fn best(model: &Market, now_s: u64, book: BookId, floor: u8) -> Option<AgreementId> {
    let of_book = model.agreements().filter(|(id, _)| id.book() == Some(book) && id.tick() >= floor);
    let alive = of_book.filter(|(_, bid)| bid.status == Status::Open && now_s < bid.expiry_s);
    alive.map(|(id, _)| id).max_by_key(|id| (id.tick(), Reverse(id.sequence())))
}

/// `found` must be that bid; nothing may be found instead only behind more dead bids than one call steps over.
pub(super) fn check(
    model: &Market,
    now_s: u64,
    book: BookId,
    floor: u8,
    found: Option<AgreementId>,
) -> Result<(), String> {
    let expected = best(model, now_s, book, floor);
    if found == expected {
        return Ok(());
    }
    if let (None, Some(expected)) = (found, expected) {
        let before =
            |id: &AgreementId| (id.tick(), Reverse(id.sequence())) > (expected.tick(), Reverse(expected.sequence()));
        let of_book = model.agreements().filter(|(id, _)| id.book() == Some(book) && id.tick() >= floor && before(id));
        let dead = of_book.filter(|(_, bid)| matches!(bid.status, Status::Open | Status::Cancelled | Status::Expired));
        if dead.count() > MAX_DEAD as usize {
            return Ok(());
        }
    }
    Err(format!("book {book} from tick {floor}: brute force finds {expected:?}, not {found:?}"))
}
