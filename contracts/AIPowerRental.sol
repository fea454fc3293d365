// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {MarketState} from "./MarketState.sol";
import {MarketSupply} from "./MarketSupply.sol";
import {Timing} from "./interfaces/Types.sol";

/// @title AIPowerRental
/// @notice The rental market. Read bottom up: `MarketState` (storage, admin, views), `MarketSettlement` (how things
/// end), `MarketDemand` (wallets), `MarketSupply` (providers).
/// @dev `factory` and market know each other by immutables: compute the factory's CREATE address beforehand, deploy
/// the market with it, then the factory, whose constructor refuses a market that names another factory.
/// Warning: the token must be a plain ERC-20 with at most 18 decimals; fees on transfer are refused on the way in, but
/// a rebasing token would break conservation.
contract AIPowerRental is MarketSupply {
    /// @param token_ The one token escrow, bonds and pay are in.
    /// @param factory_ The factory whose clones may bid; it may not exist yet.
    /// @param admin Owner of the settings (two-step transfer).
    /// @param feeBps_ Fee on pay, in 1/10,000; frozen into each bid.
    constructor(
        address token_,
        address factory_,
        address admin,
        address treasury_,
        address arbiter_,
        address pauser_,
        uint16 feeBps_,
        Timing memory timing_
    ) MarketState(token_, factory_, admin, treasury_, arbiter_, pauser_, feeBps_, timing_) {}
}
