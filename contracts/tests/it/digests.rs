//! EIP-712 digests and signatures.

use alloy::{
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U24, U40, U48, U96},
    },
    signers::local::PrivateKeySigner,
};
use contracts::{
    bindings::{Bid, ForwardRequest, Start},
    typed_data::{FORWARDER_NAME, bid_digest, forward_digest, recover, sign_forward, start_digest},
};
use serde_json::Value;

fn get<T: serde::de::DeserializeOwned>(from: &Value, field: &str) -> T {
    serde_json::from_value(from[field].clone()).unwrap_or_else(|error| panic!("{field}: {error}"))
}

fn bid(from: &Value) -> Bid {
    Bid {
        wallet: get(from, "wallet"),
        agent: get(from, "agent"),
        cls: get(from, "cls"),
        preemptible: get(from, "preemptible"),
        tick: get(from, "tick"),
        maxDuration: U24::from(get::<u64>(from, "maxDuration")),
        expiry: U40::from(get::<u64>(from, "expiry")),
        templateId: get(from, "templateId"),
        specHash: get(from, "specHash"),
        policyHash: get(from, "policyHash"),
        nonce: get(from, "nonce"),
    }
}

fn start(from: &Value) -> Start {
    Start {
        agreementId: get::<U256>(from, "agreementId").to::<U96>(),
        offerId: get(from, "offerId"),
        provider: get(from, "provider"),
        specHash: get(from, "specHash"),
        deadline: U40::from(get::<u64>(from, "deadline")),
    }
}

fn request(from: &Value) -> ForwardRequest {
    ForwardRequest {
        from: get(from, "from"),
        to: get(from, "to"),
        value: U256::from(get::<u64>(from, "value")),
        gas: U256::from(get::<u64>(from, "gas")),
        nonce: U256::from(get::<u64>(from, "nonce")),
        deadline: U48::from(get::<u64>(from, "deadline")),
        data: get(from, "data"),
    }
}

#[test]
fn digests_equal_the_contracts() {
    let all = super::fixture("digests.json");
    let (chain, market): (u64, Address) = (get(&all, "chain_id"), get(&all, "market"));
    assert_eq!(all["forwarder_name"], FORWARDER_NAME);
    assert_eq!(bid_digest(&bid(&all["bid"]), chain, market), get::<B256>(&all, "bid_digest"));
    assert_eq!(start_digest(&start(&all["start"]), chain, market), get::<B256>(&all, "start_digest"));
    let forwarder = get(&all, "forwarder");
    assert_eq!(forward_digest(&request(&all["request"]), chain, forwarder), get::<B256>(&all, "request_digest"));
}

#[test]
fn every_field_of_a_digest_counts() {
    let all = super::fixture("digests.json");
    let (chain, market): (u64, Address) = (get(&all, "chain_id"), get(&all, "market"));
    let base = bid(&all["bid"]);
    let mut changed = vec![base.clone(); 11];
    changed[0].wallet = Address::ZERO;
    changed[1].agent = Address::ZERO;
    changed[2].cls ^= 1;
    changed[3].preemptible ^= true;
    changed[4].tick ^= 1;
    changed[5].maxDuration = U24::from(1);
    changed[6].expiry = U40::from(1);
    changed[7].templateId ^= 1;
    changed[8].specHash = B256::ZERO;
    changed[9].policyHash = B256::ZERO;
    changed[10].nonce = U256::ZERO;
    let digest = bid_digest(&base, chain, market);
    for other in &changed {
        assert_ne!(bid_digest(other, chain, market), digest, "{other:?}");
    }
    assert_ne!(bid_digest(&base, chain + 1, market), digest);
    assert_ne!(bid_digest(&base, chain, Address::ZERO), digest);
}

#[tokio::test]
async fn signatures_equal_the_contracts() {
    let all = super::fixture("digests.json");
    let key: PrivateKeySigner = all["agent_key"].as_str().unwrap().parse().unwrap();
    let digest: B256 = get(&all, "start_digest");
    let signature: Bytes = get(&all, "start_signature");
    assert_eq!(recover(&digest, &signature), Some(key.address()));
    assert_eq!(recover(&B256::ZERO, &signature[..64]), None);
    let signed =
        sign_forward(request(&all["request"]), &key, get(&all, "chain_id"), get(&all, "forwarder")).await.unwrap();
    assert_eq!(signed.signature, get::<Bytes>(&all, "request_signature"));
}
