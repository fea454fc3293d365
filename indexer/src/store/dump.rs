//! Every row of an index in one order, as text: two indexes of one chain at one block give the same bytes.

use std::io;

use super::snapshot::Snapshot;
use crate::error::Result;

impl Snapshot<'_> {
    /// Writes the head, then a line for every row: table's letter, key and value in hex. The outer error is the
    /// index's, the inner one the writer's.
    ///
    /// # Errors
    /// When the database fails.
    pub fn dump(&self, out: &mut impl io::Write) -> Result<io::Result<()>> {
        let mut written = match self.header() {
            Some(head) => writeln!(out, "# block {} {}", head.number, head.hash),
            None => writeln!(out, "# empty"),
        };
        self.each_row(|key, value| {
            let (letter, rest) = key.split_first().map_or((0, key), |(letter, rest)| (*letter, rest));
            written = writeln!(out, "{} {} {}", letter as char, hex::encode(rest), hex::encode(value));
            written.is_ok()
        })?;
        Ok(written.and_then(|()| out.flush()))
    }
}
