//! `model_inference`: what it judges, against the same networks judged the plain way.

use std::collections::HashMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    bench::{Outcome, Task},
    plain::{self, Row, Tensors},
};

const ROWS: &str = include_str!("../../../../script/samples/source-lines.csv");
const TABLE_WEIGHTS: &[u8] = include_bytes!("../../../../script/samples/source-language.safetensors");
const TABLE: &str = include_str!("../../../../script/samples/source-language.json");
const LINES: &str = include_str!("../../../../script/samples/lines.jsonl");
const TEXT_WEIGHTS: &[u8] = include_bytes!("../../../../script/samples/line-language.safetensors");
const TEXT: &str = include_str!("../../../../script/samples/line-language.json");

/// Numbers from -1 to 1 that only look random.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / (1 << 23) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A network over columns `a`, `b`, … with layers of these sizes, and its tensors.
pub(crate) fn network(columns: usize, sizes: &[usize], activation: &str, output: &str) -> (Value, Tensors) {
    let names: Vec<String> = (0..columns).map(|at| format!("x{at}")).collect();
    let last = sizes.len() - 1;
    let layer = |(at, size): (usize, &usize)| match at == last {
        true => json!({"size": size, "bias": false}),
        false => json!({"name": format!("net.{at}"), "size": size, "activation": activation}),
    };
    let architecture = json!({
        "version": 1, "input": {"table": {"columns": names, "normalise": true}},
        "layers": sizes.iter().enumerate().map(layer).collect::<Vec<_>>(),
        "output": output, "outputs": (0..sizes[last]).map(|at| format!("y{at}")).collect::<Vec<_>>(),
    });
    let mut tensors = Tensors::new();
    let mut add = |name: String, shape: Vec<usize>, values: Vec<f64>| {
        // What a file of F32 keeps.
        let values = values.into_iter().map(|value| f64::from(value as f32)).collect();
        tensors.insert(name, (shape, values));
    };
    add("input.mean".into(), vec![columns], numbers(1, columns));
    add("input.std".into(), vec![columns], numbers(2, columns).iter().map(|value| value.abs() + 0.1).collect());
    let mut before = columns;
    for (at, size) in sizes.iter().enumerate() {
        let name = if at == last { format!("layers.{at}") } else { format!("net.{at}") };
        add(format!("{name}.weight"), vec![*size, before], numbers(3 + at as u64, size * before));
        if at != last {
            add(format!("{name}.bias"), vec![*size], numbers(30 + at as u64, *size));
        }
        before = *size;
    }
    (architecture, tensors)
}

/// A table of these rows, with the header `x0,x1,…`.
pub(crate) fn table(rows: &[Vec<f64>]) -> String {
    let line = |fields: Vec<String>| fields.join(",") + "\n";
    let header = line((0..rows[0].len()).map(|at| format!("x{at}")).collect());
    header + &rows.iter().map(|row| line(row.iter().map(f64::to_string).collect())).collect::<String>()
}

fn judge(weights: &[u8], architecture: &str, rows: (&str, &str), parameters: Value) -> Outcome {
    let inputs = [("m.safetensors", weights), ("m.json", architecture.as_bytes()), (rows.0, rows.1.as_bytes())];
    Task::new("model_inference", &inputs).with("/parameters", parameters).run().succeeded()
}

/// The predictions as records by column.
fn records(outcome: &Outcome, name: &str) -> Vec<HashMap<String, String>> {
    csv::Reader::from_reader(outcome.text(name).as_bytes()).deserialize().map(Result::unwrap).collect()
}

#[track_caller]
fn agree(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} instead of {expected}");
}

