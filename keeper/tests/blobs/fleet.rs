//! An agent's courier and a provider of several nodes, each of which works for offers of its own.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use keeper::{
    act::errands::ErrandError,
    blobs::{Client, ClientError, Nodes, Reach, Sought},
};

use crate::{
    courier::Trip,
    support::{Plane, auth, id, noise},
};

/// A node of the same provider whose index knows the trip's rental, and that it is for another node's offer.
async fn another(trip: &Trip) -> Plane {
    let plane = Plane::start().await;
    let rental = plane.rent(1, &trip.job.spec);
    plane.change(rental, |access| (access.here, access.agent) = (false, trip.plane.agent.address()));
    plane
}

/// An endpoint where nobody listens.
async fn nobody() -> String {
    let mut plane = Plane::start().await;
    plane.shut_down().await;
    plane.endpoint
}

fn sought() -> Sought {
    Sought { rental: id(1), offer: 3, matched_block: 7 }
}

#[tokio::test]
async fn a_node_that_works_for_other_offers_says_so_whatever_it_is_asked() {
    let trip = Trip::new(b"x").await;
    let other = another(&trip).await;
    let client = Client::connect(&other.endpoint, &Reach::demo(), auth(&trip.plane.agent)).await.unwrap();
    let refused = client.status(id(1)).await.unwrap_err();
    let ClientError::Refused { status: 421, detail, .. } = &refused else { panic!("{refused}") };
    assert!(detail.contains("offer 3") && detail.contains("another node"), "{detail}");
    for refused in [
        client.result(id(1), trip.row.spec_hash).await.map(drop).unwrap_err(),
        client.statements(id(1)).await.map(drop).unwrap_err(),
        client.countersign(id(1), &vec![1].into()).await.unwrap_err(),
    ] {
        assert!(matches!(refused, ClientError::Refused { status: 421, .. }), "{refused}");
        assert!(!refused.is_retryable(), "nothing will change there");
    }
}

#[tokio::test]
async fn work_finds_its_node_among_others_that_are_away_or_work_for_other_offers() {
    let input = noise(20_000, 1);
    let mut trip = Trip::new(&input).await;
    trip.plane.rent(1, &trip.job.spec);
    let other = another(&trip).await;
    let here = trip.plane.endpoint.clone();
    trip.plane.endpoint = format!("{} {} {here}", nobody().await, other.endpoint);
    trip.courier.deliver(&trip.row, &trip.plane.endpoint, &trip.job).await.unwrap();
    assert!(trip.plane.store.rental(id(1)).await.unwrap().countersignature.is_some());
    assert!(other.store.rental(id(1)).await.is_none(), "it got nothing");
    trip.finish(&noise(1_000, 5), |_| {}).await;
    assert_eq!(trip.fetch().await, "");
}

#[tokio::test]
async fn the_node_is_waited_for_while_its_index_is_behind() {
    let trip = Trip::new(b"x").await;
    let other = another(&trip).await;
    trip.plane.block.store(6, Ordering::SeqCst);
    let published = format!("{} {}", other.endpoint, trip.plane.endpoint);
    let (nodes, key) = (Nodes::default(), auth(&trip.plane.agent));
    let search = tokio::spawn(async move { nodes.find(&published, &Reach::demo(), key, sought()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!search.is_finished(), "the other's word alone settles nothing");
    trip.plane.rent(1, &trip.job.spec);
    search.await.unwrap().unwrap().status(id(1)).await.unwrap();
    // One that is past the block and does not know the rental is not waited for.
    let unknown = Plane::start().await;
    unknown.block.store(7, Ordering::SeqCst);
    let published = format!("{} {}", other.endpoint, unknown.endpoint);
    let since = Instant::now();
    let find = Nodes::default();
    let error = find.find(&published, &Reach::demo(), auth(&trip.plane.agent), sought()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error}");
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
}

#[tokio::test]
async fn the_node_is_remembered_until_it_says_otherwise() {
    let mut trip = Trip::new(b"x").await;
    trip.plane.rent(1, &trip.job.spec);
    let mut other = another(&trip).await;
    let both = format!("{} {}", other.endpoint, trip.plane.endpoint);
    let nodes = Nodes::default();
    let find = async || nodes.find(&both, &Reach::demo(), auth(&trip.plane.agent), sought()).await;
    find().await.unwrap();
    // The one that is remembered answers alone; nobody waits for the other.
    let since = Instant::now();
    other.shut_down().await;
    find().await.unwrap().status(id(1)).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    // The offer moved to a third node.
    let third = Plane::start().await;
    let rental = third.rent(1, &trip.job.spec);
    third.change(rental, |access| access.agent = trip.plane.agent.address());
    trip.plane.change(id(1), |access| access.here = false);
    let all = format!("{both} {}", third.endpoint);
    let client = nodes.find(&all, &Reach::demo(), auth(&trip.plane.agent), sought()).await.unwrap();
    client.status(id(1)).await.unwrap();
    assert!(third.store.rental(id(1)).await.is_none());
    trip.plane.shut_down().await;
    nodes.find(&all, &Reach::demo(), auth(&trip.plane.agent), sought()).await.unwrap();
}

#[tokio::test]
async fn every_node_passes_the_guard_and_the_most_telling_answer_is_given() {
    let mut trip = Trip::new(b"x").await;
    let other = another(&trip).await;
    let of = async |published: &str, reach: &Reach| {
        let error = Nodes::default().find(published, reach, auth(&trip.plane.agent), sought()).await.unwrap_err();
        error.to_string()
    };
    // Nothing private is talked to outside the demo, however many are published.
    let outside = Reach { private: false, ..Reach::demo() };
    let both = format!("{} {}", other.endpoint, trip.plane.endpoint);
    assert!(of(&both, &outside).await.contains("loopback"), "{}", of(&both, &outside).await);
    // One that is away may be the node; one that works for other offers is not.
    let away = nobody().await;
    let error = of(&format!("{} {away}", other.endpoint), &Reach::demo()).await;
    assert!(error.contains(&away) && error.contains("could not be reached"), "{error}");
    let error = of(&format!("{} {}", other.endpoint, other.endpoint), &Reach::demo()).await;
    assert!(error.contains("421"), "{error}");
    assert!(of(&"https://a.example ".repeat(9), &Reach::demo()).await.contains("more than 8"));

    // The result of a node that is away is kept from the agent, like that of any provider that is away.
    trip.plane.endpoint = format!("{} {away}", other.endpoint);
    trip.submit(&[], 5);
    assert!(trip.fetch().await.starts_with("unserved: provider at"), "{}", trip.fetch().await);
    let error = trip.courier.deliver(&trip.row, &trip.plane.endpoint, &trip.job).await.unwrap_err();
    assert!(!matches!(error, ErrandError::Refuted(_)), "{error}");
}
