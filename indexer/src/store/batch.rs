//! The changes of one block: staged on top of the store, with what was there before.

use std::collections::BTreeMap;

use super::{
    codec::{Field, Row},
    schema::Key,
};
use crate::error::{IndexError, Result};

/// A key and its value, `None` for "absent".
pub(crate) type Entry = (Vec<u8>, Option<Vec<u8>>);

/// Reads the state beneath the staged changes.
pub(crate) type Base<'a> = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>> + 'a;

/// Changes of one block on top of a base. Reads see the changes.
pub(crate) struct Staging<'a> {
    base: &'a Base<'a>,
    touched: BTreeMap<Vec<u8>, Touched>,
}

struct Touched {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

/// What a block does to the state, and its inverse. Keys are sorted and change for certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Values after the block.
    pub(crate) writes: Vec<Entry>,
    /// Values before the block, of the same keys.
    pub(crate) undo: Vec<Entry>,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(base: &'a Base<'a>) -> Self {
        Self { base, touched: BTreeMap::new() }
    }

    /// The row at `key`.
    pub(crate) fn get<R: Row>(&self, key: &Key) -> Result<Option<R>> {
        let bytes = match self.touched.get(key.as_slice()) {
            Some(touched) => touched.after.clone(),
            None => (self.base)(key.as_slice())?,
        };
        bytes.map(|bytes| R::decode(&bytes).ok_or_else(|| IndexError::damaged(R::NAME, key.as_slice()))).transpose()
    }

    /// Whether there is anything at `key`.
    pub(crate) fn contains(&self, key: &Key) -> Result<bool> {
        Ok(match self.touched.get(key.as_slice()) {
            Some(touched) => touched.after.is_some(),
            None => (self.base)(key.as_slice())?.is_some(),
        })
    }

    /// Writes `row` at `key`.
    pub(crate) fn put<R: Row>(&mut self, key: Key, row: &R) -> Result<()> {
        self.set(key, Some(row.encode()))
    }

    /// Writes an index entry, which is a key without a value.
    pub(crate) fn mark(&mut self, key: Key) -> Result<()> {
        self.set(key, Some(Vec::new()))
    }

    /// Removes `key`.
    pub(crate) fn delete(&mut self, key: Key) -> Result<()> {
        self.set(key, None)
    }

    fn set(&mut self, key: Key, after: Option<Vec<u8>>) -> Result<()> {
        if let Some(touched) = self.touched.get_mut(key.as_slice()) {
            touched.after = after;
            return Ok(());
        }
        let before = (self.base)(key.as_slice())?;
        self.touched.insert(key.into_vec(), Touched { before, after });
        Ok(())
    }

    /// The changes; keys that ended as they began are left out.
    pub(crate) fn finish(self) -> Changes {
        let mut changes = Changes::default();
        for (key, Touched { before, after }) in self.touched {
            if before != after {
                changes.writes.push((key.clone(), after));
                changes.undo.push((key, before));
            }
        }
        changes
    }
}

/// An undo record as bytes: count, then for each key its length, bytes, and its old value if it had one.
pub(crate) fn encode_undo(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    (entries.len() as u32).put(&mut out);
    for (key, value) in entries {
        put_bytes(key, &mut out);
        value.is_some().put(&mut out);
        if let Some(value) = value {
            put_bytes(value, &mut out);
        }
    }
    out
}

/// Inverse of [`encode_undo`]; `None` when the bytes are damaged.
pub(crate) fn decode_undo(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let input = &mut bytes;
    let count = u32::take(input)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let key = take_bytes(input)?;
        let value = if bool::take(input)? { Some(take_bytes(input)?) } else { None };
        entries.push((key, value));
    }
    input.is_empty().then_some(entries)
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    (bytes.len() as u32).put(out);
    out.extend_from_slice(bytes);
}

fn take_bytes(input: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::take(input)? as usize;
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{rows::CreditRow, schema};
    use alloy::primitives::Address;
    use contracts::units::Amount;

    #[test]
    fn undo_holds_the_values_before_and_skips_what_did_not_change() {
        let key = |byte| schema::credit(Address::repeat_byte(byte));
        let row = |units| CreditRow { amount: Amount(units) };
        let old = row(1).encode();
        let kept = key(1).into_vec();
        let base = move |wanted: &[u8]| Ok((wanted == kept).then(|| old.clone()));
        let mut staging = Staging::new(&base);
        staging.put(key(1), &row(2)).unwrap();
        staging.put(key(2), &row(3)).unwrap();
        staging.put(key(3), &row(4)).unwrap();
        staging.delete(key(3)).unwrap();
        assert_eq!(staging.get::<CreditRow>(&key(1)).unwrap(), Some(row(2)));
        assert!(!staging.contains(&key(3)).unwrap());
        let changes = staging.finish();
        assert_eq!(
            changes.writes,
            [(key(1).into_vec(), Some(row(2).encode())), (key(2).into_vec(), Some(row(3).encode()))]
        );
        assert_eq!(changes.undo, [(key(1).into_vec(), Some(row(1).encode())), (key(2).into_vec(), None)]);
        assert_eq!(decode_undo(&encode_undo(&changes.undo)).unwrap(), changes.undo);
    }

    #[test]
    fn a_damaged_undo_record_is_refused() {
        let bytes = encode_undo(&[(vec![1, 2], Some(vec![3])), (vec![4], None)]);
        assert_eq!(decode_undo(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode_undo(&[bytes, vec![9]].concat()), None);
    }
}
