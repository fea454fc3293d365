// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

// OpenZeppelin's forwarder is used as it is; this import makes the build produce its artifact.
import {ERC2771Forwarder} from "@openzeppelin/contracts/metatx/ERC2771Forwarder.sol";
