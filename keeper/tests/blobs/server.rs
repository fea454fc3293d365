//! What the server takes and what it refuses, request by request.

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::local::PrivateKeySigner,
};
use contracts::bindings::Status;
use keeper::{
    blobs::{BlobEvent, RentalView},
    spec::{MAX_SPEC_BYTES, RentalSpec, TaskSpec, sha256},
};
use tokio::io::AsyncWriteExt;

use crate::support::{CHAIN, Call, MARKET, PROVIDER, Plane, hash_path, id, noise, now, only, result, spec};

pub(crate) async fn check(call: Call<'_>, status: u16, words: &str) {
    let (found, text) = call.send().await;
    assert!(found == status && text.contains(words), "{found}: {text}");
}

#[tokio::test]
async fn a_rental_goes_from_spec_to_countersignature() {
    let mut plane = Plane::start().await;
    let inputs = [noise(1_000, 1), noise(70_000, 2)];
    let spec = spec(&[&inputs[0], &inputs[1]]);
    let rental = plane.rent(1, &spec);
    let base = format!("/v1/rentals/{rental}");
    let view = async |plane: &Plane| -> RentalView {
        let (status, text) = plane.call("GET", &base).send().await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let before = view(&plane).await;
    assert_eq!((before.state.as_str(), before.have_spec, before.missing.len()), ("confirmed", false, 0));
    check(plane.call("PUT", &format!("{base}/spec")).body(&spec.to_bytes()), 204, "").await;
    assert_eq!(plane.take_events(), [BlobEvent::SpecReady { rental }]);
    assert_eq!(view(&plane).await.missing.len(), 2);

    let early = plane.call("POST", &format!("{base}/countersignature")).body(br#"{"signature":"0x0102"}"#);
    check(early, 409, "push them before").await;
    for input in &inputs {
        check(plane.call("PUT", &hash_path(rental, "blobs", sha256(input))).body(input), 204, "").await;
    }
    assert_eq!(plane.take_events(), [BlobEvent::InputsComplete { rental }]);
    for input in &inputs {
        assert_eq!(std::fs::read(plane.store.blob_path(&sha256(input))).unwrap(), *input);
    }
    let signature = Bytes::from_static(&[1, 2]);
    check(plane.call("POST", &format!("{base}/countersignature")).body(br#"{"signature":"0x0102"}"#), 204, "").await;
    assert_eq!(plane.take_events(), [BlobEvent::Countersigned { rental, signature: signature.clone() }]);
    let after = view(&plane).await;
    assert!(after.have_spec && after.missing.is_empty() && after.countersigned && !after.have_result);
    // It survives the keeper.
    plane.restart().await;
    assert_eq!(view(&plane).await, after);
    assert_eq!(plane.store.rental(rental).await.unwrap().countersignature, Some(signature));
}

#[tokio::test]
async fn only_the_agent_of_the_rental_is_served() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.rent(1, &spec);
    let path = format!("/v1/rentals/{rental}");
    let stranger = PrivateKeySigner::random();

    check(Call { signer: stranger.clone(), ..plane.call("GET", &path) }, 403, &stranger.address().to_string()).await;
    check(Call { expires: now() - 1, ..plane.call("GET", &path) }, 401, "expired").await;
    check(Call { expires: now() + 120, ..plane.call("GET", &path) }, 401, "over 60 s").await;
    let own = (path.clone(), sha256(b""));
    let signed = |method, path: &str, content, chain, market| Some((method, path.to_owned(), content, chain, market));
    for signed in [
        signed("PUT", &own.0, own.1, CHAIN, MARKET),
        signed("GET", &format!("/v1/rentals/{}", id(2)), own.1, CHAIN, MARKET),
        signed("GET", &format!("{path}?"), own.1, CHAIN, MARKET),
        signed("GET", &own.0, B256::ZERO, CHAIN, MARKET),
        signed("GET", &own.0, own.1, 1, MARKET),
        signed("GET", &own.0, own.1, CHAIN, Address::ZERO),
    ] {
        check(Call { signed, ..plane.call("GET", &path) }, 401, "signature").await;
    }
    let unsigned = reqwest::get(format!("{}{path}", plane.endpoint)).await.unwrap();
    assert_eq!(unsigned.status(), 401);

    check(plane.call("GET", &format!("/v1/rentals/{}", id(7))), 404, "not known here at block 1").await;
    check(plane.call("GET", "/v1/rentals/nonsense"), 404, "is no rental id").await;
    check(plane.call("GET", "/v1/rentals/0x1"), 404, "write the rental's id as").await;
    check(plane.call("GET", "/v2/anything"), 404, "is not served here").await;
    plane.change(rental, |access| access.open_until_unix_s = now());
    check(plane.call("GET", &path), 410, "no longer served").await;
    plane.change(rental, |access| access.provider = Address::ZERO);
    check(plane.call("GET", &path), 404, &PROVIDER.to_string()).await;
}

#[tokio::test]
async fn a_request_for_one_rental_is_worth_nothing_for_another() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let (first, second) = (plane.rent(1, &spec), plane.rent(2, &spec));
    let to_first = format!("/v1/rentals/{first}/spec");
    let replayed = Call {
        signed: Some(("PUT", to_first, sha256(&spec.to_bytes()), CHAIN, MARKET)),
        ..plane.call("PUT", &format!("/v1/rentals/{second}/spec")).body(&spec.to_bytes())
    };
    check(replayed, 401, "signature").await;
    assert!(plane.store.rental(second).await.is_none());
}

#[tokio::test]
async fn specs_that_are_not_the_chains_are_refused() {
    let plane = Plane::start().await;
    let good = spec(&[b"x"]);
    let rental = plane.rent(1, &good);
    let path = format!("/v1/rentals/{rental}/spec");
    let put = |body: &[u8]| plane.call("PUT", &path).body(body).content(sha256(&good.to_bytes()));
    check(put(&spec(&[b"y"]).to_bytes()), 422, "hash to").await;
    check(put(&vec![b' '; MAX_SPEC_BYTES + 1]), 413, "at most").await;
    check(put(b""), 422, "hash to").await;
    assert!(plane.store.rental(rental).await.is_none());

    // What hashes to what the chain says may still be no spec, or more than this provider takes.
    plane.change(rental, |access| access.spec_hash = sha256(b"{}"));
    check(plane.call("PUT", &path).body(b"{}"), 422, "does not parse").await;
    let mut huge = spec(&[b"x"]);
    huge.tasks[0].inputs[0].bytes = (1 << 19) + 1;
    plane.change(rental, |access| access.spec_hash = sha256(&huge.to_bytes()));
    check(plane.call("PUT", &path).body(&huge.to_bytes()), 507, "524288").await;

    plane.change(rental, |access| (access.status, access.spec_hash) = (Status::Settled, sha256(&good.to_bytes())));
    check(put(&good.to_bytes()), 409, "takes no more inputs").await;
}

#[tokio::test]
async fn blobs_that_are_not_what_they_are_called_are_thrown_away() {
    let plane = Plane::start().await;
    let input = noise(1_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.rent(1, &spec);
    let path = hash_path(rental, "blobs", sha256(&input));
    let put = |body: &[u8]| plane.call("PUT", &path).body(body).content(sha256(&input));
    check(put(&input), 404, "push it first").await;
    check(plane.call("PUT", &format!("/v1/rentals/{rental}/spec")).body(&spec.to_bytes()), 204, "").await;

    let mut tampered = input.clone();
    tampered[500] ^= 1;
    check(put(&tampered), 422, "send the right file").await;
    check(put(&noise(1_001, 1)), 413, "more than the 1000 bytes").await;
    let other = noise(10, 9);
    check(plane.call("PUT", &hash_path(rental, "blobs", sha256(&other))).body(&other), 404, "refers to no blob").await;
    assert!(!plane.store.has(&sha256(&input)).await);

    for name in ["..%2f..%2fetc%2fpasswd", &"G".repeat(64), &hex::encode_upper(sha256(&input)), "0x00"] {
        let path = format!("/v1/rentals/{rental}/blobs/{name}");
        check(plane.call("PUT", &path).body(b"x"), 404, "64 small hexadecimal digits").await;
    }
    check(put(&input), 204, "").await;
    check(put(&input), 204, "").await;
    let mut names: Vec<_> = walk(plane.folder.path().join("store/blobs"));
    names.sort();
    let mut expect = [sha256(&input), sha256(&spec.to_bytes())].map(hex::encode);
    expect.sort();
    assert_eq!(names, expect, "nothing but the spec and its input is stored");
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_cut_off() {
    let mut plane = Plane::start().await;
    let input = noise(100_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.rent(1, &spec);
    let hash = sha256(&input);
    let path = hash_path(rental, "blobs", hash);
    check(plane.call("PUT", &format!("/v1/rentals/{rental}/spec")).body(&spec.to_bytes()), 204, "").await;
    let received = async |plane: &Plane| {
        let response = plane.call("HEAD", &path).response().await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-openclaw-bytes"]),
            (200, &"100000".parse().unwrap())
        );
        response.headers()["x-openclaw-received"].to_str().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(received(&plane).await, 0);
    check(plane.call("PUT", &path).body(&input[..40_000]).content(hash), 400, "40000 of 100000").await;
    assert_eq!(received(&plane).await, 40_000);
    // Also after the provider was killed.
    plane.restart().await;
    assert_eq!(received(&plane).await, 40_000);
    let rest = |from: usize, range: String| {
        plane.call("PUT", &path).body(&input[from..]).content(hash).header("content-range", range)
    };
    check(rest(30_000, "bytes 30000-99999/100000".into()), 409, "must continue at 40000").await;
    check(rest(50_000, "bytes 50000-99999/100000".into()), 409, "must continue at 40000").await;
    check(rest(40_000, "bytes */100000".into()), 400, "content-range").await;
    check(rest(40_000, "bytes 40000-99999/100000".into()), 204, "").await;
    assert_eq!(received(&plane).await, 100_000);
    assert_eq!(std::fs::read(plane.store.blob_path(&hash)).unwrap(), input);
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_what_it_sent() {
    let plane = Plane::start().await;
    let input = noise(200_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.rent(1, &spec);
    let hash = sha256(&input);
    let path = hash_path(rental, "blobs", hash);
    check(plane.call("PUT", &format!("/v1/rentals/{rental}/spec")).body(&spec.to_bytes()), 204, "").await;

    // Half of the promised body by hand, then the socket is closed.
    let mut socket = plane.socket().await;
    socket.write_all(&plane.call("PUT", &path).content(hash).head(input.len())).await.unwrap();
    socket.write_all(&input[..100_000]).await.unwrap();
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while plane.store.progress(rental, &hash).await != Some((100_000, 200_000)) {
        assert!(tokio::time::Instant::now() < until);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // While it is under way, nobody else writes the same file.
    let second = plane.call("PUT", &path).body(&input).content(hash);
    check(second, 409, "being uploaded by another request").await;
    drop(socket);
    let mut left = plane.call("PUT", &path).body(&input).content(hash).send().await;
    while left.0 == 409 {
        assert!(tokio::time::Instant::now() < until);
        left = plane.call("PUT", &path).body(&input).content(hash).send().await;
    }
    assert_eq!(left.0, 204, "{}", left.1);
}

#[tokio::test]
async fn a_countersignature_is_taken_only_while_the_rental_waits_for_it() {
    let mut plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.delivered(1, &spec).await;
    let path = format!("/v1/rentals/{rental}/countersignature");
    check(plane.call("PUT", &hash_path(rental, "blobs", sha256(b"x"))).body(b"x"), 204, "").await;
    check(plane.call("POST", &path).body(b"not json"), 422, "signature").await;
    check(plane.call("POST", &path).body(br#"{"signature":"0x01","more":1}"#), 422, "more").await;
    check(plane.call("POST", &path).body(&[b' '; 9_000]), 413, "8192").await;
    plane.take_events();
    for _ in 0..2 {
        check(plane.call("POST", &path).body(br#"{"signature":"0x01"}"#), 204, "").await;
    }
    assert_eq!(plane.take_events().len(), 2, "the keeper is told each time, in case it lost the first");
    plane.change(rental, |access| access.status = Status::Running);
    check(plane.call("POST", &path).body(br#"{"signature":"0x02"}"#), 409, "only while it is confirmed").await;
}

#[tokio::test]
async fn results_and_outputs_are_served_in_whole_and_in_part() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.delivered(1, &spec).await;
    let base = format!("/v1/rentals/{rental}");
    check(plane.call("GET", &format!("{base}/result")), 404, "no result here yet").await;
    let output = noise(150_000, 4);
    let (document, _) = result(rental, &spec, &[("a.txt", &output)]);
    let out = plane.folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("a.txt"), &output).unwrap();
    plane.store.publish_task(rental, document.clone(), &out).await.unwrap();

    let (status, text) = plane.call("GET", &format!("{base}/result")).send().await;
    assert_eq!((status, serde_json::from_str(&text).unwrap()), (200, only(&document, false)));
    let path = hash_path(rental, "outputs", sha256(&output));
    let whole = plane.call("GET", &path).response().await;
    assert_eq!((whole.status().as_u16(), whole.bytes().await.unwrap().to_vec()), (200, output.clone()));
    let part = plane.call("GET", &path).header("range", "bytes=140000-").response().await;
    assert_eq!(part.headers()["content-range"], "bytes 140000-149999/150000");
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().to_vec()), (206, output[140_000..].to_vec()));
    check(plane.call("GET", &path).header("range", "bytes=150000-"), 416, "before its end").await;
    // An input is no output, and the spec of another rental is nobody's.
    check(plane.call("GET", &hash_path(rental, "outputs", sha256(&spec.to_bytes()))), 404, "has no output").await;
    let other = plane.rent(2, &spec);
    check(plane.call("GET", &hash_path(other, "outputs", sha256(&output))), 404, "push it first").await;
}

#[tokio::test]
async fn what_a_reorganisation_left_behind_does_not_count() {
    let plane = Plane::start().await;
    let (old, new) = (spec(&[b"x"]), spec(&[b"y"]));
    let rental = plane.rent(1, &old);
    let path = format!("/v1/rentals/{rental}/spec");
    check(plane.call("PUT", &path).body(&old.to_bytes()), 204, "").await;
    check(plane.call("PUT", &hash_path(rental, "blobs", sha256(b"x"))).body(b"x"), 204, "").await;
    plane.store.put_countersignature(rental, Bytes::from_static(&[1])).await.unwrap();

    // The same id is another bid now.
    plane.change(rental, |access| access.spec_hash = sha256(&new.to_bytes()));
    let (_, text) = plane.call("GET", &format!("/v1/rentals/{rental}")).send().await;
    let view: RentalView = serde_json::from_str(&text).unwrap();
    assert!(!view.have_spec && !view.countersigned);
    check(plane.call("PUT", &hash_path(rental, "blobs", sha256(b"y"))).body(b"y"), 404, "push it first").await;
    check(plane.call("PUT", &path).body(&new.to_bytes()), 204, "").await;
    let files = plane.store.rental(rental).await.unwrap();
    assert_eq!((files.spec, files.countersignature), (Some(new), None));
    assert!(!plane.store.has(&sha256(b"x")).await, "the old input is gone");
}

#[tokio::test]
async fn headers_are_bounded() {
    let plane = Plane::start().await;
    let rental = plane.rent(1, &spec(&[b"x"]));
    let path = format!("/v1/rentals/{rental}");
    let response = plane.call("GET", &path).header("x-long", "x".repeat(9_000)).response().await;
    assert_eq!(response.status(), 431);
}

fn walk(folder: std::path::PathBuf) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => names.extend(walk(path)),
            path => names.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
        }
    }
    names
}

#[tokio::test]
async fn tasks_are_pushed_only_while_a_rental_runs_and_keeps_itself_for_them() {
    let plane = Plane::start().await;
    let warm = RentalSpec { keep_warm_s: 60, ..spec(&[b"x"]) };
    let (rental, cold) = (plane.delivered(1, &warm).await, plane.delivered(2, &spec(&[b"x"])).await);
    let more = spec(&[b"more"]);
    let bytes = more.to_bytes();
    let path = |rental| hash_path(rental, "tasks", sha256(&bytes));
    check(plane.call("PUT", &path(rental)).body(&bytes), 409, "only while it runs").await;
    for rental in [rental, cold] {
        plane.change(rental, |access| access.status = Status::Running);
    }
    check(plane.call("PUT", &path(cold)).body(&bytes), 409, "does not ask to be kept").await;
    check(plane.call("PUT", &path(rental)).content(sha256(&bytes)).body(b"other"), 422, "hash to").await;
    let blob = hash_path(rental, "blobs", sha256(b"more"));
    check(plane.call("PUT", &blob).body(b"more"), 404, "refers to no blob").await;
    for _ in 0..2 {
        check(plane.call("PUT", &path(rental)).body(&bytes), 204, "").await;
    }
    check(plane.call("PUT", &blob).body(b"more"), 204, "").await;
    let pushed = plane.store.rental(rental).await.unwrap().pushed;
    assert!(pushed.len() == 1 && pushed[0].is_complete && pushed[0].spec == more, "{pushed:?}");

    // 1 task of its own and this one are there; 62 more may come.
    for number in 0..5 {
        let mut many = spec(&[b"x"]);
        let task = many.tasks[0].clone();
        many.tasks = (0..15).map(|at| TaskSpec { task_id: format!("{number}-{at}"), ..task.clone() }).collect();
        let bytes = many.to_bytes();
        let (status, words) = if number < 4 { (204, "") } else { (409, "as many as a rental may have") };
        check(plane.call("PUT", &hash_path(rental, "tasks", sha256(&bytes))).body(&bytes), status, words).await;
    }
    // What was pushed survives a restart, and a release takes it away.
    assert!(!plane.store.seal(rental, 4).await.unwrap() && plane.store.seal(rental, 5).await.unwrap());
    let late = spec(&[b"late"]).to_bytes();
    check(plane.call("PUT", &hash_path(rental, "tasks", sha256(&late))).body(&late), 409, "about to be submitted")
        .await;
    check(plane.call("PUT", &path(rental)).body(&bytes), 204, "").await;
    plane.store.release(rental).await.unwrap();
    assert!(!plane.store.has(&sha256(b"more")).await && plane.store.has(&sha256(&spec_of(&plane, cold).await)).await);
}

async fn spec_of(plane: &Plane, rental: contracts::ids::AgreementId) -> Vec<u8> {
    plane.store.rental(rental).await.unwrap().spec.unwrap().to_bytes()
}
