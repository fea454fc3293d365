//! Bids and what becomes of them.

use alloy::primitives::U256;
use contracts::{
    bindings::{
        IAIPowerRental::{
            AgreementCreated, AgreementDeclined, AgreementStarted, BidPlaced, BidRemoved, DisputeFiled,
            DisputeResolved, PaymentProcessed, PerformanceSubmitted,
        },
        RemovalReason,
    },
    ids::{AgreementId, BookId},
    price::price_at,
    units::Amount,
};

use super::{Fold, FoldError, Folded, misfit, money::minus};
use crate::store::{
    rows::{
        AgreementRow, BookRow, ClassRow, Clearing, Dispute, Ended, LevelRow, Matched, Payment, Ruling, Started, Status,
        Submitted, WalletRow, status_name,
    },
    schema::{self, Table},
};

/// Bits of an agreement's flags; see `Agreement` in `Types.sol`.
const HAS_RECEIPTS: u8 = 1;
const PREEMPTED: u8 = 2;
const CANCELLED: u8 = 8;

impl Fold<'_, '_> {
    pub(super) fn bid_placed(&mut self, event: &BidPlaced) -> Folded {
        let id = AgreementId::from(event.agreementId);
        let row = AgreementRow {
            id,
            wallet: event.wallet,
            agent: event.agent,
            status: Status::Open,
            max_duration_s: event.maxDuration.to(),
            expiry_s: event.expiry.to(),
            fee_bps: event.feeBps,
            template_id: event.templateId,
            escrow: event.escrow.into(),
            credit_used: event.creditUsed.into(),
            spec_hash: event.specHash,
            policy_hash: event.policyHash,
            placed_block: self.block,
            placed_time_s: self.time_s,
            matched: None,
            started: None,
            submitted: None,
            dispute: None,
            payment: None,
            decline_fee: None,
            ended: None,
        };
        self.put(&row)?;
        self.rows.mark(schema::by_account(Table::WalletAgreements, row.wallet, self.block, id))?;
        self.rows.mark(schema::by_account(Table::WalletLive, row.wallet, self.block, id))?;
        self.rows.mark(schema::of_spec(row.wallet, row.spec_hash).down(self.block).id(id))?;
        self.enqueue(&row)?;
        let wallet_key = schema::wallet(row.wallet);
        let mut wallet: WalletRow = self.known(&wallet_key, || format!("wallet {}", row.wallet))?;
        wallet.bids += 1;
        self.rows.put(wallet_key, &wallet)?;
        self.account_drawn(row.wallet, row.agent, row.credit_used)?;
        self.totals(|totals| {
            totals.agreements += 1;
            totals.escrow = totals.escrow + row.escrow;
            Ok(())
        })
    }

