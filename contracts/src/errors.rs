//! Decodes revert data into the contract error's name and arguments.

use alloy::{
    primitives::{Bytes, hex},
    sol_types::{Panic, Revert, SolError, SolInterface},
};

use crate::bindings::{
    IAIPowerRental::IAIPowerRentalErrors, IAgentWallet::IAgentWalletErrors, IERC20::IERC20Errors,
    IERC2771Forwarder::IERC2771ForwarderErrors,
};

/// Names the error in `data`, with its arguments; unknown selectors are shown as hex.
pub fn describe_revert(data: &Bytes) -> String {
    if data.is_empty() {
        return "reverted without a reason (out of gas, or a call to an address without code)".to_owned();
    }
    if let Ok(revert) = Revert::abi_decode(data) {
        return format!("reverted: {}", revert.reason);
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return format!("panicked: {panic}");
    }
    if let Ok(error) = IAIPowerRentalErrors::abi_decode(data) {
        return format!("market: {error:?}");
    }
    if let Ok(error) = IAgentWalletErrors::abi_decode(data) {
        return format!("wallet: {error:?}");
    }
    if let Ok(error) = IERC2771ForwarderErrors::abi_decode(data) {
        return format!("forwarder: {error:?}");
    }
    if let Ok(error) = IERC20Errors::abi_decode(data) {
        return format!("token: {error:?}");
    }
    format!("reverted with unknown data 0x{}", hex::encode(data))
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::{Address, aliases::U96},
        sol_types::SolError,
    };

    use super::*;
    use crate::bindings::IAgentWallet;

    #[test]
    fn contract_errors_are_named_with_arguments() {
        let error =
            IAgentWallet::PerBidLimitExceeded { agent: Address::ZERO, amount: U96::from(7), limit: U96::from(3) };
        let text = describe_revert(&error.abi_encode().into());
        assert!(text.contains("PerBidLimitExceeded") && text.contains('7') && text.contains('3'), "{text}");
    }

    #[test]
    fn plain_and_unknown_data_are_readable() {
        assert!(describe_revert(&Revert { reason: "no".into() }.abi_encode().into()).contains("no"));
        assert!(describe_revert(&Bytes::from(vec![1, 2, 3, 4])).contains("0x01020304"));
        assert!(describe_revert(&Bytes::new()).contains("without a reason"));
    }
}
