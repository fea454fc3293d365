//! Several tasks in one rental, and jobs that ride in it while it is kept for them.

use keeper::{
    job::JobId,
    socket::{Question, Request},
};
use serde_json::{Value, json};

use crate::{
    actors::Actor,
    support::{again, command, does, json, live, offer_of, refuses, stage, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_share_a_rental_and_later_jobs_ride_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let mut agent = Actor::start(&stage, "agent").await.unwrap();
    let provider = Actor::start(&stage, "provider-cpu").await.unwrap();
    offer_of(&provider).await;
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("notes.md"), "# Notes\n\nWords to work on. More words.\n").unwrap();
    std::fs::write(path("table.csv"), "name,size\na,1\nb,2\n").unwrap();
    let tasks = json!([
        { "task": "text_processing", "inputs": ["notes.md"], "parameters": { "sentences": 1 } },
        { "task": "data_analysis", "inputs": ["table.csv"] },
    ]);
    std::fs::write(path("tasks.json"), tasks.to_string()).unwrap();
    std::fs::write(path("odd.json"), r#"[{"task":"text_processing","input":["notes.md"]}]"#).unwrap();
    let (at, out) = (agent.data_dir.display().to_string(), path("results"));
    let rent = |more: &[&str]| {
        let always = ["rent", "--data-dir", &at, "--out", &out, "--class", "cpu_only"];
        always.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let words = |owned: &[String]| owned.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let does = |owned: &[String], say: &[&str]| {
        let arguments = words(owned);
        does(&arguments.lines().collect::<Vec<_>>(), say)
    };
    let odd = path("odd.json");
    refuses(&["rent", "--data-dir", &at, "--tasks", &odd], &["odd.json", "inputs", "is needed"]);

    // Both results are there long before the rental ends, each in a folder of its own.
    let (tasks, notes) = (path("tasks.json"), path("notes.md"));
    let kept = ["--tasks", &tasks, "--keep-warm", "20s", "--max-duration", "80s"];
    does(&rent(&kept), &["job-1/t0/", "job-1/t1/"]);
    let running = live(&agent).await;
    assert!(running.len() == 1 && running[0]["status"] == "running", "{running:?}");
    let rental = running[0]["rental"].as_str().unwrap().to_owned();

    // What comes now begins in it at once, without a bid, also when the agent's keeper dies meanwhile.
    let one = ["--task", "text_processing", "--input", &notes, "--max-duration", "20s"];
    does(&rent(&one), &["job-2/"]);
    refuses(&["journal", "show", "bid/job-2/0", "--data-dir", &at], &["bid/job-2/0"]);
    let asked = Request::Show(Question::Job { job: JobId(2) });
    assert_eq!(agent.document(asked).await.unwrap()["rentals"][0]["rental"], rental.as_str());
    let mut client = command(&words(&rent(&one)).lines().collect::<Vec<_>>())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let attended = format!("attend/{rental}/job-3");
    until("the third job", async || {
        let jobs = agent.document(Request::Status).await.ok()?["jobs"].clone();
        (jobs.as_array()?.len() == 3).then_some(())
    })
    .await;
    agent.crash().await.unwrap();
    again(&mut agent).await;
    let _ = client.wait();
    does(&["rent", "--data-dir", &at, "--job", "job-3"].map(str::to_owned), &["job-3/"]);
    assert_eq!(json(&["journal", "show", &attended, "--data-dir", &at])["state"]["state"], "done");

    // It ends by itself, is held against the chain, and is paid: one bid for four tasks.
    let held = format!("fetch/{rental}");
    until("the check of the whole", async || {
        let records = agent.document(Request::Journal { limit: 100 }).await.ok()?;
        let found = records.as_array()?.iter().find(|record| record["key"] == held.as_str())?.clone();
        (found["state"]["state"] == "done").then_some(())
    })
    .await;
    until("the settlement", async || live(&agent).await.is_empty().then_some(())).await;
    let records = json(&["journal", "list", "--data-dir", &at]);
    let records: Vec<&Value> = records.as_array().unwrap().iter().collect();
    let of = |kind: &str| records.iter().filter(|record| record["intent"]["do"] == kind).count();
    assert_eq!((of("bid"), of("dispute")), (1, 0), "{records:#?}");
    let jobs = agent.document(Request::Status).await.unwrap()["jobs"].clone();
    for job in jobs.as_array().unwrap() {
        assert_eq!(
            (&job["outcome"]["state"], &job["outcome"]["rental"]),
            (&"finished".into(), &rental.as_str().into())
        );
    }
    provider.stop().await;
    agent.stop().await;
}
