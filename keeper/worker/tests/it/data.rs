//! `data_analysis` on tables written here.

use serde_json::{Value, json};

use crate::bench::{Outcome, Task};

fn profile(name: &str, content: &[u8]) -> (Outcome, Value) {
    let outcome = Task::new("data_analysis", &[(name, content)]).run().succeeded();
    let stem = name.split('.').next().unwrap();
    let json = outcome.json(&format!("{stem}.profile.json"));
    (outcome, json)
}

#[test]
fn a_table_is_profiled_column_by_column() {
    let csv = "class,price,since,note\ncpu_only,0.01,2024-01-05,\nlow_end_gpu,0.03,2024-02-01,\"shared, slow\"\n\
               cpu_only,0.02,2023-12-31,NA\n";
    let (outcome, got) = profile("prices.csv", csv.as_bytes());
    assert_eq!(outcome.names(), ["prices.profile.json", "prices.profile.md"]);
    assert_eq!((&got["rows"], &got["column_count"], &got["delimiter"]), (&json!(3), &json!(4), &json!(",")));
    let columns = got["columns"].as_array().unwrap();
    assert_eq!(columns[0]["type"], "text");
    assert_eq!(columns[0]["top_values"][0], json!({"value": "cpu_only", "count": 2}));
    assert_eq!(columns[1]["type"], "decimal");
    assert_eq!((&columns[1]["numbers"]["mean"], &columns[1]["numbers"]["max"]), (&json!(0.02), &json!(0.03)));
    assert_eq!(columns[1]["numbers"]["stddev"], 0.01);
    assert_eq!(columns[2]["period"], json!({"first": "2023-12-31", "last": "2024-02-01"}));
    assert_eq!((&columns[3]["count"], &columns[3]["missing"]), (&json!(1), &json!(2)));
    let report = outcome.text("prices.profile.md");
    assert!(report.contains("| price | decimal | 3 | 0 | 3 | 0.01 | 0.02 | 0.03 | 0.02 | 0.01 |"), "{report}");
}

#[test]
fn every_delimiter_is_found() {
    for delimiter in [',', ';', '\t', '|'] {
        let table = "x,y,z\n1,2,a\n3,4,b\n".replace(',', &delimiter.to_string());
        let (_, got) = profile("t.csv", table.as_bytes());
        assert_eq!((&got["delimiter"], &got["column_count"], &got["rows"]), (&json!(delimiter), &json!(3), &json!(2)));
    }
}

#[test]
fn decimal_commas_and_utf16_of_a_spreadsheet_are_understood() {
    let text = "\u{feff}Größe;Preis\nklein;1,50\ngroß;1.234,50\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (_, got) = profile("export.csv", &bytes);
    assert_eq!(got["columns"][0]["name"], "Größe");
    assert_eq!(got["columns"][1]["numbers"]["max"], 1234.5);
    assert!(got["encoding_note"].as_str().unwrap().contains("UTF-16"));
}

#[test]
fn ragged_rows_are_counted_and_named() {
    let (outcome, got) = profile("ragged.csv", b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n");
    assert_eq!(got["ragged"], json!({"short_rows": 1, "long_rows": 1, "first_lines": [3, 4]}));
    assert_eq!((&got["rows"], &got["columns"][2]["missing"]), (&json!(4), &json!(1)));
    assert!(outcome.text("ragged.profile.md").contains("**Ragged:**"));
}

#[test]
fn a_table_without_header_gets_numbered_columns() {
    let (_, got) = profile("raw.csv", b"1,2\n3,4\n");
    assert_eq!(
        (&got["header"], &got["rows"], &got["columns"][1]["name"]),
        (&json!(false), &json!(2), &json!("column_2"))
    );
    let forced = Task::new("data_analysis", &[("raw.csv", b"1,2\n3,4\n".as_slice())]);
    let outcome = forced.with("/parameters", json!({"header": true, "delimiter": ","})).run().succeeded();
    assert_eq!(outcome.json("raw.profile.json")["columns"][1]["name"], "2");
}

#[test]
fn a_header_alone_is_a_table_without_rows() {
    let (_, got) = profile("empty.csv", b"a,b\n");
    assert_eq!((&got["rows"], &got["columns"][0]["type"]), (&json!(0), &json!("empty")));
}

#[test]
fn a_large_table_streams() {
    let mut csv = String::from("id,value\n");
    (0..200_000).for_each(|n| csv.push_str(&format!("{n},{}\n", n % 1000)));
    let (_, got) = profile("large.csv", csv.as_bytes());
    assert_eq!(got["rows"], 200_000);
    assert_eq!((&got["columns"][0]["distinct"], &got["columns"][0]["distinct_exact"]), (&json!(10_001), &json!(false)));
    assert_eq!((&got["columns"][1]["distinct"], &got["columns"][1]["distinct_exact"]), (&json!(1000), &json!(true)));
    assert_eq!(got["columns"][1]["numbers"]["mean"], 499.5);
    assert_eq!(got["columns"][1]["numbers"]["quartiles_exact"], false);
}

#[test]
fn tables_that_are_none_are_refused() {
    let run = |content: &[u8]| Task::new("data_analysis", &[("t.csv", content)]).run();
    run(b"PK\x03\x04\0\0").failed(65, "t.csv: holds NUL bytes");
    run(b"\n\n").failed(65, "t.csv: holds no rows");
    let unclosed = [b"a,b\n1,\"".as_slice(), &vec![b'x'; 6 << 20]].concat();
    run(&unclosed).failed(65, "a quote is opened and never closed");
    run("x,".repeat(1500).as_bytes()).failed(65, "has 1501 columns");
}