#[test]
fn every_activation_and_output_agrees_with_the_plain_way() {
    let rows: Vec<Vec<f64>> = (0..300).map(|row| numbers(100 + row, 5).iter().map(|x| x * 3.0).collect()).collect();
    for (activation, output, dtype) in [
        ("relu", "softmax", "F32"),
        ("gelu", "sigmoid", "F64"),
        ("gelu_tanh", "linear", "F32"),
        ("tanh", "softmax", "F64"),
        ("none", "linear", "F32"),
    ] {
        let (architecture, tensors) = network(5, &[19, 8, 3], activation, output);
        let weights = plain::file(&tensors, dtype);
        let outcome = judge(&weights, &architecture.to_string(), ("rows.csv", &table(&rows)), json!({}));
        assert_eq!(outcome.names(), ["rows.predictions.csv", "rows.summary.json"]);
        let found = records(&outcome, "rows.predictions.csv");
        assert_eq!(found.len(), rows.len());
        for (number, (found, row)) in found.iter().zip(&rows).enumerate() {
            assert_eq!(found["row"], (number + 1).to_string());
            let expected = plain::forward(&architecture, &tensors, &Row::Numbers(row));
            expected.iter().enumerate().for_each(|(at, y)| agree(found[&format!("y{at}")].parse().unwrap(), *y));
            assert_eq!(found.contains_key("class"), output == "softmax");
        }
    }
}

#[test]
fn a_wide_network_agrees_too() {
    let (architecture, tensors) = network(700, &[1_000, 2], "relu", "linear");
    let rows: Vec<Vec<f64>> = (0..3).map(|row| numbers(row + 7, 700)).collect();
    let weights = plain::file(&tensors, "F32");
    let outcome = judge(&weights, &architecture.to_string(), ("rows.csv", &table(&rows)), json!({}));
    for (found, row) in records(&outcome, "rows.predictions.csv").iter().zip(&rows) {
        let expected = plain::forward(&architecture, &tensors, &Row::Numbers(row));
        agree(found["y0"].parse().unwrap(), expected[0]);
        agree(found["y1"].parse().unwrap(), expected[1]);
    }
    assert_eq!(outcome.json("rows.summary.json")["parameters"], 2 * 700 + 700 * 1_000 + 1_000 + 2 * 1_000);
}

#[test]
fn the_sample_knows_languages_by_their_counts() {
    let (architecture, tensors) = (serde_json::from_str(TABLE).unwrap(), plain::tensors(TABLE_WEIGHTS));
    let outcome = judge(TABLE_WEIGHTS, TABLE, ("source-lines.csv", ROWS), json!({"id": "path"}));
    let rows: Vec<HashMap<String, String>> =
        csv::Reader::from_reader(ROWS.as_bytes()).deserialize().map(Result::unwrap).collect();
    let found = records(&outcome, "source-lines.predictions.csv");
    assert_eq!(found.len(), rows.len());
    let mut right = 0;
    for (found, row) in found.iter().zip(&rows) {
        assert_eq!(found["id"], row["path"]);
        let numbers =
            ["lines", "blank_lines", "comment_lines", "bytes"].map(|column| row[column].parse::<f64>().unwrap());
        let expected = plain::forward(&architecture, &tensors, &Row::Numbers(&numbers));
        check_classes(found, &architecture, &expected);
        right += usize::from(found["class"] == row["language"]);
    }
    assert!(right * 10 >= rows.len() * 9, "{right} of {} right", rows.len());
    let summary = outcome.json("source-lines.summary.json");
    assert_eq!((&summary["rows"], &summary["output"]), (&json!(rows.len()), &json!("softmax")));
    assert_eq!(summary["model"], json!(["m.safetensors", "m.json"]));
    let rust = found.iter().filter(|row| row["class"] == "Rust").count();
    assert_eq!((&summary["outputs"][1]["name"], &summary["outputs"][1]["rows"]), (&json!("Rust"), &json!(rust)));
    let mean: f64 = found.iter().map(|row| row["Rust"].parse::<f64>().unwrap()).sum::<f64>() / rows.len() as f64;
    agree(summary["outputs"][1]["mean"].as_f64().unwrap(), mean);
}

