//! What the relay reads of the chain, and how a node answers to bytes.

use std::time::Duration;

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionReceipt,
};

use super::Trouble;
use crate::journal::{Parcel, Version};

/// Longest wait for one answer; after it, the answer is not known.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the chain says at one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Height of the newest block.
    pub(super) number: u64,
    /// Its hash.
    pub(super) hash: B256,
    /// Its time.
    pub(super) timestamp_s: u64,
    /// Most gas of a block.
    pub(super) gas_limit: u64,
    /// Transactions of the account in it and before.
    pub(super) count: u64,
    /// The same with those that the node would mine next.
    pub(super) pending: u64,
    /// The account's coin.
    pub(super) balance_wei: U256,
    /// What every transaction of the newest block paid at least for a unit of gas.
    pub(super) base_fee_wei: u128,
    /// What a transaction should pay now.
    pub(super) fees: Fees,
}

/// What a transaction pays for a unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fees {
    /// At most, wei.
    pub(super) max_wei: u128,
    /// For the block's producer, wei.
    pub(super) tip_wei: u128,
}

impl Fees {
    /// The least that nodes take as a replacement, and a little: an eighth more of both, rounded up.
    pub(super) fn bumped(self) -> Self {
        let bump = |wei: u128| wei.saturating_add((wei / 8).max(1)).saturating_add(1);
        Self { max_wei: bump(self.max_wei), tip_wei: bump(self.tip_wei) }
    }

    /// The larger of both, field by field.
    pub(super) fn or_more(self, other: Self) -> Self {
        Self { max_wei: self.max_wei.max(other.max_wei), tip_wei: self.tip_wei.max(other.tip_wei) }
    }

    /// No more than `cap_wei`.
    pub(super) fn within(self, cap_wei: u128) -> Self {
        let max_wei = self.max_wei.min(cap_wei);
        Self { max_wei, tip_wei: self.tip_wei.min(max_wei) }
    }

    /// What a version pays.
    pub(super) fn of(version: &Version) -> Self {
        Self { max_wei: version.max_fee_wei, tip_wei: version.tip_wei }
    }
}

/// How a node answered to bytes. Only the chain tells what is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has them.
    Taken,
    /// It wants more for them.
    Underpriced(String),
    /// Their nonce is used: by these bytes or by others.
    NonceUsed,
    /// No answer, or one that says nothing of the bytes' fate.
    Unknown(String),
}

impl Answer {
    /// Nodes tell by text: the codes of these answers are all the same.
    pub(super) fn from_error(text: &str) -> Self {
        let lower = text.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&["already known", "already imported", "known transaction", "already exists"]) {
            Self::Taken
        } else if says(&["nonce too low", "nonce is too low", "invalid nonce", "old nonce"]) {
            Self::NonceUsed
        } else if says(&[
            "underpriced",
            "fee too low",
            "less than block base fee",
            "gas price too low",
            "below base fee",
        ]) {
            Self::Underpriced(text.to_owned())
        } else {
            Self::Unknown(text.to_owned())
        }
    }
}

/// Waits so long for an answer.
pub(super) async fn patiently<T, E: Into<Trouble>>(
    answer: impl IntoFuture<Output = Result<T, E>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, answer.into_future()).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(Trouble::Chain(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// Reads the newest block and the account in it; `last` when it still is the newest.
pub(super) async fn look(provider: &DynProvider, account: Address, last: Option<Seen>) -> Result<Seen, Trouble> {
    let block = patiently(provider.get_block_by_number(BlockNumberOrTag::Latest)).await?;
    let header = block.ok_or_else(|| Trouble::Chain("the endpoint has no newest block".into()))?.header;
    if let Some(last) = last.filter(|last| last.hash == header.hash) {
        return Ok(last);
    }
    let at = BlockId::number(header.number);
    let (count, pending, balance_wei, fees) = tokio::try_join!(
        patiently(provider.get_transaction_count(account).block_id(at)),
        patiently(provider.get_transaction_count(account).block_id(BlockId::pending())),
        patiently(provider.get_balance(account).block_id(at)),
        patiently(provider.estimate_eip1559_fees()),
    )?;
    let fees = Fees { max_wei: fees.max_fee_per_gas, tip_wei: fees.max_priority_fee_per_gas };
    Ok(Seen {
        number: header.number,
        hash: header.hash,
        timestamp_s: header.timestamp,
        gas_limit: header.gas_limit,
        count,
        pending,
        balance_wei,
        base_fee_wei: header.base_fee_per_gas.unwrap_or_default().into(),
        fees,
    })
}

/// Hash of the block of a height, if there is one.
pub(super) async fn hash_at(provider: &DynProvider, number: u64) -> Result<Option<B256>, Trouble> {
    let block = patiently(provider.get_block_by_number(number.into())).await?;
    Ok(block.map(|block| block.header.hash))
}

/// Receipt of whichever version of a parcel was mined.
pub(super) async fn receipt(provider: &DynProvider, parcel: &Parcel) -> Result<Option<TransactionReceipt>, Trouble> {
    for version in parcel.versions.iter().rev() {
        if let Some(receipt) = patiently(provider.get_transaction_receipt(version.hash)).await? {
            return Ok(Some(receipt));
        }
    }
    Ok(None)
}

/// Whether the node knows any version of a parcel, mined or not.
pub(super) async fn knows(provider: &DynProvider, parcel: &Parcel) -> Result<bool, Trouble> {
    for version in &parcel.versions {
        if patiently(provider.get_transaction_by_hash(version.hash)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Hands bytes to the node.
pub(super) async fn send(provider: &DynProvider, version: &Version) -> Answer {
    match tokio::time::timeout(PATIENCE, provider.send_raw_transaction(&version.raw)).await {
        Ok(Ok(_)) => Answer::Taken,
        Ok(Err(error)) => Answer::from_error(&error.to_string()),
        Err(_) => Answer::Unknown(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_is_more_than_a_tenth_of_both_fees() {
        for wei in [0, 1, 7, 9, 10, 99, 1_000_000_007, 123_456_789_012] {
            let bumped = Fees { max_wei: wei, tip_wei: wei / 3 }.bumped();
            assert!(bumped.max_wei * 10 >= wei * 11 && bumped.max_wei > wei, "{wei}");
            assert!(bumped.tip_wei * 10 >= wei / 3 * 11 && bumped.tip_wei > wei / 3, "{wei}");
        }
    }

    #[test]
    fn what_nodes_say_is_understood() {
        for (text, answer) in [
            ("server returned an error response: error code -32000: already known", Answer::Taken),
            ("transaction already imported", Answer::Taken),
            ("nonce too low: next nonce 5, tx nonce 4", Answer::NonceUsed),
        ] {
            assert_eq!(Answer::from_error(text), answer);
        }
        for text in ["replacement transaction underpriced", "max fee per gas less than block base fee: …"] {
            assert!(matches!(Answer::from_error(text), Answer::Underpriced(_)), "{text}");
        }
        for text in ["HTTP error 429", "connection reset", "insufficient funds for gas * price + value"] {
            assert!(matches!(Answer::from_error(text), Answer::Unknown(_)), "{text}");
        }
    }
}
