//! The node's score: for everybody who asks, at the endpoint.

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use contracts::classes::HardwareClass;
use keeper::{
    benchmark::{Score, Scored, Template},
    blobs::{Client, ClientAuth, ClientError, Reach, ServerState, serve},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::support::{CHAIN, MARKET, PROVIDER, Plane, now};

pub(crate) fn scored(signer: &PrivateKeySigner, took_ms: u64) -> Scored {
    let template = Template::of(HardwareClass::CpuOnly);
    let score = Score {
        chain_id: CHAIN,
        market: MARKET,
        provider: PROVIDER,
        class: HardwareClass::CpuOnly,
        template: template.spec_hash,
        image: B256::repeat_byte(2),
        cpus_milli: 500,
        took_ms,
        score_milli: template.reference_ms * 1_000 / took_ms,
        accelerated: false,
        measured_s: now(),
    };
    Scored::sign(score, signer).unwrap()
}

#[tokio::test]
async fn a_score_is_served_to_everybody_as_it_is_now() {
    let plane = Plane::start().await;
    let score = watch::Sender::new(None);
    let (events, _inbox) = mpsc::channel(1);
    let state =
        ServerState::new(plane.config(), plane.store.clone(), plane.access(), events).with_score(score.subscribe());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, None, state, stop.clone().cancelled_owned()));

    let auth = ClientAuth { signer: PrivateKeySigner::random(), chain_id: CHAIN, market: MARKET };
    let reach = Reach::demo();
    let client = Client::connect(&endpoint, &reach, auth).await.unwrap();
    let refused = client.score().await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { status: 404, detail, .. } if detail.contains("offer measure")));

    let key = PrivateKeySigner::random();
    for took_ms in [5_000, 2_500] {
        let stated = scored(&key, took_ms);
        score.send_replace(Some(stated.clone()));
        let served = client.score().await.unwrap();
        assert_eq!(served, stated);
        served.check(CHAIN, MARKET, PROVIDER, &[Address::ZERO, key.address()], now()).unwrap();
    }
    // Without a signature, and with a word on how long it may be kept.
    let plain = reqwest::get(format!("{endpoint}/v1/score")).await.unwrap();
    assert_eq!(
        (plain.status().as_u16(), &plain.headers()["cache-control"]),
        (200, &"public, max-age=60".parse().unwrap())
    );
    let posted = reqwest::Client::new().post(format!("{endpoint}/v1/score")).body("{}").send().await.unwrap();
    assert_eq!(posted.status(), 405);
    stop.cancel();
    server.await.unwrap().unwrap();
}