    pub(super) fn bid_removed(&mut self, event: &BidRemoved) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        self.dequeue(&row)?;
        let status = match event.reason {
            RemovalReason::Cancelled => Status::Cancelled,
            _ => Status::Expired,
        };
        self.finish(&mut row, status)?;
        let refund = event.refund.into();
        self.release_escrow(&row, refund)?;
        self.account_ended(row.agent, refund, Amount::ZERO, refund)
    }

    pub(super) fn matched(&mut self, event: &AgreementCreated) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        self.dequeue(&row)?;
        row.status = Status::Confirmed;
        row.matched = Some(Matched {
            offer_id: event.offerId,
            provider: event.provider,
            start_deadline_s: event.startDeadline.to(),
            block: self.block,
            time_s: self.time_s,
        });
        self.put(&row)?;
        self.rows.mark(schema::rental(self.block, row.id))?;
        for table in [Table::ProviderRentals, Table::ProviderLive] {
            self.rows.mark(schema::by_account(table, event.provider, self.block, row.id))?;
        }
        let mut offer = self.offer(event.offerId)?;
        offer.used += 1;
        self.rows.put(schema::offer(offer.id), &offer)?;

        let class_key = schema::class(row.id.class());
        let mut class: ClassRow = self.known(&class_key, || format!("class {}", row.id.class()))?;
        let (book, tick) = place(&row)?;
        let Some(price) = price_at(class.base_price, tick) else {
            return misfit(format!("tick {tick} over {} is no price", class.base_price));
        };
        let clearing = Clearing { id: row.id, tick, price, block: self.block, time_s: self.time_s };
        self.rows.put(schema::clearing(book, self.block, row.id), &clearing)?;
        class.last_clearing = Some(clearing);
        Ok(self.rows.put(class_key, &class)?)
    }

    pub(super) fn declined(&mut self, event: &AgreementDeclined) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        row.decline_fee = Some(event.fee.into());
        self.put(&row)
    }

    pub(super) fn started(&mut self, event: &AgreementStarted) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        row.status = Status::Running;
        row.started = Some(Started {
            time_s: event.startTime.to(),
            end_time_s: event.endTime.to(),
            spec_hash: event.specHash,
            image_digest: event.imageDigest,
            block: self.block,
        });
        self.put(&row)
    }

    pub(super) fn submitted(&mut self, event: &PerformanceSubmitted) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        row.status = Status::Submitted;
        row.submitted = Some(Submitted {
            billable_s: event.billable.to(),
            result_hash: event.resultHash,
            receipt_root: event.receiptRoot,
            challenge_end_s: event.challengeEnd.to(),
            receipts: event.flags & HAS_RECEIPTS != 0,
            preempted: event.flags & PREEMPTED != 0,
            cancelled: event.flags & CANCELLED != 0,
            block: self.block,
            time_s: self.time_s,
        });
        self.put(&row)
    }

    /// The deposit comes from the key's credit as far as it reaches, then from the wallet's tokens.
    pub(super) fn dispute_filed(&mut self, event: &DisputeFiled) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        let deposit = Amount::from(event.deposit);
        row.status = Status::Disputed;
        row.dispute = Some(Dispute {
            initiator: event.initiator,
            reason_hash: event.reasonHash,
            deposit,
            credit_used: event.creditUsed.into(),
            counted: event.counted,
            timeout_s: event.timeout.to(),
            block: self.block,
            ruling: None,
        });
        self.put(&row)?;
        self.account_drawn(row.wallet, row.agent, event.creditUsed.into())?;
        self.totals(|totals| {
            totals.deposits = totals.deposits + deposit;
            Ok(())
        })
    }

    /// What of the deposit is not forfeited goes back to the key; the forfeited part is told by a `Credited` of its own.
    pub(super) fn dispute_resolved(&mut self, event: &DisputeResolved) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        let Some(dispute) = &mut row.dispute else { return misfit(format!("rental {} has no dispute", row.id)) };
        dispute.ruling = Some(Ruling {
            pay: event.pay.into(),
            slash: event.slash.into(),
            deposit_forfeited: event.depositForfeited.into(),
            timed_out: event.timedOut,
            block: self.block,
        });
        let (deposit, counted) = (dispute.deposit, dispute.counted);
        let forfeited = Amount::from(event.depositForfeited);
        let back = minus(deposit, forfeited, || format!("the deposit for rental {}", row.id))?;
        self.put(&row)?;
        let (spent, released) = if counted { (forfeited, back) } else { (Amount::ZERO, Amount::ZERO) };
        self.account_ended(row.agent, back, spent, released)?;
        self.totals(|totals| {
            totals.deposits = minus(totals.deposits, deposit, || "the sum of deposits".into())?;
            Ok(())
        })
    }

    /// Splits the escrow. The bond's returned part is told by `OfferUpdated` where it leaves the slot; slash and
    /// penalty are told by `Credited`.
    pub(super) fn paid(&mut self, event: &PaymentProcessed) -> Folded {
        let mut row = self.agreement(event.agreementId.into())?;
        let payment = Payment {
            pay: event.pay.into(),
            fee: event.fee.into(),
            refund: event.refund.into(),
            penalty: event.penalty.into(),
            slash: event.slash.into(),
            block: self.block,
        };
        let Some(matched) = &row.matched else { return misfit(format!("rental {} was never matched", row.id)) };
        let mut offer = self.offer(matched.offer_id)?;
        let Some(used) = offer.used.checked_sub(1) else { return misfit(format!("offer {} holds none", offer.id)) };
        offer.used = used;
        self.rows.put(schema::offer(offer.id), &offer)?;
        self.provider(event.provider, |provider| {
            provider.earned = provider.earned + payment.pay;
            provider.slashed = provider.slashed + payment.slash;
        })?;
        let shares = [payment.pay, payment.fee, payment.refund, payment.penalty];
        self.release_escrow(&row, shares.into_iter().sum())?;
        self.credit_given(event.provider, payment.pay)?;
        let spent = payment.pay + payment.fee + payment.penalty;
        self.account_ended(row.agent, payment.refund, spent, payment.refund)?;
        let treasury = self.known::<crate::store::rows::ConfigRow>(&schema::config(), || "configuration".into())?;
        self.credit_given(treasury.treasury, payment.fee)?;
        self.totals(|totals| {
            totals.fees = totals.fees + payment.fee;
            totals.bonds = minus(totals.bonds, payment.slash, || "the sum of bonds".into())?;
            Ok(())
        })?;
        row.payment = Some(payment);
        self.put(&row)
    }

    pub(super) fn ended(&mut self, id: AgreementId, status: Status) -> Folded {
        let mut row = self.agreement(id)?;
        let Some(provider) = row.provider() else { return misfit(format!("rental {id} was never matched")) };
        self.provider(provider, |provider| match status {
            Status::Settled | Status::Resolved | Status::Preempted => provider.settled += 1,
            Status::Failed => provider.failed += 1,
            _ => {}
        })?;
        if matches!(status, Status::Settled | Status::Resolved | Status::Preempted) {
            self.totals(|totals| {
                totals.settled += 1;
                Ok(())
            })?;
        }
        self.finish(&mut row, status)
    }

    /// Makes an agreement terminal and takes it off the lists of live ones.
    fn finish(&mut self, row: &mut AgreementRow, status: Status) -> Folded {
        if row.ended.is_some() {
            return misfit(format!("rental {} is {} already", row.id, status_name(row.status)));
        }
        row.status = status;
        row.ended = Some(Ended { block: self.block, time_s: self.time_s });
        self.put(row)?;
        self.rows.delete(schema::by_account(Table::WalletLive, row.wallet, row.placed_block, row.id))?;
        if let Some(matched) = &row.matched {
            let key = schema::by_account(Table::ProviderLive, matched.provider, matched.block, row.id);
            self.rows.delete(key)?;
        }
        Ok(())
    }

    fn release_escrow(&mut self, row: &AgreementRow, shares: Amount) -> Folded {
        if shares != row.escrow {
            return misfit(format!(
                "the shares of rental {} are {} units, its escrow {}",
                row.id, shares.0, row.escrow.0
            ));
        }
        self.totals(|totals| {
            totals.escrow = minus(totals.escrow, shares, || "the sum of escrows".into())?;
            Ok(())
        })
    }

    fn enqueue(&mut self, row: &AgreementRow) -> Folded {
        let (book_id, tick) = place(row)?;
        self.rows.mark(schema::queue(book_id, tick, row.id.sequence()))?;
        self.rows.mark(schema::age(book_id.class, row.placed_block, row.id))?;
        let (mut level, mut book) = self.sums(book_id, tick)?;
        level.tail = row.id.sequence() + 1;
        level.live += 1;
        level.seconds += u64::from(row.max_duration_s);
        level.escrow = level.escrow + row.escrow;
        book.bitmap |= U256::from(1) << usize::from(tick);
        book.live += 1;
        book.seconds += u64::from(row.max_duration_s);
        book.escrow = book.escrow + row.escrow;
        self.put_sums(book_id, tick, &level, &book)
    }

    fn dequeue(&mut self, row: &AgreementRow) -> Folded {
        if row.status != Status::Open {
            return misfit(format!("bid {} is {}, not open", row.id, status_name(row.status)));
        }
        let (book_id, tick) = place(row)?;
        self.rows.delete(schema::queue(book_id, tick, row.id.sequence()))?;
        self.rows.delete(schema::age(book_id.class, row.placed_block, row.id))?;
        let (mut level, mut book) = self.sums(book_id, tick)?;
        let left = |live: u64| live.checked_sub(1).ok_or_else(|| FoldError::Misfit(format!("book {book_id} is empty")));
        level.live = left(level.live)?;
        level.seconds = level.seconds.saturating_sub(u64::from(row.max_duration_s));
        level.escrow = minus(level.escrow, row.escrow, || format!("level {tick} of book {book_id}"))?;
        book.live = left(book.live)?;
        book.seconds = book.seconds.saturating_sub(u64::from(row.max_duration_s));
        book.escrow = minus(book.escrow, row.escrow, || format!("book {book_id}"))?;
        if level.live == 0 {
            book.bitmap &= !(U256::from(1) << usize::from(tick));
        }
        self.put_sums(book_id, tick, &level, &book)
    }

    fn sums(&self, book_id: BookId, tick: u8) -> Folded<(LevelRow, BookRow)> {
        let level = self.rows.get(&schema::level(book_id, tick))?.unwrap_or_default();
        Ok((level, self.rows.get(&schema::book(book_id))?.unwrap_or_default()))
    }

    fn put_sums(&mut self, book_id: BookId, tick: u8, level: &LevelRow, book: &BookRow) -> Folded {
        self.rows.put(schema::level(book_id, tick), level)?;
        Ok(self.rows.put(schema::book(book_id), book)?)
    }

    pub(super) fn put(&mut self, row: &AgreementRow) -> Folded {
        Ok(self.rows.put(schema::agreement(row.id), row)?)
    }
}

fn place(row: &AgreementRow) -> Folded<(BookId, u8)> {
    let book = row.id.book().ok_or_else(|| FoldError::Misfit(format!("{} names no book", row.id)))?;
    Ok((book, row.id.tick()))
}
