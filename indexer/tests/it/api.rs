//! The API as a service, without a socket.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use indexer::{
    Index,
    api::{ApiState, router},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::chain::{Running, World};

/// What came back.
struct Got {
    status: StatusCode,
    kind: String,
    body: Value,
}

async fn send(router: &Router, request: Request<Body>) -> Got {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    Got { status, kind: kind.unwrap_or_default(), body: serde_json::from_slice(&body).unwrap_or_default() }
}

async fn get(router: &Router, path: &str) -> Got {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

/// A 200 answer.
async fn ok(router: &Router, path: &str) -> Value {
    let got = get(router, path).await;
    assert_eq!(got.status, 200, "{path}: {}", got.body);
    assert_eq!(got.kind, "application/json", "{path}");
    got.body
}

/// A problem document with this status, whose detail holds `words`.
async fn problem(router: &Router, path: &str, status: u16, words: &str) {
    let got = get(router, path).await;
    assert_eq!((got.status.as_u16(), got.kind.as_str()), (status, "application/problem+json"), "{path}: {}", got.body);
    assert_eq!(got.body["status"], json!(status));
    for field in ["type", "title", "detail"] {
        assert!(got.body[field].is_string(), "{path}: {field}");
    }
    let detail = got.body["detail"].as_str().unwrap();
    assert!(detail.contains(words), "{path}: {detail}");
}

async fn indexed(world: &World, folder: &std::path::Path) -> (Index, Router) {
    let index = Index::open(world.config(folder)).await.unwrap();
    world.catch_up(&index).await;
    (index.clone(), router(ApiState::new(index)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_as_of_one_block() {
    let world = World::new().await;
    let rented = world.rent(100).await;
    let running = world.bid(90).await;
    world.take(world.offer, false).await;
    for tick in [50, 60, 60] {
        world.bid(tick).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_index, router) = indexed(&world, folder.path()).await;
    let (number, hash) = world.head().await;
    let wallet = world.wallet;
    for path in [
        "/v1/status".to_owned(),
        "/v1/classes".into(),
        "/v1/books/cpu_only/10m".into(),
        "/v1/bids".into(),
        "/v1/offers".into(),
        "/v1/rentals".into(),
        format!("/v1/rentals/{rented}"),
        format!("/v1/wallets/{wallet}"),
        "/v1/providers".into(),
    ] {
        let body = ok(&router, &path).await;
        assert_eq!((&body["block"]["number"], &body["block"]["hash"]), (&json!(number), &json!(hash)), "{path}");
        assert!(body["block"]["age_s"].is_u64());
    }

    let status = ok(&router, "/v1/status").await;
    let held: u128 = status["data"]["escrow_held"].as_str().unwrap().parse().unwrap();
    assert!(held > 0);
    assert_eq!((&status["data"]["settled"], &status["data"]["lag_blocks"]), (&json!(1), &json!(0)));
    let classes = ok(&router, "/v1/classes").await;
    let cpu = &classes["data"][0];
    assert_eq!(
        (&cpu["class"], &cpu["queue_depth"], &cpu["escrowed_seconds"]),
        (&json!("cpu_only"), &json!(3), &json!(900))
    );
    assert_eq!((&cpu["best"]["tick"], &cpu["last_clearing"]["tick"]), (&json!(60), &json!(90)));
    assert_eq!((&cpu["slots"], &cpu["used"], &cpu["utilisation"]), (&json!(8), &json!(1), &json!(0.125)));
    assert!(cpu["oldest_age_s"].is_u64());
    let book = ok(&router, "/v1/books/1/0?preemptible=false").await;
    let levels = book["data"]["levels"].as_array().unwrap();
    let ticks: Vec<_> = levels.iter().map(|level| (level["tick"].clone(), level["bids"].clone())).collect();
    assert_eq!(ticks, [(json!(60), json!(2)), (json!(50), json!(1))]);
    let empty = ok(&router, "/v1/books/cpu_only/10m?preemptible=true").await;
    assert_eq!(empty["data"]["levels"], json!([]));

    let rental = ok(&router, &format!("/v1/rentals/{rented}")).await;
    assert_eq!(
        (&rental["data"]["status"], &rental["data"]["submitted"]["billable_s"]),
        (&json!("settled"), &json!(15))
    );
    assert_eq!(rental["data"]["started"]["spec_hash"], rental["data"]["spec_hash"]);
    let live = ok(&router, "/v1/rentals?live=true").await;
    assert_eq!(live["items"].as_array().unwrap().len(), 1);
    assert_eq!(live["items"][0]["id"], json!(running));
    let of_provider = ok(&router, &format!("/v1/rentals?provider={}&status=settled", world.provider)).await;
    assert_eq!(of_provider["items"][0]["id"], json!(rented));
    let page = ok(&router, &format!("/v1/wallets/{wallet}")).await;
    let data = &page["data"];
    assert_eq!(data["keys"][0]["permissions"], json!(["bid", "cancel", "dispute", "delegate"]));
    assert_eq!(data["spent"], data["spent_24h"]);
    assert_ne!(data["spent"], json!("0"));
    let account = &data["keys"][0]["account"];
    assert_eq!((&account["wallet"], &account["credit"]), (&json!(wallet), &data["credit"]));
    assert_eq!([&account["uncounted_spent"], &account["uncounted_released"]], [&json!("0"); 2], "bids came after");
    assert_eq!(data["spends"].as_array().unwrap().len(), 1);
    assert_eq!(data["recent"].as_array().unwrap().len(), 5);
    let providers = ok(&router, "/v1/providers").await;
    assert_eq!(providers["items"][0]["endpoint"], json!("http://127.0.0.1:7000"));
    assert_eq!(ok(&router, "/v1/offers?open=true&class=cpu_only").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(ok(&router, "/v1/offers?open=false").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_stay_valid_while_bids_come_and_go() {
    let world = World::new().await;
    for tick in [10, 20, 30, 40, 50] {
        world.bid(tick).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (index, router) = indexed(&world, folder.path()).await;
    let ticks = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|bid| bid["tick"].as_u64().unwrap()).collect()
    };
    let first = ok(&router, "/v1/bids?class=cpu_only&limit=2").await;
    assert_eq!(ticks(&first), [50, 40]);
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();

    // The bid the cursor stands on goes, others come before and after it.
    world.take(world.offer, false).await;
    world.take(world.offer, false).await;
    world.bid(45).await;
    world.bid(25).await;
    world.catch_up(&index).await;
    let second = ok(&router, &format!("/v1/bids?class=cpu_only&limit=2&cursor={cursor}")).await;
    assert_eq!(ticks(&second), [30, 25]);
    let cursor = second["next_cursor"].as_str().unwrap();
    let third = ok(&router, &format!("/v1/bids?class=cpu_only&limit=2&cursor={cursor}")).await;
    assert_eq!((ticks(&third), &third["next_cursor"]), (vec![20, 10], &Value::Null));

    let mut seen = Vec::new();
    let mut path = format!("/v1/rentals?wallet={}&limit=1", world.wallet);
    loop {
        let page = ok(&router, &path).await;
        seen.extend(ticks(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/rentals?wallet={}&limit=1&cursor={cursor}", world.wallet);
    }
    assert_eq!(seen, [50, 40], "newest bid first, open bids left out");
    problem(&router, &format!("/v1/offers?cursor={cursor}"), 400, "does not belong to this list").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_a_problem_document() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (_index, router) = indexed(&world, folder.path()).await;
    let nobody = "0x00000000000000000000000000000000000000ff";
    for (path, status, words) in [
        ("/v1/nothing", 404, "/v1/nothing"),
        ("/v1/books/warp_drive/1h", 400, "warp_drive"),
        ("/v1/books/cpu_only/2h", 400, "2h"),
        ("/v1/books/30/1h", 404, "no class 30"),
        ("/v1/books/cpu_only/1h?preemptible=perhaps", 400, "preemptible"),
        ("/v1/rentals/xyz", 400, "xyz"),
        ("/v1/rentals/0x12", 404, "0x0000000000000000000012"),
        ("/v1/rentals?status=sleeping", 400, "sleeping"),
        ("/v1/wallets/0x12", 400, "0x12"),
        (&format!("/v1/wallets/{nobody}"), 404, "no wallet"),
        ("/v1/bids?limit=0", 400, "between 1 and 500"),
        ("/v1/bids?limit=501", 400, "between 1 and 500"),
        ("/v1/bids?limit=many", 400, "limit"),
        ("/v1/bids?colour=red", 400, "colour"),
        ("/v1/bids?cursor=zz", 400, "zz"),
        ("/v1/bids?wallet=me", 400, "me"),
    ] {
        problem(&router, path, status, words).await;
    }
    let posted = send(&router, Request::post("/v1/bids").body(Body::empty()).unwrap()).await;
    assert_eq!((posted.status.as_u16(), posted.kind.as_str()), (405, "application/problem+json"));
    let large = Request::get("/v1/bids").header(header::CONTENT_LENGTH, "1000000").body(Body::empty()).unwrap();
    let large = send(&router, large).await;
    assert_eq!((large.status.as_u16(), large.kind.as_str()), (413, "application/problem+json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_chain_and_anybody_may_read() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(world.config(folder.path())).await.unwrap();
    let router = router(ApiState::new(index.clone()));
    assert_eq!(ok(&router, "/healthz").await, json!({ "status": "ok" }));
    let early = get(&router, "/readyz").await;
    assert_eq!((early.status.as_u16(), &early.body["ready"]), (503, &json!(false)));
    problem(&router, "/v1/status", 503, "/readyz").await;

    let running = Running::start(&index);
    world.reached(&index).await;
    let ready = ok(&router, "/readyz").await;
    assert_eq!((&ready["ready"], &ready["lag_blocks"]), (&json!(true), &json!(0)));
    running.stop().await;

    let request = Request::get("/v1/status").header(header::ORIGIN, "https://example.org").body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_every_route() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (_index, router) = indexed(&world, folder.path()).await;
    let description = ok(&router, "/openapi.json").await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    for path in [
        "/v1/status",
        "/v1/classes",
        "/v1/books/{class}/{bucket}",
        "/v1/bids",
        "/v1/offers",
        "/v1/rentals",
        "/v1/rentals/{id}",
        "/v1/wallets/{address}",
        "/v1/providers",
        "/healthz",
        "/readyz",
    ] {
        assert!(description["paths"][path]["get"].is_object(), "{path}");
    }
    let schemas = description["components"]["schemas"].as_object().unwrap();
    assert!(schemas.contains_key("AgreementInfo") && schemas.contains_key("Problem"), "{:?}", schemas.keys());
}
