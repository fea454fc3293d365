//! `keeper mcp`: a child process that speaks JSON-RPC over stdio, and nothing else on stdout.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use keeper::socket::Request;
use serde_json::{Value, json};

use crate::{
    actors::Actor,
    support::{command, offer_of, stage, until},
};

/// A client of the protocol.
struct Client {
    child: Child,
    write: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    next: u64,
}

impl Client {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let write = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut client = Self { child, write, lines, next: 0 };
        let hello = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = client.call("initialize", hello);
        assert_eq!(answer["result"]["serverInfo"]["name"], "openclaw-keeper", "{answer:#}");
        assert!(answer["result"]["capabilities"]["tools"].is_object());
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.write, "{message}").unwrap();
    }

    /// The answer to a call; every line must be JSON-RPC.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let line = self.lines.next().expect("the server is there").unwrap();
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            if message["id"] == id {
                return message;
            }
        }
    }

    /// What a tool gives.
    #[track_caller]
    fn tool(&mut self, name: &str, arguments: Value) -> Value {
        let answer = self.call("tools/call", json!({ "name": name, "arguments": arguments }));
        let result = &answer["result"];
        assert_eq!(result["isError"], false, "{name}: {answer:#}");
        result["structuredContent"].clone()
    }

    /// What a tool says when it refuses.
    #[track_caller]
    fn refused(&mut self, name: &str, arguments: Value, words: &[&str]) {
        let answer = self.call("tools/call", json!({ "name": name, "arguments": arguments }));
        assert_eq!(answer["result"]["isError"], true, "{name} is no tool error: {answer:#}");
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        for word in words {
            assert!(text.contains(word), "{name} does not say '{word}': {text}");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_rents_through_its_tools() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let agent = Actor::start(&stage, "agent").await.unwrap();
    let provider = Actor::start(&stage, "provider-cpu").await.unwrap();
    let offer = offer_of(&provider).await;
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("notes.md"), "# Notes\n\nWords to work on. More words.\n").unwrap();
    std::fs::copy(dir.path().join("keys/session.json"), work.join("key.json")).unwrap();
    let (at, inputs) = (agent.data_dir.display().to_string(), work.display().to_string());
    let out = dir.path().join("results").display().to_string();
    let mut client = Client::start(&["mcp", "--data-dir", &at, "--inputs", &inputs, "--out", &out]);

    let listed = client.call("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let mut names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cancel", "market", "quote", "rent", "results", "status", "wallet"]);
    for tool in tools {
        assert!(tool["description"].as_str().is_some_and(|text| text.len() > 20), "{tool:#}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool:#}");
    }
    let rent = tools.iter().find(|tool| tool["name"] == "rent").unwrap();
    for task in ["text_processing", "model_inference"] {
        assert!(rent["inputSchema"].to_string().contains(task), "{rent:#}");
    }
    assert_eq!(rent["inputSchema"]["additionalProperties"], false, "{rent:#}");

    // Plain types: clients turn what people write into them.
    for (field, kind) in [("max_duration_s", "integer"), ("wait_s", "integer")] {
        assert_eq!(rent["inputSchema"]["properties"][field]["type"], kind, "{rent:#}");
    }

    // The agent's own index learns of the offer a little later.
    let market = until("the offer in the market", async || {
        let market = client.tool("market", json!({}));
        (market["classes"][0]["slots_free"] == 2).then_some(market)
    })
    .await;
    assert_eq!(market["classes"][0]["class"], "cpu_only");
    assert!(market["classes"][0]["lowest_reserve_per_hour"].as_str().unwrap().ends_with(" AIT"), "{market:#}");
    let quote =
        client.tool("quote", json!({ "class": "cpu_only", "max_duration_s": 60, "max_price_per_hour": "0.02" }));
    assert!(quote["escrow"].as_str().unwrap().ends_with(" AIT") && quote["available"] == "2 AIT", "{quote:#}");
    client.refused("quote", json!({ "max_price_per_hour": "cheap" }), &["cheap", "AIT"]);
    client.refused("quote", json!({ "class": "cpu_only", "max_price_per_hour": "0.0000001" }), &["below the lowest"]);
    client.refused("quote", json!({ "max_duration_s": 0 }), &["max_duration_s"]);
    let wrong = client.call("tools/call", json!({ "name": "quote", "arguments": { "max_prize": "1" } }));
    assert!(wrong.to_string().contains("max_prize"), "a misspelt limit is not overlooked: {wrong:#}");

    // No key leaves, whatever the tool is told.
    client.refused("rent", json!({ "task": "text_processing", "inputs": ["key.json"] }), &["keystore"]);
    client.refused("rent", json!({ "task": "text_processing", "inputs": ["../keys/session.json"] }), &["outside"]);
    client.refused("rent", json!({ "task": "text_processing", "inputs": ["nowhere.md"] }), &["nowhere.md"]);
    client.refused("rent", json!({ "task": "text_processing" }), &["nothing to work on"]);

    let text = json!([{ "name": "inline.md", "text": "# Inline\n\nA text that came with the call.\n" }]);
    let asked =
        json!({ "task": "text_processing", "inputs": ["notes.md"], "texts": text, "class": "cpu_only", "wait_s": 120 });
    let done = client.tool("rent", asked);
    assert_eq!(done["outcome"]["state"], "finished", "{done:#}");
    assert!(done["rentals"][0]["escrow"].as_str().unwrap().ends_with(" AIT"), "{done:#}");
    let files = done["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["text"].as_str().is_some_and(|text| text.contains("Words"))), "{files:#?}");
    let again = client.tool("results", json!({ "job": done["job"], "wait_s": 10 }));
    assert_eq!(again["files"], done["files"]);
    client.refused("results", json!({ "job": "job-99" }), &["job-99", "keeper status"]);
    client.refused("results", json!({ "job": "99" }), &["job-N"]);

    // Work that nobody takes is called off.
    let asked = json!({ "task": "text_processing", "inputs": ["notes.md"], "class": "premium_gpu" });
    let waiting = client.tool("rent", asked);
    assert!(waiting["next"].as_str().unwrap().contains("results"), "{waiting:#}");
    client.tool("cancel", json!({ "job": waiting["job"] }));
    client.refused("results", json!({ "job": waiting["job"] }), &["called off"]);
    client.refused("cancel", json!({ "job": "job-99" }), &["job-99"]);

    let wallet = client.tool("wallet", json!({}));
    assert_eq!(
        (wallet["daily_limit"].as_str(), wallet["tokens"].as_str().is_some()),
        (Some("2 AIT"), true),
        "{wallet:#}"
    );
    let status = client.tool("status", json!({}));
    assert_eq!(status["jobs"].as_array().unwrap().len(), 2, "{status:#}");
    assert!(offer > 0 && agent.document(Request::Status).await.is_ok());

    // Without its keeper a tool says what to do.
    provider.stop().await;
    agent.stop().await;
    client.refused("status", json!({}), &["no keeper answers", "keeper run"]);
}
