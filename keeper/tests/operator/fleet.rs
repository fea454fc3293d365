//! A fleet: three nodes with a key each sell for one provider, whose own key no node has.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use alloy::{
    network::TransactionResponse as _,
    primitives::{Address, address},
    providers::Provider,
    rpc::types::Filter,
    sol_types::{SolEvent, SolEventInterface},
};
use contracts::{
    bindings::{
        IAIPowerRental as Market, IAIPowerRental::IAIPowerRentalEvents as MarketEvent, IAgentWallet, IERC20, Status,
    },
    classes::HardwareClass,
    ids::AgreementId,
};
use keeper::{
    act::containers::{Engine, EngineConfig},
    job::Priority,
    socket::{self, Question, RentRequest, Reply, Request, TaskRequest},
    spec::TaskType,
};
use serde_json::Value;

use crate::{
    actors::{Actor, READY_WITHIN},
    stage::Stage,
    support::{chain_config, does, free_port, live, password_place, person, refuses, stage, until},
};

const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// More than two nodes can hold at a time, and then some.
const JOBS: usize = 9;
/// Slashed bonds end here.
const BURNED: Address = address!("000000000000000000000000000000000000dEaD");

/// A node as its operator sets it up.
struct Node {
    name: &'static str,
    operator: Address,
    offer: u64,
    endpoint: String,
}

/// What the owner signs with.
fn by_owner<'a>(command: &[&'a str], chain: &'a str, key: &'a str, place: &'a str) -> Vec<&'a str> {
    [command, &["--config", chain, "--key", key, "--password", place]].concat()
}

/// A node's configuration: that of the stage's own provider, for an operator's key and an offer.
fn write_config(stage: &Stage, node: &Node, owner: Address) {
    let text = std::fs::read_to_string(stage.config("provider-cpu")).unwrap();
    let mut lines: Vec<_> = text.replace("provider-cpu", node.name).lines().map(str::to_owned).collect();
    for line in &mut lines {
        if line.starts_with("reserve_per_hour") {
            *line = format!("owner = \"{owner}\"\noffers = [{}]", node.offer);
        } else if line.starts_with("listen") {
            *line = format!("listen = \"{}\"", node.endpoint.trim_start_matches("http://"));
        }
    }
    std::fs::write(stage.config(node.name), lines.join("\n")).unwrap();
}

/// Registers the provider, posts an offer for each node and allows its key, all by the owner's commands.
async fn set_up(stage: &Stage) -> (Address, Vec<Node>) {
    let (owner, key) = person(stage, "owner", "1").await;
    let (chain, place) = (chain_config(stage), password_place());
    let post = ["offer", "post", "--class", "cpu_only", "--slots", "2", "--reserve-per-hour", "0.005"];
    refuses(&by_owner(&post, &chain, &key, &place), &["is no provider yet", "keeper provider register"]);
    let endpoints: Vec<_> = NODES.iter().map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
    let mut register = vec!["provider", "register"];
    register.extend(endpoints.iter().flat_map(|endpoint| ["--endpoint", endpoint.as_str()]));
    does(&by_owner(&register, &chain, &key, &place), &[&endpoints.join(" ")]);
    let mut nodes = Vec::new();
    for (name, endpoint) in NODES.into_iter().zip(endpoints) {
        let (operator, _) = person(stage, name, "0").await;
        let said = does(&by_owner(&post, &chain, &key, &place), &["2 slots of cpu_only", "one node names it"]);
        let number = said.lines().find_map(|line| line.strip_prefix("offer ")?.split(':').next()?.parse().ok());
        let node = Node { name, operator, offer: number.expect("the offer's number"), endpoint };
        write_config(stage, &node, owner);
        let config = stage.config(name).display().to_string();
        let is_first = nodes.is_empty();
        if is_first {
            refuses(
                &["config", "check", &config],
                &["is no operator of", &format!("keeper operator allow {operator}")],
            );
        }
        let operator = operator.to_string();
        let allow = by_owner(&["operator", "allow", &operator], &chain, &key, &place);
        does(&allow, &["may act for provider"]);
        if is_first {
            does(&allow, &["already"]);
            does(&["config", "check", &config], &["may act for", &format!("offer {} with 2 slots", node.offer)]);
        }
        nodes.push(node);
    }
    let shown = nodes.iter().map(|node| node.operator.to_string()).collect::<Vec<_>>();
    let shown: Vec<_> = shown.iter().map(String::as_str).collect();
    does(&["operator", "list", &owner.to_string(), "--config", &chain], &shown);
    (owner, nodes)
}

async fn hand_in(agent: &Actor, number: usize, folder: &std::path::Path) {
    let input = folder.join(format!("notes-{number}.md"));
    std::fs::write(&input, format!("# Notes {number}\n\nWords to work on. More words, number {number}.\n")).unwrap();
    let request = RentRequest {
        tasks: vec![TaskRequest {
            task_type: TaskType::TextProcessing,
            inputs: vec![input],
            parameters: Default::default(),
        }],
        keep_warm_s: 0,
        class: Some(HardwareClass::CpuOnly),
        max_price_per_hour: None,
        priority: Priority::Normal,
        max_duration_s: 60,
        out_dir: folder.join("results"),
    };
    let reply = socket::ask(&agent.data_dir, &Request::Rent(request), |_| ControlFlow::Break(())).await.unwrap();
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
}

