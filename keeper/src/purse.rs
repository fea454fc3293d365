//! What a session key could bid with: the wallet's own word, asked of the chain when a bid is to be priced.
//!
//! The index knows no token balances, and the rolling window of a limit is the wallet's own arithmetic.

use std::time::Duration;

use alloy::{primitives::Address, providers::DynProvider};
use contracts::{
    bindings::{IAgentWallet, IERC20},
    units::Amount,
};
use tracing::debug;

use crate::market::Funds;

/// The loop waits no longer than this; a bid that is short of money is refused before it is sent anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// The money of one session key.
#[derive(Clone, Debug)]
pub struct Purse {
    /// Chain access.
    pub provider: DynProvider,
    /// AIT.
    pub token: Address,
    /// The wallet.
    pub wallet: Address,
    /// The session key.
    pub key: Address,
}

impl Purse {
    /// What the key can bid with as of the newest block, `credit` being its credit at the market; `None` when the chain
    /// does not answer in time.
    pub async fn funds(&self, credit: Amount) -> Option<Funds> {
        let asked = async {
            let token = IERC20::new(self.token, &self.provider);
            let wallet = IAgentWallet::new(self.wallet, &self.provider);
            let tokens = token.balanceOf(self.wallet).call().await?;
            let available = wallet.availableTo(self.key).call().await?;
            let tokens = Amount::from_units(tokens);
            Ok::<_, alloy::contract::Error>(Funds { tokens, credit, available: available.into() })
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(funds)) => Some(funds),
            Ok(Err(error)) => {
                debug!(wallet = %self.wallet, %error, "the wallet's funds are not known");
                None
            }
            Err(_) => None,
        }
    }
}
