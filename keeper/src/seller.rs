//! Whose offers a keeper sells, and which of them: a provider may have a fleet of nodes, each with an operator's key.
//!
//! Offers are the unit of a node. Each is named by one node alone, so no rental is worked twice, however many nodes race
//! for the bids.

use std::sync::Arc;

use alloy::primitives::Address;
use contracts::classes::HardwareClass;
use indexer::rows::AgreementRow;

use crate::config::ProviderConfig;

/// A provider's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seller {
    /// The provider: holds bonds and earnings.
    pub provider: Address,
    /// The key that acts for it: its own, or an operator's.
    pub account: Address,
    /// Hardware class sold.
    pub class: HardwareClass,
    /// Offers that the node works for; `None` for a provider's only node, which posts its own and works for all.
    pub offers: Option<Arc<[u64]>>,
}

/// What is known of an offer that a node names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Who posted it.
    pub provider: Address,
    /// Its class.
    pub class: u8,
    /// Whether it was not closed.
    pub active: bool,
}

impl Seller {
    /// The node of a configuration, whose key is `account`.
    pub fn of(set: &ProviderConfig, account: Address) -> Self {
        Self {
            provider: set.owner.unwrap_or(account),
            account,
            class: set.class,
            offers: set.offers.as_deref().map(Into::into),
        }
    }

    /// Whether the node works for an offer of its provider.
    pub fn sells(&self, offer: u64) -> bool {
        self.offers.as_ref().is_none_or(|named| named.contains(&offer))
    }

    /// Whether a rental is this node's.
    pub fn works_on(&self, row: &AgreementRow) -> bool {
        row.matched.as_ref().is_some_and(|matched| matched.provider == self.provider && self.sells(matched.offer_id))
    }

    /// Whether the key is the provider's own, which alone can post, publish and withdraw.
    pub fn is_owner(&self) -> bool {
        self.account == self.provider
    }

    /// What is wrong with the right to act for the provider.
    pub fn fault_of_right(&self, is_operator: bool) -> Option<Fault> {
        let Self { provider, account, .. } = self;
        (!self.is_owner() && !is_operator).then(|| Fault {
            why: format!("{account} is no operator of {provider}"),
            remedy: format!("its owner allows it with `keeper operator allow {account}`"),
        })
    }

    /// Two nodes that both work for all offers would work the same rentals; so one that names none sells alone.
    pub fn fault_of_company(&self, has_operators: bool) -> Option<Fault> {
        (self.offers.is_none() && has_operators).then(|| Fault {
            why: format!(
                "{} has operators, so other nodes may sell for it, but provider.offers does not say which offers are this \
                 node's: it takes nothing new",
                self.provider
            ),
            remedy: "name them in provider.offers; `keeper offer list` shows all".into(),
        })
    }

    /// What is wrong with an offer that is named as this node's.
    pub fn fault_of_offer(&self, id: u64, found: Option<Named>) -> Option<Fault> {
        let Self { provider, class, .. } = self;
        let (why, remedy) = match found {
            None => (format!("there is no offer {id}"), "correct provider.offers, or post it: `keeper offer post`"),
            Some(found) if found.provider != *provider => {
                (format!("offer {id} belongs to {}, not to {provider}", found.provider), "correct provider.offers")
            }
            Some(found) if found.class != class.number() => {
                let sold = HardwareClass::from_number(found.class).map_or("another class", HardwareClass::name);
                let why = format!("offer {id} sells {sold}, but this node is {class}");
                (why, "correct provider.class or provider.offers")
            }
            Some(found) if !found.active => (
                format!("offer {id} is closed"),
                "its owner posts another with `keeper offer post`; name that in provider.offers",
            ),
            Some(_) => return None,
        };
        Some(Fault { why, remedy: remedy.into() })
    }