/// Every event of the market with its sender, oldest first.
async fn events(stage: &Stage) -> Vec<(MarketEvent, Address)> {
    let filter = Filter::new().address(stage.deployment.market).from_block(stage.deployment.start_block);
    let mut events = Vec::new();
    for log in stage.chain.get_logs(&filter).await.unwrap() {
        // The owner's own, of the administration, are none of the market's interface.
        let Ok(event) = MarketEvent::decode_log(&log.inner) else { continue };
        let sent = stage.chain.get_transaction_by_hash(log.transaction_hash.unwrap()).await.unwrap().unwrap();
        events.push((event.data, sent.from()));
    }
    events
}

/// Waits until all jobs are over and their rentals settled.
async fn all_settled(stage: &Stage, agent: &Actor) {
    let market = Market::new(stage.deployment.market, &stage.chain);
    until("the jobs' end", async || {
        let status = agent.document(Request::Status).await.ok()?;
        let jobs = status["jobs"].as_array()?.clone();
        jobs.iter().all(|job| job["outcome"]["state"] != "active").then_some(())
    })
    .await;
    let placed = Filter::new()
        .address(stage.deployment.market)
        .event_signature(Market::BidPlaced::SIGNATURE_HASH)
        .from_block(stage.deployment.start_block);
    until("settlement", async || {
        for log in stage.chain.get_logs(&placed).await.ok()? {
            let bid = Market::BidPlaced::decode_log(&log.inner).ok()?;
            let status = market.agreement(bid.agreementId).call().await.ok()?.status;
            if status != Status::Settled {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Keys of a node's journal that begin with `prefix`, and their records.
async fn records(node: &Actor, prefix: &str) -> BTreeMap<String, Value> {
    let journal = node.document(Request::Journal { limit: 10_000 }).await.unwrap();
    let records = journal.as_array().unwrap().iter();
    records
        .filter_map(|record| Some((record["key"].as_str()?.strip_prefix(prefix)?.to_owned(), record.clone())))
        .collect()
}

async fn containers(stage: &Stage, name: &str) -> usize {
    let data_dir = stage.data_dir(name);
    let owner = std::fs::read_to_string(data_dir.join("node-id")).unwrap().trim().to_owned();
    let config = match std::env::var("OPENCLAW_TEST_DOCKER") {
        Ok(socket) => EngineConfig::Docker { socket: Some(socket), owner },
        Err(_) => EngineConfig::Process { worker: "/bin/true".into(), state_dir: data_dir.join("processes"), owner },
    };
    let engine = Engine::connect(&config).await.unwrap();
    engine.list(stage.deployment.chain_id).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "how long the run took")]
async fn three_nodes_race_for_one_providers_queue_and_none_works_twice() {
    let since = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let (owner, nodes) = set_up(&stage).await;

    // The queue first, so that all three want its head at once.
    let agent = Actor::start(&stage, "agent").await.unwrap();
    for number in 0..JOBS {
        hand_in(&agent, number, dir.path()).await;
    }
    until("the queue", async || {
        let open = live(&agent).await.iter().filter(|bid| bid["status"] == "open").count();
        (open == JOBS).then_some(())
    })
    .await;
    let queued = since.elapsed();
    let mut actors = Vec::new();
    let starts = nodes.iter().map(|node| Actor::start(&stage, node.name));
    for actor in futures_util::future::join_all(starts).await {
        actors.push(actor.unwrap());
    }

    // One dies with work on its hands, and comes back.
    until("work for the second node", async || (!live(&actors[1]).await.is_empty()).then_some(())).await;
    actors[1].crash().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    actors[1].come_back(None).unwrap();
    actors[1].ready(READY_WITHIN).await.unwrap();
    all_settled(&stage, &agent).await;
    let settled = since.elapsed();

    // Every job has one accepted result, by the rental that was matched for it.
    let status = agent.document(Request::Status).await.unwrap();
    let jobs = status["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), JOBS);
    let finished: BTreeSet<AgreementId> = jobs
        .iter()
        .map(|job| {
            assert_eq!(job["outcome"]["state"], "finished", "{job:#}");
            job["outcome"]["rental"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(finished.len(), JOBS);
    let by_offer: BTreeMap<u64, &Node> = nodes.iter().map(|node| (node.offer, node)).collect();
    let mut node_of = BTreeMap::new();
    let (mut pay, mut fees) = (0, 0);
    let mut escrow: BTreeMap<AgreementId, u128> = BTreeMap::new();
    for (event, sender) in events(&stage).await {
        match event {
            MarketEvent::BidPlaced(bid) => {
                escrow.insert(bid.agreementId.into(), bid.escrow.to());
            }
            MarketEvent::AgreementCreated(made) => {
                let node = by_offer[&made.offerId];
                assert_eq!((made.provider, sender), (owner, node.operator), "each node matches for its own offer");
                let before = node_of.insert(AgreementId::from(made.agreementId), node.name);
                assert_eq!(before, None, "a bid is matched once");
            }
            MarketEvent::AgreementStarted(started) => {
                let name = node_of[&AgreementId::from(started.agreementId)];
                assert!(nodes.iter().any(|node| node.name == name && node.operator == sender), "{name}");
            }
            MarketEvent::PaymentProcessed(paid) => {
                let out = [paid.pay, paid.fee, paid.refund, paid.penalty].map(|part| part.to::<u128>());
                let held = escrow.remove(&AgreementId::from(paid.agreementId)).unwrap();
                assert_eq!(held, out.iter().sum::<u128>(), "escrow in = out");
                assert!(paid.slash.is_zero() && paid.provider == owner && out[0] > 0);
                (pay, fees) = (pay + out[0], fees + out[1]);
            }
            _ => {}
        }
    }
    assert!(escrow.is_empty(), "{escrow:?}");
    assert_eq!(node_of.keys().copied().collect::<BTreeSet<_>>(), finished, "no bid was placed twice");
    assert_eq!(node_of.values().copied().collect::<BTreeSet<_>>(), BTreeSet::from(NODES), "all nodes worked");

    // No rental was worked by two nodes, and nobody was stopped by a race that it lost.
    let mut overtaken = 0;
    for (node, actor) in nodes.iter().zip(&actors) {
        for (rental, record) in records(actor, "work/").await {
            assert_eq!(node_of[&rental.parse::<AgreementId>().unwrap()], node.name);
            assert_eq!(record["state"]["state"], "done", "{record:#}");
        }
        for (_, record) in records(actor, "match/").await {
            let error = record["state"]["error"].as_str().unwrap_or_default().to_owned();
            assert!(!error.contains("circuit breaker") && !error.contains("reverted"), "{record:#}");
            overtaken += usize::from(error.contains("not at the head"));
        }
        until("an engine without containers", async || (containers(&stage, node.name).await == 0).then_some(())).await;
        does(&["status", "--data-dir", &actor.data_dir.display().to_string()], &["nothing is stuck"]);
    }

    // All pay is the one provider's, to the last unit, and the market holds what it owes.
    let market = Market::new(stage.deployment.market, &stage.chain);
    let credit = async |of: Address| market.creditOf(of).call().await.unwrap().to::<u128>();
    assert_eq!(credit(owner).await, pay);
    let treasury = market.config().call().await.unwrap().treasury;
    assert_eq!(credit(treasury).await, fees);
    for node in &nodes {
        assert_eq!(credit(node.operator).await, 0);
    }
    let mut owed = pay + fees + credit(BURNED).await;
    owed += market.keyAccount(stage.session).call().await.unwrap().credit.to::<u128>();
    for node in &nodes {
        let offer = market.offer(node.offer).call().await.unwrap();
        assert_eq!((offer.slots, offer.used), (2, 0));
        owed += offer.bondPerSlot.to::<u128>() * 2;
    }
    let held = IERC20::new(stage.deployment.token, &stage.chain).balanceOf(stage.deployment.market).call().await;
    assert_eq!(held.unwrap().to::<u128>(), owed);
    let wallet = IAgentWallet::new(stage.wallet, &stage.chain);
    let collected = wallet.collect(stage.session).send().await.unwrap().get_receipt().await.unwrap();
    assert!(collected.status());
    assert!(wallet.reserved().call().await.unwrap().is_zero());

    // What the operator sees, and what a node without its owner's word says.
    let (chain, place) = (chain_config(&stage), password_place());
    let key = dir.path().join("keys/owner.json").display().to_string();
    let operator = nodes[0].operator.to_string();
    does(&by_owner(&["provider", "withdraw"], &chain, &key, &place), &["sent to"]);
    assert_eq!(credit(owner).await, 0);
    does(&by_owner(&["operator", "forbid", &operator], &chain, &key, &place), &["may not act"]);
    until("the node's complaint", async || {
        let status = actors[0].document(Request::Status).await.ok()?;
        let told = status["stuck"].as_array()?.iter().any(|entry| {
            entry["remedy"].as_str().is_some_and(|remedy| remedy.contains(&format!("operator allow {operator}")))
        });
        told.then_some(())
    })
    .await;
    let offers = actors[0].document(Request::Show(Question::Offers)).await.unwrap();
    let ours = offers["offers"].as_array().unwrap().iter().filter(|offer| offer["this_node"] == true);
    assert_eq!(ours.map(|offer| offer["offer"].as_u64().unwrap()).collect::<Vec<_>>(), [nodes[0].offer]);
    eprintln!(
        "queue after {queued:?}, settled after {settled:?}, all after {:?}; {overtaken} matches overtaken",
        since.elapsed()
    );
    for actor in actors.into_iter().chain([agent]) {
        actor.stop().await;
    }
}