/// The outputs are as expected, and the class is the one with the greatest.
fn check_classes(found: &HashMap<String, String>, architecture: &Value, expected: &[f64]) {
    let names: Vec<&str> =
        architecture["outputs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let best = expected.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1)).unwrap().0;
    assert_eq!(found["class"], names[best]);
    names.iter().zip(expected).for_each(|(name, y)| agree(found[*name].parse().unwrap(), *y));
}

#[test]
fn the_sample_knows_languages_by_a_line() {
    let (architecture, tensors) = (serde_json::from_str(TEXT).unwrap(), plain::tensors(TEXT_WEIGHTS));
    let outcome = judge(TEXT_WEIGHTS, TEXT, ("lines.jsonl", LINES), json!({"format": "csv"}));
    let found = records(&outcome, "lines.predictions.csv");
    let rows: Vec<Value> = LINES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), rows.len());
    let mut right = 0;
    for (found, row) in found.iter().zip(&rows) {
        let expected = plain::forward(&architecture, &tensors, &Row::Text(row["line"].as_str().unwrap()));
        check_classes(found, &architecture, &expected);
        right += usize::from(row["language"] == found["class"]);
    }
    assert!(right * 10 >= rows.len() * 8, "{right} of {} right", rows.len());
    assert_eq!(outcome.json("lines.summary.json")["input"], "text");
}

#[test]
fn texts_are_put_in_lower_case_and_their_blanks_joined() {
    let text =
        json!({"column": "t", "ngrams": {"shortest": 1, "longest": 3}, "buckets": 50, "size": 4, "lower_case": true});
    let architecture = json!({
        "version": 1, "input": {"text": text}, "layers": [{"size": 1}], "output": "sigmoid", "outputs": ["yes"],
    });
    let mut tensors = Tensors::new();
    for (name, shape) in
        [("embedding.weight", vec![50, 4]), ("layers.0.weight", vec![1, 4]), ("layers.0.bias", vec![1])]
    {
        let values = numbers(9, shape.iter().product()).iter().map(|value| f64::from(*value as f32 * 9.0)).collect();
        tensors.insert(name.to_owned(), (shape, values));
    }
    let rows = "t;n\n  GRÖSSE\t€ 5  ;1\ngrösse € 5;2\na;3\n";
    let outcome = judge(&plain::file(&tensors, "F32"), &architecture.to_string(), ("t.csv", rows), json!({"id": "n"}));
    let found = records(&outcome, "t.predictions.csv");
    assert_eq!(found[0]["yes"], found[1]["yes"]);
    for (found, text) in found.iter().zip(["GRÖSSE € 5", "grösse € 5", "a"]) {
        agree(found["yes"].parse().unwrap(), plain::forward(&architecture, &tensors, &Row::Text(text))[0]);
    }
    assert_eq!(found[2]["id"], "3");
}

/// A network over 24 columns, so that a sum of products has room for another order.
fn fixed() -> (Vec<u8>, String, String) {
    let (architecture, tensors) = network(24, &[40, 6], "tanh", "softmax");
    let rows: Vec<Vec<f64>> = (0..500).map(|row| numbers(1_000 + row, 24)).collect();
    (plain::file(&tensors, "F32"), architecture.to_string(), table(&rows))
}

#[test]
fn the_same_input_gives_the_same_bytes_on_every_machine() {
    let (weights, architecture, rows) = fixed();
    let task = || {
        let inputs = [("m.safetensors", &weights[..]), ("m.json", architecture.as_bytes()), ("r.csv", rows.as_bytes())];
        Task::new("model_inference", &inputs)
    };
    let first = task().run().succeeded();
    assert_eq!(first.manifest, task().run().succeeded().manifest);
    // The C library chooses its functions by the processor; here it finds a lesser one.
    let tunables = ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX,-FMA4,-SSE4_2,-SSE4_1");
    assert_eq!(first.manifest, task().under(tunables).run().succeeded().manifest);
    // Found once; whatever machine runs this test must find it again.
    let sha256 = hex::encode(Sha256::digest(first.read("r.predictions.csv")));
    assert_eq!(sha256, "8e20e1b7f7b97320131e4be0a453431525a9f7caf802bd9baec946b65115c55c");
}

