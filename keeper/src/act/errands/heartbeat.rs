//! Signs of life while a worker runs: receipts without a result, for the agent to fetch.

use std::time::Duration;

use alloy::signers::local::PrivateKeySigner;
use indexer::rows::AgreementRow;
use tracing::warn;

use super::{ErrandError, Workshop, retry};
use crate::{
    blobs::Store,
    clock::now_s,
    spec::{Receipt, Statement},
};

/// Between two of them.
const BEAT: Duration = Duration::from_secs(10);

impl Workshop {
    /// Does `work`, and states every 10 s that it goes on.
    pub(super) async fn beating<T>(&self, row: &AgreementRow, task_id: &str, work: impl Future<Output = T>) -> T {
        let pulse = Pulse { store: &self.store, key: &self.key, every: BEAT };
        pulse.during(row, task_id, work).await
    }
}

struct Pulse<'a> {
    store: &'a Store,
    key: &'a PrivateKeySigner,
    every: Duration,
}

impl Pulse<'_> {
    /// Does `work` to its end. That a statement cannot be made ends no work.
    async fn during<T>(&self, row: &AgreementRow, task_id: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(self.every, work.as_mut()).await {
                return done;
            }
            if let Err(error) = self.beat(row, task_id).await {
                warn!(rental = %row.id, %error, "no sign of life was given; the work goes on");
            }
        }
    }

    async fn beat(&self, row: &AgreementRow, task_id: &str) -> Result<(), ErrandError> {
        let since_s = row.started.as_ref().map_or(0, |started| now_s().saturating_sub(started.time_s));
        let sequence = self.store.next_sequence(row.id).await.map_err(retry)?;
        let receipt = Receipt::heartbeat(row.id, task_id.to_owned(), row.spec_hash, since_s, sequence);
        let statement = Statement::sign(receipt, self.key).map_err(retry)?;
        self.store.keep_statement(statement).await.map_err(retry)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::primitives::{Address, B256};
    use indexer::rows::Status;

    use super::*;
    use crate::{
        blobs::StoreLimits,
        roles::fixtures::row,
        spec::{InputRef, RentalSpec, TaskSpec, TaskType, sha256},
    };

    #[tokio::test]
    async fn work_that_goes_on_is_stated_in_order_and_never_held_up() {
        let folder = tempfile::tempdir().unwrap();
        let mib = 1 << 20;
        let limits =
            StoreLimits { total_bytes: mib, rental_bytes: mib, agent_bytes: mib, agent_rentals: 1, grace_s: 60 };
        let store = Store::open(folder.path(), limits).await.unwrap();
        let key = PrivateKeySigner::random();
        let task = TaskSpec {
            task_id: "t0".into(),
            task_type: TaskType::TextProcessing,
            inputs: vec![InputRef { name: "a".into(), sha256: B256::ZERO, bytes: 1 }],
            parameters: Default::default(),
        };
        let spec = RentalSpec { version: 1, salt: B256::ZERO, tasks: vec![task], keep_warm_s: 0 }.to_bytes();
        let mut row = row(Status::Running);
        row.spec_hash = sha256(&spec);
        let pulse = Pulse { store: &store, key: &key, every: Duration::from_millis(10) };
        // Nothing was delivered, so nothing can be stated: the work is done all the same.
        pulse.during(&row, "t0", tokio::time::sleep(Duration::from_millis(50))).await;
        assert_eq!(store.statements(row.id).await.unwrap(), []);

        store.accept_spec(row.id, Address::ZERO, row.spec_hash, &spec).await.unwrap();
        let until_three = async {
            while store.next_sequence(row.id).await.unwrap() < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        pulse.during(&row, "t0", until_three).await;
        // After a restart the worker goes on, and so does the count.
        let until_five = async {
            while store.next_sequence(row.id).await.unwrap() < 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        pulse.during(&row, "t0", until_five).await;
        let stated = store.statements(row.id).await.unwrap();
        assert!(stated.iter().map(|it| it.receipt.sequence).eq(0..stated.len() as u64) && stated.len() >= 5);
        assert!(stated.iter().all(|it| it.signer() == Some(key.address()) && it.receipt.is_heartbeat()));
        assert!(stated.is_sorted_by_key(|it| it.receipt.seconds));
    }
}
