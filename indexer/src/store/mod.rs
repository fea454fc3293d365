//! One RocksDB: rows, secondary indexes, undo records, headers and the cursor, written one atomic batch a block.
//!
//! - `schema`: every key and value.
//! - `rows`: the rows.
//! - `codec`: rows to bytes.
//! - `batch`: the changes of a block and their inverse.
//! - `snapshot`: reading, always as of one block.
//! - `dump`: every row in one order.
//!
//! No merge operators (a counter is a row, so that it can be undone) and no prefix extractor (it changes what a seek
//! means): iterators are bounded instead.

pub(crate) mod batch;
pub(crate) mod codec;
mod dump;
pub mod rows;
pub(crate) mod schema;
pub(crate) mod snapshot;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::{Address, B256};
use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use serde::Serialize;

use self::{
    batch::{Changes, decode_undo, encode_undo},
    codec::{Field, Row, row},
    schema::{CHAIN, Fact, SCHEMA_VERSION, STATE},
    snapshot::Snapshot,
};
use crate::error::{IndexError, Result};

row! {
    /// A block as the index keeps it.
    #[derive(Copy, Serialize)]
    Header v 1 {
        /// Height.
        number: u64,
        /// Hash.
        hash: B256,
        /// Hash of the block below.
        parent: B256,
        /// Unix seconds.
        timestamp_s: u64,
    }
}

/// Writes of one family that are gathered in memory before they become a file, bytes.
const GATHERED_BYTES: usize = 8 << 20;
/// Blocks of files kept in memory, bytes; the system's page cache has the rest.
const CACHED_BYTES: usize = 32 << 20;
/// Deleted entries that one step of an iterator may pass over in memory before what is gathered becomes a file. Bids and
/// rentals come and go at the same place of their index, at which every look at the market begins.
const PASSED_OVER: &str = "1000";
/// A file with so many deletions among so many entries in a row is compacted soon, which removes both.
const DELETIONS_AMONG: (usize, usize) = (512, 1_024);
/// Times that a folder in use is tried before giving up.
const OPEN_TRIES: u64 = 10;

/// The market that an index mirrors; a folder holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) chain_id: u64,
    pub(crate) market: Address,
    pub(crate) factory: Address,
    pub(crate) start_block: u64,
}

/// Whether a block could still be reorganised away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Below the horizon: neither header nor undo record are kept.
    Final,
    /// Inside the horizon. `synced` waits for the disk, and with it for everything written before.
    Undoable { synced: bool },
}

/// The database of one index.
pub(crate) struct Store {
    db: DB,
    path: PathBuf,
    start_block: u64,
    horizon: u64,
}

impl Store {
    /// Opens or creates the folder, as its only writer.
    pub(crate) fn open(path: &Path, identity: &Identity, horizon: u64) -> Result<Self> {
        let options = options();
        let families = [(STATE, options.clone()), (CHAIN, options.clone())];
        let db = DB::open_cf_with_opts(&options, path, families).map_err(|error| explain_open(path, error))?;
        let store = Self { db, path: path.to_owned(), start_block: identity.start_block, horizon };
        store.db.set_options_cf(store.state(), &[("memtable_op_scan_flush_trigger", PASSED_OVER)])?;
        store.check(identity, true)?;
        Ok(store)
    }

    /// Opens an existing folder to read it as it is now, beside its writer if there is one.
    pub(crate) fn open_read_only(path: &Path, identity: &Identity) -> Result<Self> {
        if !path.join("CURRENT").exists() {
            return Err(IndexError::NoIndex { path: path.to_owned() });
        }
        let mut options = options();
        // All files are opened at once, so that the writer may delete them while they are read.
        options.set_max_open_files(-1);
        let mut tries = 1;
        let db = loop {
            match DB::open_cf_for_read_only(&options, path, [STATE, CHAIN], false) {
                Ok(db) => break db,
                // The writer replaced a file between our reading of the list and of the file.
                Err(error) if tries < OPEN_TRIES && error.as_ref().contains("No such file") => tries += 1,
                Err(error) => return Err(explain_open(path, error)),
            }
            std::thread::sleep(Duration::from_millis(20 * tries));
        };
        let store = Self { db, path: path.to_owned(), start_block: identity.start_block, horizon: 0 };
        store.check(identity, false)?;
        Ok(store)
    }

    /// Compares schema and identity with what is stored; writes them into a new folder.
    fn check(&self, identity: &Identity, may_write: bool) -> Result<()> {
        let Some(schema) = self.db.get_cf(self.chain(), Fact::Schema.key())? else {
            if !may_write {
                return Err(IndexError::NoIndex { path: self.path.clone() });
            }
            let mut batch = WriteBatch::default();
            batch.put_cf(self.chain(), Fact::Schema.key(), SCHEMA_VERSION.to_be_bytes());
            batch.put_cf(self.chain(), Fact::Identity.key(), identity.encode());
            return self.write(batch, true);
        };
        let found = u32::take(&mut schema.as_slice()).unwrap_or(0);
        if found != SCHEMA_VERSION {
            return Err(IndexError::Schema { path: self.path.clone(), found, expected: SCHEMA_VERSION });
        }
        let stored = self.db.get_cf(self.chain(), Fact::Identity.key())?;
        let stored = stored
            .and_then(|bytes| Identity::decode(&bytes))
            .ok_or_else(|| IndexError::damaged("identity", Fact::Identity.key()))?;
        if stored != *identity {
            return Err(IndexError::Identity {
                path: self.path.clone(),
                found: stored.to_string(),
                expected: identity.to_string(),
            });
        }
        Ok(())
    }