    /// What is wrong with what the provider published, if it does not lead to this node's `endpoint`. A node that names its
    /// offers publishes nothing by itself: the others' addresses would be lost.
    pub fn fault_of_way(&self, published: Option<&str>, endpoint: &str) -> Option<Fault> {
        let published = published.unwrap_or_default();
        let leads_here = published.split_ascii_whitespace().any(|url| url == endpoint.trim_end_matches('/'));
        (self.offers.is_some() && !leads_here).then(|| Fault {
            why: format!("agents cannot find this node: {} publishes '{published}', not {endpoint}", self.provider),
            remedy: "its owner publishes all nodes with `keeper provider register --endpoint URL --endpoint URL …`"
                .into(),
        })
    }
}

/// Why a node cannot sell, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was found.
    pub why: String,
    /// The remedy.
    pub remedy: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.why, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use indexer::rows::Status;

    use super::*;
    use crate::roles::fixtures::{PROVIDER, row};

    const OWNER: Address = Address::repeat_byte(1);
    const OPERATOR: Address = Address::repeat_byte(2);

    fn seller(account: Address, offers: Option<&[u64]>) -> Seller {
        Seller { provider: OWNER, account, class: HardwareClass::CpuOnly, offers: offers.map(Into::into) }
    }

    #[test]
    fn a_node_sells_what_it_names_and_the_only_node_sells_all() {
        assert!(seller(OWNER, None).sells(9));
        let node = seller(OPERATOR, Some(&[7, 8]));
        assert!(node.sells(7) && node.sells(8) && !node.sells(9));
        let rental = row(Status::Running);
        let of = |provider: Address, offers: &[u64]| Seller { provider, ..seller(OPERATOR, Some(offers)) };
        assert!(of(PROVIDER, &[1]).works_on(&rental));
        assert!(!of(PROVIDER, &[2]).works_on(&rental) && !of(OWNER, &[1]).works_on(&rental));
        assert!(!of(PROVIDER, &[1]).works_on(&AgreementRow { matched: None, ..rental }));
    }

    #[test]
    fn a_key_needs_the_owners_word_unless_it_is_the_owners() {
        assert_eq!(seller(OWNER, None).fault_of_right(false), None);
        assert_eq!(seller(OPERATOR, Some(&[7])).fault_of_right(true), None);
        let fault = seller(OPERATOR, Some(&[7])).fault_of_right(false).unwrap();
        assert!(fault.remedy.contains(&format!("keeper operator allow {OPERATOR}")), "{fault}");
    }

    #[test]
    fn only_who_names_offers_sells_beside_others() {
        assert_eq!(seller(OWNER, None).fault_of_company(false), None);
        assert_eq!(seller(OWNER, Some(&[7])).fault_of_company(true), None);
        assert!(seller(OWNER, None).fault_of_company(true).unwrap().remedy.contains("provider.offers"));
    }

    #[test]
    fn an_offer_must_be_there_open_the_providers_and_of_the_class() {
        let node = seller(OPERATOR, Some(&[7]));
        let good = Named { provider: OWNER, class: 1, active: true };
        assert_eq!(node.fault_of_offer(7, Some(good)), None);
        for (found, word) in [
            (None, "no offer 7"),
            (Some(Named { provider: OPERATOR, ..good }), "belongs to"),
            (Some(Named { class: 3, ..good }), "mid_range_gpu"),
            (Some(Named { class: 99, ..good }), "another class"),
            (Some(Named { active: false, ..good }), "is closed"),
        ] {
            let fault = node.fault_of_offer(7, found).unwrap();
            assert!(fault.why.contains(word), "{fault}");
        }
    }

    #[test]
    fn the_way_to_a_node_is_among_those_published() {
        let node = seller(OPERATOR, Some(&[7]));
        let both = Some("https://a.example https://b.example:9000");
        for here in ["https://a.example", "https://b.example:9000/"] {
            assert_eq!(node.fault_of_way(both, here), None);
        }
        for (published, here) in [(both, "https://b.example"), (None, "https://a.example"), (Some(""), "")] {
            assert!(node.fault_of_way(published, here).unwrap().remedy.contains("provider register"), "{published:?}");
        }
        assert_eq!(seller(OWNER, None).fault_of_way(None, "https://a.example"), None, "it publishes by itself");
    }
}
