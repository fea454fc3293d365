//! Opening: what is wrong is named, with the remedy.

use alloy::primitives::Address;
use indexer::{Index, IndexConfig, IndexError};

use crate::chain::World;

async fn refused(config: IndexConfig) -> (IndexError, String) {
    let error = Index::open(config).await.map(drop).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_by_name() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let good = world.config(folder.path());

    let (error, text) = refused(IndexConfig { chain_id: 1, ..good.clone() }).await;
    assert!(matches!(error, IndexError::WrongChain { expected: 1, actual: 31_337, .. }), "{text}");
    assert!(text.contains(&world.anvil.url) && text.contains("chain_id"), "{text}");

    let nowhere = Address::repeat_byte(0xab);
    let (error, text) = refused(IndexConfig { market: nowhere, ..good.clone() }).await;
    assert!(matches!(error, IndexError::NoCode { what: "market", .. }), "{text}");
    assert!(text.contains(&nowhere.to_string()), "{text}");
    let (error, text) = refused(IndexConfig { factory: nowhere, ..good.clone() }).await;
    assert!(matches!(error, IndexError::NoCode { what: "factory", .. }), "{text}");

    // Nothing listens on the discard port.
    let dead = vec!["http://127.0.0.1:9/secret-key".to_owned()];
    let (error, text) = refused(IndexConfig { rpc_urls: dead, ..good.clone() }).await;
    assert!(matches!(error, IndexError::Unreachable { .. }), "{text}");
    assert!(text.contains("http://127.0.0.1:9") && !text.contains("secret-key"), "{text}");

    for (url, why) in [("ftp://x", "ftp"), ("no url", "no url")] {
        let (error, text) = refused(IndexConfig { rpc_urls: vec![url.into()], ..good.clone() }).await;
        assert!(matches!(error, IndexError::BadEndpoint { .. }) && text.contains(why), "{text}");
    }
    assert!(!good.data_dir.exists(), "a refused configuration leaves nothing behind");

    let index = Index::open(good.clone()).await.unwrap();
    let (error, text) = refused(good.clone()).await;
    assert!(matches!(error, IndexError::Locked { .. }), "{text}");
    drop(index);
    let (error, text) = refused(IndexConfig { start_block: good.start_block + 1, ..good }).await;
    assert!(matches!(error, IndexError::Identity { .. }) && text.contains("start block"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_block_after_the_deployment_is_told_apart() {
    let world = World::new().await;
    world.rent(100).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = world.config(folder.path());
    // After the deployment and everybody's arrival, before the rental.
    config.start_block = world.head().await.0 - 8;
    let index = Index::open(config).await.unwrap();
    let error = crate::chain::Running::start(&index).failed().await;
    assert!(matches!(error, IndexError::Inconsistent { .. }), "{error}");
    assert!(error.to_string().contains("lower it"), "{error}");
}
