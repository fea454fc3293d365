// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

// Tokens that misbehave once they are told to; asleep they are plain, so that tests can build up a state first.

/// @notice Anyone may mint.
abstract contract Mintable is ERC20 {
    constructor() ERC20("Hostile", "BAD") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice Calls out in the middle of a transfer, like the hooks of ERC-777, and keeps what came back.
contract HookToken is Mintable {
    address private _target;
    bytes private _data;
    bool private _after;
    /// @notice How often the hook ran, and how its last call ended.
    uint256 public calls;
    bool public succeeded;
    bytes public returned;

    function arm(address target, bytes calldata data, bool after_) external {
        (_target, _data, _after) = (target, data, after_);
        calls = 0;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (!_after) _hook();
        super._update(from, to, amount);
        if (_after) _hook();
    }

    function _hook() private {
        address target = _target;
        if (target == address(0)) return;
        // Once, or a successful call would recurse for ever.
        _target = address(0);
        (succeeded, returned) = target.call(_data);
        ++calls;
    }
}

/// @notice Refuses to move tokens to or from one account, or at all.
contract BlockListToken is Mintable {
    error Blocked(address account);
    error Frozen();

    mapping(address account => bool) public blocked;
    bool public frozen;

    function setBlocked(address account, bool on) external {
        blocked[account] = on;
    }

    function setFrozen(bool on) external {
        frozen = on;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (frozen) revert Frozen();
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        super._update(from, to, amount);
    }
}

/// @notice Keeps one percent of every transfer.
contract FeeToken is Mintable {
    bool public taking;

    function setTaking(bool on) external {
        taking = on;
    }

    function _update(address from, address to, uint256 amount) internal override {
        uint256 fee = taking && from != address(0) && to != address(0) ? amount / 100 : 0;
        super._update(from, to, amount - fee);
        if (fee != 0) super._update(from, address(0), fee);
    }
}

/// @notice Six decimals, as many stable coins have.
contract SixDecimalsToken is Mintable {
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}

/// @notice Answers transfers with a mountain of bytes that begins with a `true`.
contract BombToken is Mintable {
    uint256 private _size;

    function arm(uint256 size) external {
        _size = size;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        _explode();
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        _explode();
        return true;
    }

    function _explode() private view {
        uint256 size = _size;
        if (size == 0) return;
        assembly ("memory-safe") {
            mstore(0, 1)
            return(0, size)
        }
    }
}
