// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {Account as Word, Accounts} from "../../contracts/libraries/Accounts.sol";

contract AccountsTest is Test {
    function check(Word account, uint256 credit, uint256 spent, uint256 released) private pure {
        assertEq(account.credit(), credit, "credit");
        assertEq(account.spent(), spent, "spent");
        assertEq(account.released(), released, "released");
        assertEq(Word.unwrap(account) >> 248, 1, "known");
    }

    function testFuzz_CountedKeepsCreditAloneAndTheSlotInUse(uint104 credit) external pure {
        check(Accounts.counted(credit), credit, 0, 0);
    }

    /// @dev Two ends in a row add up field by field, without touching each other.
    function testFuzz_PlusAddsFieldByField(uint96[2] memory credit, uint64[2] memory spent, uint64[2] memory released)
        external
        pure
    {
        Word account = Accounts.counted(0);
        for (uint256 i; i < 2; ++i) {
            account = account.plus(credit[i], spent[i], released[i]);
        }
        check(account, uint256(credit[0]) + credit[1], uint256(spent[0]) + spent[1], uint256(released[0]) + released[1]);
    }

    /// @dev Each field at its greatest leaves its neighbours at zero.
    function test_NoFieldReachesIntoAnother() external pure {
        Word none = Accounts.counted(0);
        check(none, 0, 0, 0);
        check(none.plus(2 ** 104 - 1, 0, 0), 2 ** 104 - 1, 0, 0);
        check(none.plus(0, 2 ** 72 - 1, 0), 0, 2 ** 72 - 1, 0);
        check(none.plus(0, 0, 2 ** 72 - 1), 0, 0, 2 ** 72 - 1);
        check(none.plus(2 ** 104 - 1, 2 ** 72 - 1, 2 ** 72 - 1), 2 ** 104 - 1, 2 ** 72 - 1, 2 ** 72 - 1);
    }
}