    /// The newest block folded.
    pub(crate) fn cursor(&self) -> Result<Option<Header>> {
        self.read_header(Fact::Cursor.key())
    }

    /// The header at `number`, if it is inside the horizon.
    pub(crate) fn header(&self, number: u64) -> Result<Option<Header>> {
        self.read_header(&schema::header(number))
    }

    fn read_header(&self, key: &[u8]) -> Result<Option<Header>> {
        let bytes = self.db.get_cf(self.chain(), key)?;
        bytes.map(|bytes| Header::decode(&bytes).ok_or_else(|| IndexError::damaged("header", key))).transpose()
    }

    /// A value of `state`.
    pub(crate) fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get_cf(self.state(), key)?)
    }

    /// Writes one block in one batch. The caller has checked that it follows the cursor.
    pub(crate) fn commit(&self, header: &Header, changes: &Changes, depth: Depth) -> Result<()> {
        let (state, chain) = (self.state(), self.chain());
        let mut batch = WriteBatch::default();
        apply(&mut batch, state, &changes.writes);
        if depth != Depth::Final {
            // The block below is where an undo of this one ends; after a bulk range it is not there yet.
            if let Some(below) = self.cursor()? {
                batch.put_cf(chain, schema::header(below.number), below.encode());
            }
            batch.put_cf(chain, schema::header(header.number), header.encode());
            batch.put_cf(chain, schema::undo(header.number), encode_undo(&changes.undo));
            if let Some(floor) = header.number.checked_sub(self.horizon) {
                batch.delete_cf(chain, schema::undo(floor));
                if let Some(below) = floor.checked_sub(1) {
                    batch.delete_cf(chain, schema::header(below));
                }
            }
        }
        batch.put_cf(chain, Fact::Cursor.key(), header.encode());
        self.write(batch, depth == Depth::Undoable { synced: true })
    }

    /// Drops all headers and undo records: the chain has grown so far past the cursor that they lie below the horizon.
    pub(crate) fn forget_history(&self) -> Result<()> {
        let mut batch = WriteBatch::default();
        for [from, to] in [[b"h", b"i"], [b"u", b"v"]] {
            batch.delete_range_cf(self.chain(), from, to);
        }
        self.write(batch, false)
    }

    /// Undoes every block above `ancestor` in one batch (`None`: every block), newest first.
    pub(crate) fn undo_to(&self, ancestor: Option<u64>) -> Result<()> {
        let Some(cursor) = self.cursor()? else { return Ok(()) };
        let chain = self.chain();
        let lowest = ancestor.map_or(self.start_block, |ancestor| ancestor + 1);
        let mut batch = WriteBatch::default();
        for number in (lowest..=cursor.number).rev() {
            let key = schema::undo(number);
            let record = self.db.get_cf(chain, key)?.ok_or_else(|| self.too_deep(number))?;
            let entries = decode_undo(&record).ok_or_else(|| IndexError::damaged("undo record", &key))?;
            apply(&mut batch, self.state(), &entries);
            batch.delete_cf(chain, key);
            batch.delete_cf(chain, schema::header(number));
        }
        match ancestor {
            Some(ancestor) => {
                let header = self.header(ancestor)?.ok_or_else(|| self.too_deep(ancestor))?;
                batch.put_cf(chain, Fact::Cursor.key(), header.encode());
            }
            None => batch.delete_cf(chain, Fact::Cursor.key()),
        }
        self.write(batch, true)
    }

    /// The error for a reorganisation that reaches `block`.
    pub(crate) fn too_deep(&self, block: u64) -> IndexError {
        IndexError::ReorgTooDeep { block, horizon: self.horizon, path: self.path.clone() }
    }

    /// The state as of now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>> {
        Snapshot::take(self)
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    pub(crate) fn state(&self) -> &ColumnFamily {
        self.family(STATE)
    }

    pub(crate) fn chain(&self) -> &ColumnFamily {
        self.family(CHAIN)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        // Both families are named when the database is opened, which fails without them.
        self.db.cf_handle(name).unwrap_or_else(|| unreachable!("family {name} was opened"))
    }

    fn write(&self, batch: WriteBatch, synced: bool) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        Ok(self.db.write_opt(batch, &options)?)
    }
}

fn apply(batch: &mut WriteBatch, family: &ColumnFamily, entries: &[batch::Entry]) {
    for (key, value) in entries {
        match value {
            Some(value) => batch.put_cf(family, key, value),
            None => batch.delete_cf(family, key),
        }
    }
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.chain_id.put(&mut out);
        self.market.put(&mut out);
        self.factory.put(&mut out);
        self.start_block.put(&mut out);
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let input = &mut bytes;
        let identity = Self {
            chain_id: u64::take(input)?,
            market: Address::take(input)?,
            factory: Address::take(input)?,
            start_block: u64::take(input)?,
        };
        input.is_empty().then_some(identity)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { chain_id, market, factory, start_block } = self;
        write!(f, "chain {chain_id}, market {market}, factory {factory}, start block {start_block}")
    }
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    table.set_block_cache(&Cache::new_lru_cache(CACHED_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(GATHERED_BYTES);
    options.add_compact_on_deletion_collector_factory(DELETIONS_AMONG.1, DELETIONS_AMONG.0, 0.0);
    options.set_max_open_files(512);
    options.set_max_total_wal_size(64 << 20);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options
}

fn explain_open(path: &Path, error: rocksdb::Error) -> IndexError {
    if error.as_ref().contains("lock") { IndexError::Locked { path: path.to_owned() } } else { error.into() }
}

#[cfg(test)]
mod tests;
