//! The simulation before sending: as the chain is now, warm when nothing changed, with named errors.

use alloy::{primitives::U256, providers::Provider, sol_types::SolCall};
use contracts::bindings::IERC20;
use keeper::preflight::{ContractCall, PreflightError};
use serde_json::json;

use crate::support::{AIT, World, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_follows_the_chain_and_reads_what_it_knows_once() {
    let world = World::new().await;
    let preflight = world.relay().preflight;
    let (from, to) = (world.relayer.address(), world.session.wallet);
    let transfer = ContractCall {
        from,
        to: world.market.token,
        data: IERC20::transferCall { to, value: U256::from(AIT) }.abi_encode().into(),
    };
    let refused = preflight.check(transfer.clone()).await.unwrap_err();
    let PreflightError::Reverted(text) = &refused else { panic!("{refused}") };
    assert!(
        text.contains("ERC20InsufficientBalance") && text.contains(&from.to_string().to_lowercase()[2..]),
        "{text}"
    );

    // The same again reads nothing but the newest block.
    let reads = |world: &World| world.proxy.calls("eth_getStorageAt") + world.proxy.calls("eth_getBalance");
    let before = reads(&world);
    preflight.check(transfer.clone()).await.unwrap_err();
    assert_eq!(reads(&world), before);

    // A new block with the money: the state is that block's.
    let admin = world.rpc.get_accounts().await.unwrap()[0];
    world.raw("evm_setAutomine", json!([true])).await;
    call(&world.rpc, admin, world.market.token, IERC20::mintCall { to: from, value: U256::from(AIT) }).await;
    let ready = preflight.check(transfer.clone()).await.unwrap();
    assert!(ready.gas_limit() > 21_000 && ready.call() == &transfer);

    // And another: what was read before is read again, in one request.
    let before = reads(&world);
    world.mine(1).await;
    preflight.check(transfer.clone()).await.unwrap();
    assert_eq!(reads(&world), before, "single reads although all was known");

    // A reorganisation takes the money back.
    world.raw("anvil_reorg", json!([2, []])).await;
    preflight.check(transfer.clone()).await.unwrap_err();

    // Calls of one run see each other; one that fails changes nothing.
    call(&world.rpc, admin, world.market.token, IERC20::mintCall { to: from, value: U256::from(AIT) }).await;
    let answers = preflight.run(vec![transfer.clone(), transfer.clone()]).await.unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err(), "{answers:?}");
}
