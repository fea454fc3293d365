// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Bid, Start} from "../interfaces/Types.sol";

/// @notice EIP-712 struct hashes of what session keys sign for the market.
library TypedData {
    bytes32 internal constant BID_TYPEHASH = keccak256(
        "Bid(address wallet,address agent,uint8 cls,bool preemptible,uint8 tick,uint24 maxDuration,uint40 expiry,uint16 templateId,bytes32 specHash,bytes32 policyHash,uint256 nonce)"
    );
    bytes32 internal constant START_TYPEHASH =
        keccak256("Start(uint96 agreementId,uint64 offerId,address provider,bytes32 specHash,uint40 deadline)");

    function hash(Bid memory bid) internal pure returns (bytes32) {
        // Every member is a static value type, so that the ABI encoding of the struct is the EIP-712 one.
        return keccak256(abi.encode(BID_TYPEHASH, bid));
    }

    function hash(Start memory start) internal pure returns (bytes32) {
        return keccak256(abi.encode(START_TYPEHASH, start));
    }
}
