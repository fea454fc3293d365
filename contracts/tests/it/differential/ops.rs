//! Operations: each as a call of the contracts and as a call of the model.

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U40},
    sol_types::SolCall,
};
use contracts::{
    bindings::{IAIPowerRental as M, IAgentWallet as W, StartItem as ChainStart, SubmitItem as ChainSubmit},
    book::{Config, Error, Limits, Market, OfferId, OfferTerms, Policy, StartItem, SubmitItem, Terms},
    ids::{AgreementId, BookId},
};

use super::{
    chain::Outcome,
    refusal::{chain_status, revert_data, u40, u96},
    world::{World, bid_of, limits_of, policy_of, template, terms_of},
};

/// What is signed is made when the operation is; the model is told whose signature it is.
#[derive(Clone, Debug)]
pub(super) struct Countersigned {
    pub(super) item: StartItem,
    pub(super) spec_hash: B256,
    pub(super) signature: Bytes,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Place {
        wallet: Address,
        sender: Address,
        terms: Terms,
    },
    PlaceAtMarket {
        caller: Address,
        agent: Address,
        terms: Terms,
    },
    PlaceSigned {
        caller: Address,
        wallet: Address,
        agent: Address,
        terms: Terms,
        nonce: u64,
        signer: Option<Address>,
        signature: Bytes,
    },
    Cancel {
        wallet: Address,
        sender: Address,
        id: AgreementId,
    },
    CancelAtMarket {
        caller: Address,
        id: AgreementId,
    },
    Dispute {
        wallet: Address,
        sender: Address,
        id: AgreementId,
    },
    DisputeAtMarket {
        caller: Address,
        id: AgreementId,
    },
    Collect {
        wallet: Address,
        agent: Address,
    },
    CollectAtMarket {
        caller: Address,
        agent: Address,
    },
    Match {
        caller: Address,
        offer: OfferId,
        book: BookId,
        min_tick: u8,
        expected: Option<AgreementId>,
    },
    MatchBatch {
        caller: Address,
        offer: OfferId,
        book: BookId,
        min_tick: u8,
        count: usize,
    },
    Start {
        caller: Address,
        start: Countersigned,
    },
    StartBatch {
        caller: Address,
        starts: Vec<Countersigned>,
    },
    Decline {
        caller: Address,
        id: AgreementId,
    },
    Submit {
        caller: Address,
        item: SubmitItem,
    },
    SubmitBatch {
        caller: Address,
        items: Vec<SubmitItem>,
    },
    Preempt {
        caller: Address,
        id: AgreementId,
        has_receipts: bool,
    },
    Advance {
        id: AgreementId,
    },
    Prune {
        ids: Vec<AgreementId>,
    },
    Resolve {
        caller: Address,
        id: AgreementId,
        pay: u128,
        slash: u128,
    },
    Withdraw {
        caller: Address,
        to: Address,
    },
    Register {
        caller: Address,
        length: usize,
    },
    SetOperator {
        caller: Address,
        operator: Address,
        allowed: bool,
    },
    PostOffer {
        caller: Address,
        terms: OfferTerms,
    },
    UpdateOffer {
        caller: Address,
        offer: OfferId,
        reserve_tick: u8,
        valid_until_s: u64,
    },
    CloseOffer {
        caller: Address,
        offer: OfferId,
    },
    Authorize {
        wallet: Address,
        sender: Address,
        agent: Address,
        policy: Policy,
    },
    Revoke {
        wallet: Address,
        sender: Address,
        agent: Address,
    },
    RevokeAll {
        wallet: Address,
        sender: Address,
    },
    SetLimits {
        wallet: Address,
        sender: Address,
        limits: Limits,
    },
    SetWalletPaused {
        wallet: Address,
        sender: Address,
        paused: bool,
    },
    AllowProvider {
        wallet: Address,
        sender: Address,
        provider: Address,
        allowed: bool,
    },
    WalletWithdraw {
        wallet: Address,
        sender: Address,
        to: Address,
        amount: u128,
    },
    TransferOwnership {
        wallet: Address,
        sender: Address,
        to: Address,
    },
    AcceptOwnership {
        wallet: Address,
        sender: Address,
    },
    SetPaused {
        caller: Address,
        paused: bool,
    },
    SetConfig {
        caller: Address,
        config: Config,
    },
    AddClass {
        caller: Address,
        class: u8,
        base: u128,
    },
    AddTemplate {
        caller: Address,
        template: u16,
        class_mask: u32,
    },
}

fn book_u16(book: BookId) -> u16 {
    book.to_u16()
}

fn root(has_receipts: bool) -> B256 {
    if has_receipts { B256::repeat_byte(9) } else { B256::ZERO }
}

