//! EIP-712 digests: what keys of this market sign. Equality with the contracts is tested on shared fixtures.

use alloy::{
    primitives::{Address, B256, Signature, U256},
    signers::{Signer, k256::ecdsa::SigningKey, local::LocalSigner},
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};

use crate::bindings::{Bid, ForwardRequest, ForwardRequestData, Start};

/// Domain of the market's own typed data.
pub fn market_domain(chain_id: u64, market: Address) -> Eip712Domain {
    eip712_domain! { name: "AIPowerRental", version: "1", chain_id: chain_id, verifying_contract: market, }
}

/// Domain of the forwarder, whose name is chosen when it is deployed.
pub fn forwarder_domain(chain_id: u64, forwarder: Address) -> Eip712Domain {
    eip712_domain! { name: FORWARDER_NAME, version: "1", chain_id: chain_id, verifying_contract: forwarder, }
}

/// Name given to the forwarder at deployment; part of its domain.
pub const FORWARDER_NAME: &str = "OpenClawForwarder";

/// Digest of a bid under the market's domain (before ERC-7739 nesting).
pub fn bid_digest(bid: &Bid, chain_id: u64, market: Address) -> B256 {
    bid.eip712_signing_hash(&market_domain(chain_id, market))
}

/// Digest with which an agent's key countersigns a start.
pub fn start_digest(start: &Start, chain_id: u64, market: Address) -> B256 {
    start.eip712_signing_hash(&market_domain(chain_id, market))
}

/// Digest of a forward request.
pub fn forward_digest(request: &ForwardRequest, chain_id: u64, forwarder: Address) -> B256 {
    request.eip712_signing_hash(&forwarder_domain(chain_id, forwarder))
}

/// Signs `request` and turns it into what the forwarder executes.
///
/// # Errors
/// When the signer refuses.
pub async fn sign_forward(
    request: ForwardRequest,
    signer: &LocalSigner<SigningKey>,
    chain_id: u64,
    forwarder: Address,
) -> Result<ForwardRequestData, alloy::signers::Error> {
    let signature = signer.sign_hash(&forward_digest(&request, chain_id, forwarder)).await?;
    Ok(ForwardRequestData {
        from: request.from,
        to: request.to,
        value: request.value,
        gas: request.gas,
        deadline: request.deadline,
        data: request.data,
        signature: signature.as_bytes().to_vec().into(),
    })
}

/// Keyed nonce space of an agent's signed bids: `uint160(agent) << 32`, see `Bid` in the interfaces.
pub fn bid_nonce_key(agent: Address) -> U256 {
    U256::from_be_slice(agent.as_slice()) << 32
}

/// Who signed `digest`, if the 65 bytes are a signature at all.
pub fn recover(digest: &B256, signature: &[u8]) -> Option<Address> {
    Signature::from_raw(signature).ok()?.recover_address_from_prehash(digest).ok()
}