#[test]
fn a_row_is_judged_alike_in_whatever_batch_it_stands() {
    let (weights, architecture, rows) = fixed();
    let (header, row) = (rows.lines().next().unwrap(), rows.lines().nth(1).unwrap());
    let many = format!("{header}\n{}", format!("{row}\n").repeat(700));
    let outcome = judge(&weights, &architecture, ("r.csv", &many), json!({}));
    let found = records(&outcome, "r.predictions.csv");
    let alone = judge(&weights, &architecture, ("r.csv", &format!("{header}\n{row}\n")), json!({}));
    let alone = records(&alone, "r.predictions.csv").remove(0);
    assert_eq!(found.len(), 700);
    assert!(found.iter().all(|row| (0..6).all(|at| row[&format!("y{at}")] == alone[&format!("y{at}")])));
}

#[test]
fn one_model_judges_several_files_of_several_kinds() {
    let (architecture, tensors) = network(2, &[3, 1], "relu", "linear");
    let inputs: [(&str, &[u8]); 4] = [
        ("a.CSV", b"x1;note;x0\n1,5;fine;-2\n"),
        ("net.safetensors", &plain::file(&tensors, "F32")),
        ("b.jsonl", b"{\"x0\": -2, \"x1\": 1.5, \"key\": 7}\n\n{\"x1\": 1.5e0, \"x0\": -2.0, \"key\": \"k\"}"),
        ("c.tsv", b"x0\tx1\n-2\t1.5\n"),
    ];
    let task = Task::new("model_inference", &inputs);
    let outcome = task.with("/parameters", json!({"model": architecture})).run().succeeded();
    let names = ["a.predictions.csv", "a.summary.json", "b.predictions.jsonl", "b.summary.json", "c.predictions.csv"];
    assert_eq!(outcome.names()[..5], names);
    let expected = plain::forward(&architecture, &tensors, &Row::Numbers(&[-2.0, 1.5]))[0];
    let lines: Vec<Value> =
        outcome.text("b.predictions.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["row"], 2);
    lines.iter().for_each(|line| agree(line["outputs"]["y0"].as_f64().unwrap(), expected));
    for file in ["a.predictions.csv", "c.predictions.csv"] {
        agree(records(&outcome, file)[0]["y0"].parse().unwrap(), expected);
    }
    assert_eq!(outcome.json("a.summary.json")["outputs"][0].get("rows"), None);

    let inputs = [inputs[1], inputs[2]];
    let task = Task::new("model_inference", &inputs);
    let outcome = task.with("/parameters", json!({"model": architecture, "id": "key"})).run().succeeded();
    let text = outcome.text("b.predictions.jsonl");
    let ids: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, [json!("7"), json!("k")]);
}

#[test]
fn memory_does_not_grow_with_the_rows() {
    let (architecture, tensors) = network(2, &[2, 3], "relu", "sigmoid");
    let rows = format!("x0,x1\n{}", "0.25,-1.75\n".repeat(1_500_000));
    let (weights, architecture) = (plain::file(&tensors, "F32"), architecture.to_string());
    let inputs: [(&str, &[u8]); 3] =
        [("m.safetensors", &weights), ("m.json", architecture.as_bytes()), ("r.csv", rows.as_bytes())];
    let outcome = Task::new("model_inference", &inputs).within_mib(40).run().succeeded();
    assert!(outcome.read("r.predictions.csv").len() > 40 << 20);
    let summary = outcome.json("r.summary.json");
    assert_eq!(summary["rows"], 1_500_000);
    assert!(summary["outputs"].as_array().unwrap().iter().all(|output| output["min"] == output["max"]));
}
