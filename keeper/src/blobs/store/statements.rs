//! What a provider has stated of each rental while its worker runs: the newest few, in order.

use contracts::ids::AgreementId;

use super::{ResultDocument, Store, StoreError, blocking, record};
use crate::spec::Statement;

/// Statements kept of a rental. The oldest go first.
const MAX_STATEMENTS: usize = 32;

impl Store {
    /// Statements about a rental, oldest first: at most 32.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn statements(&self, rental: AgreementId) -> Result<Vec<Statement>, StoreError> {
        let path = self.paths().statements(rental);
        blocking(move || Ok(record::read(&path)?.unwrap_or_default())).await
    }

    /// Position of the next receipt of a rental.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn next_sequence(&self, rental: AgreementId) -> Result<u64, StoreError> {
        let store = self.clone();
        blocking(move || {
            let stated: Vec<Statement> = record::read(&store.paths().statements(rental))?.unwrap_or_default();
            let document: ResultDocument = record::read(&store.paths().result(rental))?.unwrap_or_default();
            let stated = stated.last().map(|stated| stated.receipt.sequence);
            let last = stated.max(document.receipts().last().map(|receipt| receipt.sequence));
            Ok(last.map_or(0, |last| last.saturating_add(1)))
        })
        .await
    }

    /// Keeps a statement at the next position. It is on disk before anybody is told, so that no position is used twice.
    ///
    /// # Errors
    /// [`StoreError::NotReferenced`] for a rental that is not known, [`StoreError::Sequence`] at any other position.
    pub async fn keep_statement(&self, statement: Statement) -> Result<(), StoreError> {
        let (rental, sequence) = (statement.receipt.rental, statement.receipt.sequence);
        let spec_hash = statement.receipt.spec_hash;
        let _writing = self.0.writing.lock().await;
        if self.spec_hash(rental) != Some(spec_hash) {
            return Err(StoreError::NotReferenced { rental, hash: spec_hash });
        }
        let mut statements = self.statements(rental).await?;
        let next = self.next_sequence(rental).await?;
        if sequence != next {
            return Err(StoreError::Sequence { rental, next, sequence });
        }
        statements.push(statement);
        statements.drain(..statements.len().saturating_sub(MAX_STATEMENTS));
        let store = self.clone();
        blocking(move || store.paths().write(&store.paths().statements(rental), &statements)).await
    }
}
