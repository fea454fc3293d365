//! How fast nodes are. `s/own` → this provider's own published [`Scored`]; `s/of/<provider, 20 bytes>` → what an agent knows of
//! one, [`Known`]. Neither is worth a keeper's death in a test: what is lost is measured, asked or seen again.

use alloy::primitives::Address;
use rocksdb::WriteBatch;

use super::{Journal, JournalError, put, synced};
use crate::{benchmark::Scored, speeds::Known};

const OWN: &[u8] = b"s/own";
const OF: &[u8] = b"s/of/";

impl Journal {
    /// The score that this provider published last.
    ///
    /// # Errors
    /// When the database fails.
    pub fn own_score(&self) -> Result<Option<Scored>, JournalError> {
        self.read(OWN)
    }

    /// Keeps a provider's own score.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_score(&self, scored: &Scored) -> Result<(), JournalError> {
        let mut batch = WriteBatch::default();
        put(&mut batch, OWN, scored)?;
        Ok(self.db.write_opt(batch, &synced())?)
    }

    /// What is known of each provider's speed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn speeds(&self) -> Result<Vec<(Address, Known)>, JournalError> {
        Ok(self.scan(OF)?.into_iter().map(|(key, known)| (Address::from_slice(&key[OF.len()..]), known)).collect())
    }

    /// Keeps what is known of `provider` and drops what is of `forgotten`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_speed(&self, provider: Address, known: &Known, forgotten: Option<Address>) -> Result<(), JournalError> {
        let mut batch = WriteBatch::default();
        put(&mut batch, &key(provider), known)?;
        if let Some(forgotten) = forgotten {
            batch.delete(key(forgotten));
        }
        Ok(self.db.write_opt(batch, &synced())?)
    }
}

fn key(provider: Address) -> Vec<u8> {
    [OF, provider.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_known_of_providers_survives_and_is_dropped_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let known = |asked_s| Known { asked_s, ..Default::default() };
        let (first, second) = (Address::repeat_byte(1), Address::repeat_byte(0xff));
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!((journal.own_score().unwrap(), journal.speeds().unwrap()), (None, vec![]));
        journal.keep_speed(first, &known(1), None).unwrap();
        journal.keep_speed(second, &known(2), None).unwrap();
        drop(journal);
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.speeds().unwrap(), [(first, known(1)), (second, known(2))]);
        journal.keep_speed(second, &known(3), Some(first)).unwrap();
        assert_eq!(journal.speeds().unwrap(), [(second, known(3))]);
    }
}
