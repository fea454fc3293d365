// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice AIT for local chains and tests: anyone may mint. Never deploy it where tokens are worth something.
contract AITToken is ERC20("AIT", "AIT") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
