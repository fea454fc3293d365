//! Whether the chain lets a node sell for its provider what its configuration names.

use alloy::providers::DynProvider;
use contracts::bindings::IAIPowerRental::IAIPowerRentalInstance as Market;

use super::{super::ProviderConfig, Findings};
use crate::{
    clock::now_s,
    seller::{Fault, Named, Seller},
};

impl Findings {
    pub(super) async fn node(&mut self, set: &ProviderConfig, seller: &Seller, market: &Market<&DynProvider>) {
        if !seller.is_owner() {
            match market.isOperator(seller.provider, seller.account).call().await {
                Ok(is_operator) => {
                    let good = format!("{} may act for {}", seller.account, seller.provider);
                    self.verdict("provider.owner", seller.fault_of_right(is_operator), good);
                }
                Err(_) => self.bad("provider.owner", "its operators cannot be read; does the endpoint work?"),
            }
        }
        let mut slots = 0;
        for id in seller.offers.iter().flat_map(|named| named.iter()) {
            let Ok(offer) = market.offer(*id).call().await else {
                self.bad("provider.offers", format!("offer {id} cannot be read; does the endpoint work?"));
                continue;
            };
            let valid_until_s: u64 = offer.validUntil.to();
            let found = (!offer.provider.is_zero()).then_some(Named {
                provider: offer.provider,
                class: offer.cls,
                active: valid_until_s > 0,
            });
            slots += u32::from(offer.slots);
            let stands =
                if valid_until_s > now_s() { "stands" } else { "stands again when the keeper has prolonged it" };
            let good = format!("offer {id} with {} slots of {} {stands}", offer.slots, seller.class);
            self.verdict("provider.offers", seller.fault_of_offer(*id, found), good);
        }
        if slots > u32::from(set.slots) {
            self.bad(
                "provider.slots",
                format!(
                    "the offers have {slots} slots, but this node works on {} rentals at once: the other bonds earn nothing; \
                     raise it, or name fewer offers",
                    set.slots
                ),
            );
        }
    }

    fn verdict(&mut self, field: &str, fault: Option<Fault>, good: String) {
        match fault {
            Some(fault) => self.bad(field, fault.to_string()),
            None => self.good(field, good),
        }
    }
}
