//! Ids: an agreement's id is its position in the market.
//!
//! `class 8 | book bits 8 | tick 8 | sequence 64`, most significant first; book bits are `bucket << 1 | preemptible`.

use std::{fmt, str::FromStr};

use alloy::primitives::{Uint, aliases::U96};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest rental of each duration bucket, seconds.
pub const BUCKET_MAX_S: [u32; 4] = [600, 3_600, 21_600, 86_400];

/// Number of books of one class.
pub const BOOKS_PER_CLASS: u8 = 8;

/// One queue of bids: hardware class, duration bucket, pre-emptible or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookId {
    /// Hardware class, 1..=31.
    pub class: u8,
    /// Duration bucket, 0..=3.
    pub bucket: u8,
    /// Whether its rentals give way.
    pub preemptible: bool,
}

impl BookId {
    /// The book that a bid of `max_duration_s` seconds joins; `None` for zero or more than a day.
    pub fn for_duration(class: u8, max_duration_s: u32, preemptible: bool) -> Option<Self> {
        if max_duration_s == 0 {
            return None;
        }
        let bucket = BUCKET_MAX_S.iter().position(|max_s| max_duration_s <= *max_s)?;
        Some(Self { class, bucket: bucket as u8, preemptible })
    }

    /// The contract's 16-bit form.
    pub fn to_u16(self) -> u16 {
        u16::from(self.class) << 8 | u16::from(self.bits())
    }

    /// From the contract's 16-bit form; `None` when the low byte names no book.
    pub fn from_u16(raw: u16) -> Option<Self> {
        let bits = (raw & 0xff) as u8;
        (bits < BOOKS_PER_CLASS).then_some(Self {
            class: (raw >> 8) as u8,
            bucket: bits >> 1,
            preemptible: bits & 1 == 1,
        })
    }

    /// `bucket << 1 | preemptible`: its bit position in an offer's book mask.
    pub fn bits(self) -> u8 {
        self.bucket << 1 | u8::from(self.preemptible)
    }
}

impl fmt::Display for BookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = ["10m", "1h", "6h", "24h"][usize::from(self.bucket & 3)];
        let kind = if self.preemptible { "preemptible" } else { "firm" };
        write!(f, "{}/{bucket}/{kind}", self.class)
    }
}

/// Id of a bid and of the rental it becomes. Shown and parsed as `0x` and 22 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AgreementId(u128);

impl AgreementId {
    /// From its parts.
    pub fn new(book: BookId, tick: u8, sequence: u64) -> Self {
        Self(u128::from(book.to_u16()) << 72 | u128::from(tick) << 64 | u128::from(sequence))
    }

    /// From a raw value of at most 88 bits.
    pub fn from_u128(raw: u128) -> Option<Self> {
        (raw >> 88 == 0).then_some(Self(raw))
    }

    /// The raw value.
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The contract's form.
    pub fn to_u96(self) -> U96 {
        Uint::from(self.0)
    }

    /// Zero stands for "none" in the contract.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Hardware class.
    pub fn class(self) -> u8 {
        (self.0 >> 80) as u8
    }

    /// The book it was placed in; `None` for an id that no contract would give.
    pub fn book(self) -> Option<BookId> {
        BookId::from_u16((self.0 >> 72) as u16)
    }

    /// Price tick.
    pub fn tick(self) -> u8 {
        (self.0 >> 64) as u8
    }

    /// Position in the tick's queue, from 0.
    pub fn sequence(self) -> u64 {
        self.0 as u64
    }

    /// Big-endian, 11 bytes: sorts as the market does within a book (tick, then age).
    pub fn to_be_bytes(self) -> [u8; 11] {
        let mut bytes = [0; 11];
        bytes.copy_from_slice(&self.0.to_be_bytes()[5..]);
        bytes
    }

    /// Inverse of [`Self::to_be_bytes`].
    pub fn from_be_bytes(bytes: [u8; 11]) -> Self {
        let mut wide = [0; 16];
        wide[5..].copy_from_slice(&bytes);
        Self(u128::from_be_bytes(wide))
    }
}

impl From<U96> for AgreementId {
    fn from(raw: U96) -> Self {
        Self(raw.to::<u128>())
    }
}

impl From<AgreementId> for U96 {
    fn from(id: AgreementId) -> Self {
        id.to_u96()
    }
}

impl fmt::Display for AgreementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:022x}", self.0)
    }
}

impl fmt::Debug for AgreementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no agreement id.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no rental id: expected 0x and at most 22 hex digits, as `keeper journal` and the API show them")]
pub struct ParseIdError(String);

impl FromStr for AgreementId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("0x")
            .filter(|digits| !digits.is_empty())
            .and_then(|digits| u128::from_str_radix(digits, 16).ok())
            .and_then(Self::from_u128)
            .ok_or_else(|| ParseIdError(text.to_owned()))
    }
}

impl Serialize for AgreementId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgreementId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_survive_a_round_trip() {
        let book = BookId::for_duration(5, 601, true).unwrap();
        let id = AgreementId::new(book, 200, 7);
        assert_eq!((id.class(), id.book(), id.tick(), id.sequence()), (5, Some(book), 200, 7));
        assert_eq!(id.to_string().parse::<AgreementId>().unwrap(), id);
        assert_eq!(AgreementId::from_be_bytes(id.to_be_bytes()), id);
        assert_eq!(AgreementId::from(id.to_u96()), id);
    }

    #[test]
    fn buckets_are_inclusive_at_their_end() {
        for (seconds, bucket) in [(1, 0), (600, 0), (601, 1), (3_600, 1), (21_600, 2), (86_400, 3)] {
            assert_eq!(BookId::for_duration(1, seconds, false).unwrap().bucket, bucket, "{seconds} s");
        }
        assert_eq!(BookId::for_duration(1, 0, false), None);
        assert_eq!(BookId::for_duration(1, 86_401, false), None);
    }

    #[test]
    fn text_that_is_no_id_is_named() {
        for text in ["", "0x", "12", "0xzz", "0x1ffffffffffffffffffffffff"] {
            assert!(text.parse::<AgreementId>().unwrap_err().to_string().contains(text));
        }
    }
}
