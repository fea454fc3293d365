//! Amounts of AIT: 18 decimals on chain, a decimal number for people.

use std::{fmt, str::FromStr};

use alloy::primitives::{
    U256,
    aliases::U96,
    utils::{format_ether, parse_ether},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in token units (wei of AIT). Serialised as a decimal string of units, since JSON numbers lose digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Token units as a contract gives them; what no token has that much of becomes the most that fits.
    pub fn from_units(units: U256) -> Self {
        Self(units.try_into().unwrap_or(u128::MAX))
    }

    /// The contract's form; `None` above 96 bits.
    pub fn to_u96(self) -> Option<U96> {
        (self.0 >> 96 == 0).then(|| U96::from(self.0))
    }
}

impl From<U96> for Amount {
    fn from(raw: U96) -> Self {
        Self(raw.to::<u128>())
    }
}

impl std::ops::Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |sum, amount| sum + amount)
    }
}

impl fmt::Display for Amount {
    /// In AIT, without trailing zeros: `0.0125 AIT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format_ether(U256::from(self.0));
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.pad(&format!("{} AIT", if text.is_empty() { "0" } else { text }))
    }
}

/// The text is no amount.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no amount of AIT: write a number such as 2.5 (at most 18 decimals)")]
pub struct ParseAmountError(String);

impl FromStr for Amount {
    type Err = ParseAmountError;

    /// Parses AIT: `2.5` or `2.5 AIT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim().trim_end_matches("AIT").trim();
        let fraction = number.split_once('.').map_or(0, |(_, digits)| digits.len());
        let plain = !number.is_empty() && fraction <= 18 && number.chars().all(|c| c.is_ascii_digit() || c == '.');
        plain
            .then(|| parse_ether(number).ok())
            .flatten()
            .and_then(|units| u128::try_from(units).ok())
            .map(Self)
            .ok_or_else(|| ParseAmountError(text.to_owned()))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As it is serialised: units, not AIT.
        let text = String::deserialize(deserializer)?;
        let units = text.parse().map(Self);
        units.map_err(|_| serde::de::Error::custom(format!("'{text}' is no whole number of token units")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn people_and_chain_agree() {
        for (text, units, shown) in [
            ("2.5", 2_500_000_000_000_000_000u128, "2.5 AIT"),
            ("0", 0, "0 AIT"),
            ("10 AIT", 10_000_000_000_000_000_000, "10 AIT"),
            ("0.000000000000000001", 1, "0.000000000000000001 AIT"),
        ] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!((amount.0, amount.to_string().as_str()), (units, shown));
        }
    }

    #[test]
    fn what_is_serialised_is_read_back() {
        for units in [0, 1, 50_000_000_000_000_000, 2_500_000_000_000_000_000, u128::MAX] {
            let text = serde_json::to_string(&Amount(units)).unwrap();
            assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), Amount(units), "{text}");
        }
        assert!(serde_json::from_str::<Amount>("\"0.5\"").is_err(), "an amount of AIT is no number of units");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "-1", "1e3", "1.0000000000000000001", "ten", "1.2.3"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}