fn chain_start(start: &Countersigned) -> ChainStart {
    ChainStart {
        agreementId: start.item.id.to_u96(),
        specHash: start.spec_hash,
        imageDigest: B256::ZERO,
        countersignature: start.signature.clone(),
    }
}

fn chain_submit(item: &SubmitItem) -> ChainSubmit {
    ChainSubmit {
        agreementId: item.id.to_u96(),
        claimedSeconds: u40(item.claimed_s),
        resultHash: B256::ZERO,
        receiptRoot: root(item.has_receipts),
    }
}

impl Op {
    /// Its name, for counting.
    pub(super) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '{']).next().unwrap().to_owned()
    }

    /// Caller, contract and calldata.
    pub(super) fn on_chain(&self, world: &World) -> (Address, Address, Bytes) {
        let market = world.market;
        macro_rules! call {
            ($from:expr, $to:expr, $call:expr) => {
                ($from, $to, $call.abi_encode().into())
            };
        }
        match self.clone() {
            Self::Place { wallet, sender, terms } => {
                call!(sender, wallet, W::placeBidCall { terms: terms_of(&terms) })
            }
            Self::PlaceAtMarket { caller, agent, terms } => {
                call!(caller, market, M::placeBidCall { terms: terms_of(&terms), agent })
            }
            Self::PlaceSigned { caller, wallet, agent, terms, nonce, signature, .. } => {
                let bid = bid_of(wallet, agent, &terms, nonce);
                call!(caller, market, M::placeBidWithSignatureCall { bid, signature })
            }
            Self::Cancel { wallet, sender, id } => call!(sender, wallet, W::cancelBidCall { bidId: id.to_u96() }),
            Self::CancelAtMarket { caller, id } => {
                call!(caller, market, M::cancelCall { agreementId: id.to_u96() })
            }
            Self::Dispute { wallet, sender, id } => {
                call!(sender, wallet, W::disputeCall { bidId: id.to_u96(), reasonHash: B256::ZERO })
            }
            Self::DisputeAtMarket { caller, id } => {
                let call = M::disputeCall { agreementId: id.to_u96(), reasonHash: B256::ZERO, counted: true };
                call!(caller, market, call)
            }
            Self::Collect { wallet, agent } => call!(world.stranger, wallet, W::collectCall { agent }),
            Self::CollectAtMarket { caller, agent } => call!(caller, market, M::collectCall { agent }),
            Self::Match { caller, offer, book, min_tick, expected } => {
                let call = M::matchBestCall {
                    offerId: offer,
                    book: book_u16(book),
                    minTick: min_tick,
                    expectedId: expected.unwrap_or_default().to_u96(),
                };
                call!(caller, market, call)
            }
            Self::MatchBatch { caller, offer, book, min_tick, count } => {
                let call = M::matchBestBatchCall {
                    offerId: offer,
                    book: book_u16(book),
                    minTick: min_tick,
                    count: U256::from(count),
                };
                call!(caller, market, call)
            }
            Self::Start { caller, start } => {
                let ChainStart { agreementId, specHash, imageDigest, countersignature } = chain_start(&start);
                call!(caller, market, M::startCall { agreementId, specHash, imageDigest, countersignature })
            }
            Self::StartBatch { caller, starts } => {
                call!(caller, market, M::startBatchCall { items: starts.iter().map(chain_start).collect() })
            }
            Self::Decline { caller, id } => call!(caller, market, M::declineCall { agreementId: id.to_u96() }),
            Self::Submit { caller, item } => {
                let ChainSubmit { agreementId, claimedSeconds, resultHash, receiptRoot } = chain_submit(&item);
                call!(caller, market, M::submitCall { agreementId, claimedSeconds, resultHash, receiptRoot })
            }
            Self::SubmitBatch { caller, items } => {
                call!(caller, market, M::submitBatchCall { items: items.iter().map(chain_submit).collect() })
            }
            Self::Preempt { caller, id, has_receipts } => {
                let call = M::preemptCall {
                    agreementId: id.to_u96(),
                    resultHash: B256::ZERO,
                    receiptRoot: root(has_receipts),
                };
                call!(caller, market, call)
            }
            Self::Advance { id } => call!(world.stranger, market, M::advanceCall { agreementId: id.to_u96() }),
            Self::Prune { ids } => {
                let ids = ids.into_iter().map(AgreementId::to_u96).collect();
                call!(world.stranger, market, M::pruneCall { agreementIds: ids })
            }
            Self::Resolve { caller, id, pay, slash } => {
                call!(caller, market, M::resolveCall { agreementId: id.to_u96(), pay: u96(pay), slash: u96(slash) })
            }
            Self::Withdraw { caller, to } => call!(caller, market, M::withdrawCall { to }),
            Self::Register { caller, length } => {
                call!(caller, market, M::registerProviderCall { endpoint: "x".repeat(length) })
            }
            Self::SetOperator { caller, operator, allowed } => {
                call!(caller, market, M::setOperatorCall { operator, allowed })
            }
            Self::PostOffer { caller, terms } => {
                let call = M::postOfferCall {
                    cls: terms.class,
                    bookMask: terms.book_mask,
                    slots: terms.slots,
                    reserveTick: terms.reserve_tick,
                    bondPerSlot: u96(terms.bond_per_slot),
                    validUntil: u40(terms.valid_until_s),
                };
                call!(caller, market, call)
            }
            Self::UpdateOffer { caller, offer, reserve_tick, valid_until_s } => {
                let call = M::updateOfferCall {
                    offerId: offer,
                    reserveTick: reserve_tick,
                    validUntil: U40::from(valid_until_s),
                };
                call!(caller, market, call)
            }
            Self::CloseOffer { caller, offer } => call!(caller, market, M::closeOfferCall { offerId: offer }),
            Self::Authorize { wallet, sender, agent, policy } => {
                call!(sender, wallet, W::authorizeAgentCall { agent, policy: policy_of(&policy) })
            }
            Self::Revoke { wallet, sender, agent } => call!(sender, wallet, W::revokeAgentCall { agent }),
            Self::RevokeAll { wallet, sender } => call!(sender, wallet, W::revokeAllCall {}),
            Self::SetLimits { wallet, sender, limits } => {
                call!(sender, wallet, W::setLimitsCall { limits: limits_of(&limits) })
            }
            Self::SetWalletPaused { wallet, sender, paused } => {
                call!(sender, wallet, W::setPausedCall { paused_: paused })
            }
            Self::AllowProvider { wallet, sender, provider, allowed } => {
                call!(sender, wallet, W::allowProviderCall { provider, allowed })
            }
            Self::WalletWithdraw { wallet, sender, to, amount } => {
                call!(sender, wallet, W::withdrawCall { to, amount: u96(amount) })
            }
            Self::TransferOwnership { wallet, sender, to } => {
                call!(sender, wallet, W::transferOwnershipCall { newOwner: to })
            }
            Self::AcceptOwnership { wallet, sender } => call!(sender, wallet, W::acceptOwnershipCall {}),
            Self::SetPaused { caller, paused: true } => call!(caller, market, M::pauseCall {}),
            Self::SetPaused { caller, paused: false } => call!(caller, market, M::unpauseCall {}),
            Self::SetConfig { caller, config } => {
                let call = M::setConfigCall {
                    feeBps: config.fee_bps,
                    treasury: config.treasury,
                    arbiter: config.arbiter,
                    pauser: config.pauser,
                };
                call!(caller, market, call)
            }
            Self::AddClass { caller, class, base } => {
                call!(caller, market, M::addClassCall { cls: class, basePrice: base })
            }
            Self::AddTemplate { caller, template: id, class_mask } => {
                let call = M::addTemplateCall { templateId: id, classMask: class_mask, template: template() };
                call!(caller, market, call)
            }
        }
    }

    /// What the contracts must answer, by the model.
    pub(super) fn on_model(&self, now_s: u64, model: &mut Market) -> (Result<(), Error>, Outcome) {
        let answer = self.run(now_s, model);
        let outcome = match &answer {
            Ok(data) => Ok(data.clone()),
            Err(error) => Err(revert_data(error)),
        };
        (answer.map(|_| ()), outcome)
    }

    fn run(&self, now_s: u64, model: &mut Market) -> Result<Bytes, Error> {
        let nothing = |()| Bytes::new();
        let id_of = |id: AgreementId| Bytes::from(M::placeBidCall::abi_encode_returns(&id.to_u96()));
        match self.clone() {
            Self::Place { wallet, sender, terms } => model.place(now_s, wallet, sender, &terms).map(id_of),
            Self::PlaceAtMarket { caller, agent, terms } => model.place(now_s, caller, agent, &terms).map(id_of),
            Self::PlaceSigned { wallet, agent, terms, nonce, signer, .. } => {
                model.place_signed(now_s, wallet, agent, &terms, nonce, signer).map(id_of)
            }
            Self::Cancel { wallet, sender, id } => model.cancel_bid(now_s, wallet, sender, id).map(nothing),
            Self::CancelAtMarket { caller, id } => model.cancel(now_s, caller, id).map(nothing),
            Self::Dispute { wallet, sender, id } => model.dispute(now_s, wallet, sender, id).map(nothing),
            Self::DisputeAtMarket { caller, id } => model.dispute_as(now_s, caller, id, true).map(nothing),
            Self::Collect { wallet, agent } => model
                .collect(now_s, wallet, agent)
                .map(|credit| W::collectCall::abi_encode_returns(&u96(credit)).into()),
            Self::CollectAtMarket { caller, agent } => {
                // Only wallets get further, and they call by `collect`.
                model.collect(now_s, caller, agent).map(|_| Bytes::new())
            }
            Self::Match { caller, offer, book, min_tick, expected } => model
                .match_best(now_s, caller, offer, book, min_tick, expected)
                .map(|found| id_of(found.unwrap_or_default())),
            Self::MatchBatch { caller, offer, book, min_tick, count } => {
                model.match_best_batch(now_s, caller, offer, book, min_tick, count).map(|ids| {
                    let ids: Vec<_> = ids.into_iter().map(AgreementId::to_u96).collect();
                    M::matchBestBatchCall::abi_encode_returns(&ids).into()
                })
            }
            Self::Start { caller, start } => model.start(now_s, caller, start.item.id, start.item.signer).map(nothing),
            Self::StartBatch { caller, starts } => {
                let items: Vec<_> = starts.iter().map(|start| start.item).collect();
                model.start_batch(now_s, caller, &items).map(nothing)
            }
            Self::Decline { caller, id } => model.decline(now_s, caller, id).map(nothing),
            Self::Submit { caller, item } => model.submit(now_s, caller, &item).map(nothing),
            Self::SubmitBatch { caller, items } => model.submit_batch(now_s, caller, &items).map(nothing),
            Self::Preempt { caller, id, has_receipts } => model.preempt(now_s, caller, id, has_receipts).map(nothing),
            Self::Advance { id } => {
                model.advance(now_s, id).map(|status| M::advanceCall::abi_encode_returns(&chain_status(status)).into())
            }
            Self::Prune { ids } => Ok(M::pruneCall::abi_encode_returns(&U256::from(model.prune(now_s, &ids))).into()),
            Self::Resolve { caller, id, pay, slash } => model.resolve(now_s, caller, id, pay, slash).map(nothing),
            Self::Withdraw { caller, to } => {
                model.withdraw(caller, to).map(|amount| M::withdrawCall::abi_encode_returns(&u96(amount)).into())
            }
            Self::Register { caller, length } => model.register_provider(caller, &"x".repeat(length)).map(nothing),
            Self::SetOperator { caller, operator, allowed } => {
                model.set_operator(caller, operator, allowed).map(nothing)
            }
            Self::PostOffer { caller, terms } => {
                model.post_offer(now_s, caller, &terms).map(|offer| M::postOfferCall::abi_encode_returns(&offer).into())
            }
            Self::UpdateOffer { caller, offer, reserve_tick, valid_until_s } => {
                model.update_offer(now_s, caller, offer, reserve_tick, valid_until_s).map(nothing)
            }
            Self::CloseOffer { caller, offer } => model.close_offer(caller, offer).map(nothing),
            Self::Authorize { wallet, sender, agent, policy } => {
                model.authorize(now_s, wallet, sender, agent, &policy).map(nothing)
            }
            Self::Revoke { wallet, sender, agent } => model.revoke(now_s, wallet, sender, agent).map(nothing),
            Self::RevokeAll { wallet, sender } => model.revoke_all(wallet, sender).map(nothing),
            Self::SetLimits { wallet, sender, limits } => model.set_limits(wallet, sender, &limits).map(nothing),
            Self::SetWalletPaused { wallet, sender, paused } => {
                model.set_wallet_paused(wallet, sender, paused).map(nothing)
            }
            Self::AllowProvider { wallet, sender, provider, allowed } => {
                model.allow_provider(wallet, sender, provider, allowed).map(nothing)
            }
            Self::WalletWithdraw { wallet, sender, to, amount } => {
                model.withdraw_from_wallet(wallet, sender, to, amount).map(nothing)
            }
            Self::TransferOwnership { wallet, sender, to } => model.transfer_ownership(wallet, sender, to).map(nothing),
            Self::AcceptOwnership { wallet, sender } => model.accept_ownership(wallet, sender).map(nothing),
            Self::SetPaused { caller, paused } => model.set_paused(caller, paused).map(nothing),
            Self::SetConfig { caller, config } => model.set_config(caller, config).map(nothing),
            Self::AddClass { caller, class, base } => model.add_class(caller, class, base).map(nothing),
            Self::AddTemplate { caller, template, class_mask } => {
                model.add_template(caller, template, class_mask).map(nothing)
            }
        }
    }
}
