//! Classes, templates, configuration, providers, offers.

use alloy::primitives::Address;
use contracts::{
    bindings::IAIPowerRental::{
        ClassAdded, ConfigUpdated, EndpointUpdated, OfferPosted, OfferUpdated, OperatorUpdated, TemplateAdded,
    },
    units::Amount,
};

use super::{Fold, Folded, money::minus};
use crate::store::{
    rows::{ClassRow, ConfigRow, OfferRow, ProviderRow, TemplateRow},
    schema,
};

impl Fold<'_, '_> {
    pub(super) fn class_added(&mut self, event: &ClassAdded) -> Folded {
        let row = ClassRow { base_price: event.basePrice, last_clearing: None };
        Ok(self.rows.put(schema::class(event.cls), &row)?)
    }

    pub(super) fn template_added(&mut self, event: &TemplateAdded) -> Folded {
        let row = TemplateRow {
            class_mask: event.classMask,
            memory_mib: event.template.memoryMiB,
            disk_mib: event.template.diskMiB,
            pids: event.template.pids,
            network: event.template.network,
            image_digest: event.template.imageDigest,
        };
        Ok(self.rows.put(schema::template(event.templateId), &row)?)
    }

    pub(super) fn config_updated(&mut self, event: &ConfigUpdated) -> Folded {
        let mut row: ConfigRow = self.rows.get(&schema::config())?.unwrap_or_default();
        row.fee_bps = event.feeBps;
        row.treasury = event.treasury;
        row.arbiter = event.arbiter;
        row.pauser = event.pauser;
        Ok(self.rows.put(schema::config(), &row)?)
    }

    pub(super) fn market_paused(&mut self, paused: bool) -> Folded {
        let mut row: ConfigRow = self.rows.get(&schema::config())?.unwrap_or_default();
        row.paused = paused;
        Ok(self.rows.put(schema::config(), &row)?)
    }

    pub(super) fn provider_authorized(&mut self, provider: Address) -> Folded {
        self.provider(provider, |row| row.authorized = true)
    }

    pub(super) fn endpoint_updated(&mut self, event: &EndpointUpdated) -> Folded {
        self.provider(event.provider, |row| row.endpoint.clone_from(&event.endpoint))
    }

    pub(super) fn operator_updated(&mut self, event: &OperatorUpdated) -> Folded {
        let key = schema::operator(event.provider, event.operator);
        Ok(if event.allowed { self.rows.mark(key) } else { self.rows.delete(key) }?)
    }

    /// Bonds come from the provider's credit as far as it reaches, then from its tokens.
    pub(super) fn offer_posted(&mut self, event: &OfferPosted) -> Folded {
        let bond_per_slot = Amount::from(event.bondPerSlot);
        let row = OfferRow {
            id: event.offerId,
            provider: event.provider,
            class: event.cls,
            book_mask: event.bookMask,
            slots: event.slots,
            used: 0,
            reserve_tick: event.reserveTick,
            bond_per_slot,
            valid_until_s: event.validUntil.to(),
            active: true,
            posted_block: self.block,
            updated_block: self.block,
        };
        self.rows.put(schema::offer(row.id), &row)?;
        self.rows.mark(schema::provider_offer(row.provider, row.id))?;
        self.rows.mark(schema::listed_offer(row.class, row.id))?;
        let bonds = Amount(bond_per_slot.0 * u128::from(row.slots));
        self.credit_used(row.provider, bonds)?;
        self.totals(|totals| {
            totals.bonds = totals.bonds + bonds;
            Ok(())
        })
    }

    pub(super) fn offer_updated(&mut self, event: &OfferUpdated) -> Folded {
        let mut row = self.offer(event.offerId)?;
        row.slots = event.slots;
        row.reserve_tick = event.reserveTick;
        row.valid_until_s = event.validUntil.to();
        row.active = event.active;
        row.updated_block = self.block;
        self.rows.put(schema::offer(row.id), &row)?;
        let listed = schema::listed_offer(row.class, row.id);
        if row.active { self.rows.mark(listed) } else { self.rows.delete(listed) }?;
        let bonds = Amount::from(event.bondCredited);
        self.credit_given(row.provider, bonds)?;
        self.totals(|totals| {
            totals.bonds = minus(totals.bonds, bonds, || "the sum of bonds".into())?;
            Ok(())
        })
    }

    pub(super) fn offer(&self, id: u64) -> Folded<OfferRow> {
        self.known(&schema::offer(id), || format!("offer {id}"))
    }

    /// Changes a provider's row, making it first if need be.
    pub(super) fn provider(&mut self, address: Address, change: impl FnOnce(&mut ProviderRow)) -> Folded {
        let key = schema::provider(address);
        let mut row: ProviderRow = self.rows.get(&key)?.unwrap_or_else(|| ProviderRow {
            authorized: false,
            endpoint: String::new(),
            since_block: self.block,
            settled: 0,
            failed: 0,
            earned: Amount::ZERO,
            slashed: Amount::ZERO,
        });
        change(&mut row);
        Ok(self.rows.put(key, &row)?)
    }
}
