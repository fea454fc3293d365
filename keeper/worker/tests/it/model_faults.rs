//! `model_inference`: what is refused, and attacks on the file of weights.

use serde_json::{Value, json};

use crate::{
    bench::{Outcome, Task},
    model::{network, table},
    plain::{self, Tensors},
};

/// What hostile files may make the worker take.
const MIB: u64 = 256;

fn good() -> (Value, Tensors) {
    network(2, &[3, 2], "relu", "softmax")
}

fn weights() -> Vec<u8> {
    plain::file(&good().1, "F32")
}

fn run(inputs: &[(&str, &[u8])]) -> Outcome {
    Task::new("model_inference", inputs).within_mib(MIB).run()
}

fn with_weights(weights: &[u8]) -> Outcome {
    with(weights, &good().0, ("r.csv", "x0,x1\n1,2\n"))
}

fn with_rows(name: &str, rows: &str) -> Outcome {
    with(&weights(), &good().0, (name, rows))
}

fn with(weights: &[u8], architecture: &Value, rows: (&str, &str)) -> Outcome {
    let architecture = architecture.to_string();
    run(&[("m.safetensors", weights), ("m.json", architecture.as_bytes()), (rows.0, rows.1.as_bytes())])
}

#[test]
fn files_that_do_not_make_a_task_are_named() {
    let (architecture, weights) = (good().0.to_string(), weights());
    let model: (&str, &[u8]) = ("m.safetensors", &weights);
    let about: (&str, &[u8]) = ("m.json", architecture.as_bytes());
    let rows: (&str, &[u8]) = ("r.csv", b"x0,x1\n1,2\n");
    run(&[about, rows]).failed(64, "needs the weights as an input *.safetensors");
    run(&[model, rows]).failed(64, "needs the architecture as an input *.json or as parameter model");
    run(&[model, about]).failed(64, "needs rows to judge");
    let other = [weights.as_slice(), b" "].concat();
    run(&[model, about, rows, ("n.SafeTensors", &other)])
        .failed(64, "\"m.safetensors\" and \"n.SafeTensors\" are both");
    run(&[model, about, rows, ("n.json", b"{}")]).failed(64, "\"m.json\" and \"n.json\" are both architectures");
    run(&[model, about, rows, ("notes.txt", b"?")]).failed(64, "input \"notes.txt\" is neither weights");
    run(&[model, about, rows, ("noname", b"?")]).failed(64, "input \"noname\" is neither weights");
    let check = |inputs: &[(&str, &[u8])], parameters: Value, words: &str| {
        Task::new("model_inference", inputs).with("/parameters", parameters).run().failed(64, words);
    };
    check(&[model, about, rows], json!({"model": good().0}), "the architecture is given twice");
    check(&[model, rows], json!({"model": {"version": 1}}), "parameter model: is not an architecture: missing field");
    check(&[model, about, rows], json!({"delimiter": "x"}), "parameter delimiter is 'x'");
    check(&[model, about, rows], json!({"format": "xlsx"}), "unknown variant `xlsx`");
    check(&[model, about, rows], json!({"batch": 1}), "unknown field `batch`");
    run(&[("m.safetensors", b""), about, rows]).failed(65, "m.safetensors: is not a safetensors file");
    run(&[model, ("m.json", b""), rows]).failed(65, "m.json: is not an architecture: EOF");
    run(&[model, about, ("r.csv", b"")]).failed(65, "r.csv: is empty");
}

#[test]
fn architectures_out_of_bounds_are_refused() {
    let check = |pointer: &str, value: Value, words: &str| {
        let mut architecture = good().0;
        *architecture.pointer_mut(pointer).unwrap() = value;
        let outcome = with(&weights(), &architecture, ("r.csv", "x0,x1\n1,2\n")).failed(65, words);
        assert_eq!(outcome.names(), ["error.json"]);
        assert_eq!(outcome.json("error.json")["inputs"], json!(["m.json"]));
    };
    check("/version", json!(2), "has version 2; this worker reads version 1");
    check("/input", json!({"picture": {}}), "unknown variant `picture`, expected `table` or `text`");
    check("/input/table/columns", json!([]), "has 0 input columns");
    check("/input/table/columns", json!(vec!["x"; 4_097]), "has 4097 input columns");
    check("/input/table/columns", json!(["x", "x"]), "column name \"x\" is there twice");
    check("/input/table/columns", json!([""]), "column name \"\" has 0 bytes");
    check("/layers", json!([]), "has 0 layers");
    check("/layers", json!(vec![json!({"size": 2}); 65]), "has 65 layers");
    check("/layers/0/size", json!(0), "layer 0 has size 0");
    check("/layers/0/size", json!(u64::MAX), "layer 0 has size 18446744073709551615");
    check("/layers/0/size", json!(-1), "is not an architecture: invalid value");
    check("/layers/0/activation", json!("swish"), "unknown variant `swish`");
    check("/layers/1", json!({"name": "net.0", "size": 2}), "layer name \"net.0\" is there twice");
    check("/layers/1/size", json!(3), "names 2 outputs, but the last layer has size 3");
    check("/outputs", json!(["row", "b"]), "output name \"row\" is a column of all predictions");
    check("/output", json!("argmax"), "unknown variant `argmax`");
    let big = json!([{"size": 16_384}, {"size": 16_384}, {"size": 2}]);
    check("/layers", big, "parameters; this worker takes at most 16777216");
    let text = |lengths: [usize; 2], buckets: u64, size: u64| {
        let ngrams = json!({"shortest": lengths[0], "longest": lengths[1]});
        json!({"text": {"column": "t", "ngrams": ngrams, "buckets": buckets, "size": size}})
    };
    check("/input", text([0, 2], 9, 9), "has n-grams of 0 to 2");
    check("/input", text([3, 2], 9, 9), "has n-grams of 3 to 2");
    check("/input", text([1, 9], 9, 9), "has n-grams of 1 to 9");
    check("/input", text([1, 2], 1 << 21, 9), "has 2097152 buckets");
    check("/input", text([1, 2], 9, 1 << 60), "embeddings of size 1152921504606846976");
    check("/input", text([1, 2], 1 << 20, 1 << 14), "parameters; this worker takes at most");
    let single = json!({
        "version": 1, "input": {"table": {"columns": ["x"]}}, "layers": [{"size": 1}], "output": "softmax", "outputs": ["y"],
    });
    check("", single, "output softmax needs at least 2 outputs");
    check("", json!([]), "is not an architecture");
    let nested = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    run(&[("m.safetensors", &weights()), ("m.json", nested.as_bytes()), ("r.csv", b"x0,x1\n1,2\n")])
        .failed(65, "m.json: is not an architecture");
    run(&[("m.safetensors", &weights()), ("m.json", &vec![b' '; 300 << 10]), ("r.csv", b"x0,x1\n1,2\n")])
        .failed(65, "m.json: has 307200 bytes; an architecture has at most 262144");
}

#[test]
fn a_tensor_that_does_not_fit_is_named_with_what_was_expected() {
    let check = |change: &dyn Fn(&mut Tensors), dtype: &str, words: &str| {
        let mut tensors = good().1;
        change(&mut tensors);
        let outcome = with_weights(&plain::file(&tensors, dtype)).failed(65, words);
        assert_eq!(outcome.json("error.json")["inputs"], json!(["m.safetensors"]));
    };
    let missing = |tensors: &mut Tensors| drop(tensors.remove("net.0.bias"));
    check(
        &missing,
        "F32",
        "tensor \"net.0.bias\" is missing; the architecture expects it as F16, BF16, F32 or F64 of shape [3]",
    );
    check(&missing, "F32", "Not used yet are: \"layers.1.weight\"");
    let turned = |tensors: &mut Tensors| tensors.get_mut("net.0.weight").unwrap().0 = vec![2, 3];
    check(&turned, "F32", "tensor \"net.0.weight\" has shape [2, 3]; the architecture expects [3, 2]");
    let flat = |tensors: &mut Tensors| tensors.get_mut("net.0.weight").unwrap().0 = vec![6];
    check(&flat, "F32", "tensor \"net.0.weight\" has shape [6]; the architecture expects [3, 2]");
    let surplus = |tensors: &mut Tensors| drop(tensors.insert("net.9.weight".into(), (vec![1], vec![0.0])));
    check(&surplus, "F32", "tensor \"net.9.weight\" is not in the architecture (1 such)");
    let set = |name: &'static str, at: usize, value: f64| {
        move |tensors: &mut Tensors| tensors.get_mut(name).unwrap().1[at] = value
    };
    check(&set("net.0.weight", 3, f64::NAN), "F32", "tensor \"net.0.weight\" holds NaN at [1, 1]; finite numbers");
    check(&set("net.0.bias", 2, f64::NEG_INFINITY), "F64", "tensor \"net.0.bias\" holds -inf at [2]");
    check(&set("net.0.bias", 0, 1e300), "F64", "tensor \"net.0.bias\" holds inf at [0]");
    check(&set("input.std", 1, 0.0), "F32", "tensor \"input.std\" holds 0 at [1]; a number above 0");
    let file = weights();
    let (header, data) = file[8..].split_at(u64::from_le_bytes(file[..8].try_into().unwrap()) as usize);
    let header = String::from_utf8(header.to_vec()).unwrap();
    with_weights(&plain::raw_file(&header.replace("F32", "I32"), data))
        .failed(65, "is of type I32; F16, BF16, F32 or F64 is expected");
}

#[test]
fn hostile_headers_are_refused_in_little_memory() {
    let check = |file: &[u8], words: &str| {
        with_weights(file).failed(65, &format!("m.safetensors: {words}"));
    };
    let claims = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    check(b"short", "is not a safetensors file: it is shorter");
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 100_000_000, 3] {
        check(
            &claims(length),
            &format!("is not a safetensors file that this worker reads: its header claims {length}"),
        );
    }
    check(&plain::raw_file(&" ".repeat((1 << 20) + 1), b""), "is not a safetensors file that this worker reads");
    let raw = |header: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header, &[0; 64]].concat();
    check(&raw(b"\xff\xfe{}"), "is not a safetensors file");
    check(&raw(b""), "is not a safetensors file");
    check(&raw(b"null"), "is not a safetensors file");
    check(&raw("[".repeat(1 << 20).as_bytes()), "is not a safetensors file");
    check(&raw("{\"a\":".repeat(200_000).as_bytes()), "is not a safetensors file");
    let one = |dtype: &str, shape: Value, offsets: Value| {
        json!({"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).to_string()
    };
    let huge = 1_u64 << 62;
    for header in [
        one("F32", json!([16]), json!([0, 128])),
        one("F32", json!([16]), json!([4, 68])),
        one("F32", json!([16]), json!([64, 0])),
        one("F32", json!([16]), json!([-1, 64])),
        one("F32", json!([16]), json!([0, u64::MAX])),
        one("F32", json!([16]), json!([u64::MAX - 63, u64::MAX])),
        one("F32", json!([huge, huge]), json!([0, 64])),
        one("F32", json!([huge]), json!([0, 64])),
        one("F32", json!([-4]), json!([0, 64])),
        one("F4", json!([1]), json!([0, 64])),
        one("Q9", json!([16]), json!([0, 64])),
        one("F32", json!([8]), json!([0, 32])),
    ] {
        check(&plain::raw_file(&header, &[0; 64]), "is not a safetensors file");
    }
    // Two tensors over the same bytes, and two with a gap between them.
    for second in [[32, 96], [64, 128]] {
        let header = json!({
            "a": {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]},
            "b": {"dtype": "F32", "shape": [16], "data_offsets": second},
        });
        check(&plain::raw_file(&header.to_string(), &vec![0; second[1]]), "is not a safetensors file");
    }
    // Consistent, but without a byte of data.
    let empty = json!({"net.0.weight": {"dtype": "F32", "shape": [0, huge], "data_offsets": [0, 0]}});
    check(&plain::raw_file(&empty.to_string(), b""), "tensor \"input.mean\" is missing");
    let many: serde_json::Map<String, Value> =
        (0..16_000).map(|at| (format!("{at}"), json!({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}))).collect();
    check(&plain::raw_file(&Value::Object(many).to_string(), b""), "tensor \"input.mean\" is missing");
    check(&vec![0; (64 << 20) + 1], "has 65 MiB; model_inference takes at most 64 MiB of weights");
}

#[test]
fn whatever_byte_of_the_header_is_changed_it_is_judged_or_refused() {
    let file = weights();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut refused = 0;
    for at in 0..header {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let outcome = with_weights(&changed);
        assert!([0, 65].contains(&outcome.code), "byte {at}: {}", outcome.log);
        refused += usize::from(outcome.code == 65);
    }
    // All but changes of white space or of an unread value make another file of it.
    assert!(refused * 10 > header * 9, "{refused} of {header} refused");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = weights();
    for length in (1..file.len()).step_by(7) {
        with_weights(&file[..length]).failed(65, "m.safetensors: ");
    }
}

#[test]
fn rows_that_cannot_be_judged_are_named() {
    let csv = |rows: &str, words: &str| {
        let outcome = with_rows("r.csv", rows).failed(65, &format!("r.csv: {words}"));
        assert_eq!(outcome.names(), ["error.json"]);
    };
    for (value, found) in [
        ("nan", "missing (nan)"),
        ("inf", "\"inf\""),
        ("-Infinity", "\"-Infinity\""),
        ("", "empty"),
        ("1e999", "\"1e999\""),
        ("0x10", "\"0x10\""),
        ("true", "\"true\""),
        ("2024-01-02", "\"2024-01-02\""),
    ] {
        let words = format!("1 row cannot be judged: row 2: column \"x0\" is {found}; a finite number is needed");
        csv(&format!("x0,x1\n1,2\n{value},2\n1,2\n"), &words);
    }
    csv("x0,x1\n1\n", "1 row cannot be judged: row 1: has 1 fields; the header names 2");
    csv("x0,x1\n1,2\n1,2,3\n?,1\n", "2 rows cannot be judged: row 2: has 3 fields; the header names 2; row 3: column");
    csv(&format!("x0,x1\n{}", "a,b\n".repeat(1_000)), "5 or more rows cannot be judged: row 1: column \"x0\" is \"a\"");
    csv("x0,x2\n1,2\n", "has no column \"x1\"; its first row names \"x0\", \"x2\"");
    csv("x0,x1,x0\n1,2,3\n", "has two columns \"x0\"");
    csv("x0,x1\n", "holds no rows");
    csv(&format!("x0,x1\n1,\"{}", "x".repeat(6 << 20)), "has a row of more than 4 MiB");
    csv("x0,x1\n1,\0\n", "holds NUL bytes");
    let jsonl = |rows: &str, words: &str| {
        with_rows("r.jsonl", rows).failed(65, &format!("r.jsonl: {words}"));
    };
    jsonl("{\"x0\": 1, \"x1\": 2}\n{\"x0\": 1}\n", "1 row cannot be judged: row 2: column \"x1\" is missing");
    jsonl("{\"x0\": \"1\", \"x1\": 2}\n", "1 row cannot be judged: row 1: column \"x0\" is \"1\"; a finite number");
    jsonl("{\"x0\": NaN, \"x1\": 2}\n", "1 row cannot be judged: row 1: is no JSON object");
    // Whether the number is refused when it is read or when it is judged is the parser's affair.
    jsonl("{\"x0\": 1e999, \"x1\": 2}\n", "1 row cannot be judged: row 1: ");
    jsonl("[1, 2]\n", "1 row cannot be judged: row 1: is no JSON object");
    jsonl(" \n\n", "holds no rows");
    jsonl(&"[".repeat(1 << 20), "1 row cannot be judged: row 1: is no JSON object");
    jsonl(&"[".repeat((1 << 20) + 1), "row 1: is longer than 1 MiB");
    let with_id = |name: &str, rows: &str, words: &str| {
        let (weights, architecture) = (weights(), good().0.to_string());
        let inputs: [(&str, &[u8]); 3] =
            [("m.safetensors", &weights), ("m.json", architecture.as_bytes()), (name, rows.as_bytes())];
        Task::new("model_inference", &inputs).with("/parameters", json!({"id": "key"})).run().failed(65, words);
    };
    with_id("r.csv", "x0,x1\n1,2\n", "has no column \"key\"");
    with_id("r.jsonl", "{\"x0\": 1, \"x1\": 2}\n", "row 1: id column \"key\" is missing");
}

#[test]
fn texts_that_cannot_be_judged_are_named() {
    let text = json!({"column": "t", "ngrams": {"shortest": 2, "longest": 3}, "buckets": 5, "size": 2});
    let architecture = json!({
        "version": 1, "input": {"text": text}, "layers": [{"size": 1, "bias": false}], "output": "linear", "outputs": ["y"],
    });
    let tensors: Tensors = [("embedding.weight", vec![5, 2]), ("layers.0.weight", vec![1, 2])]
        .map(|(name, shape)| (name.to_owned(), (shape.clone(), vec![0.5; shape.iter().product()])))
        .into();
    let check = |name: &str, rows: &str, words: &str| {
        with(&plain::file(&tensors, "F32"), &architecture, (name, rows)).failed(65, words);
    };
    check("r.csv", "t,n\nfine,1\n  ,2\n", "row 2: column \"t\" is empty: there is nothing to judge");
    check(
        "r.jsonl",
        "{\"t\": 5}\n{}\n",
        "2 rows cannot be judged: row 1: column \"t\" is 5; a text is needed; row 2: column",
    );
}

#[test]
fn outputs_that_are_no_finite_number_are_refused_by_row() {
    let (mut architecture, mut tensors) = network(2, &[3, 2], "relu", "linear");
    architecture["input"]["table"]["normalise"] = json!(false);
    tensors.retain(|name, _| !name.starts_with("input."));
    tensors.values_mut().for_each(|(_, values)| values.fill(3e38));
    let rows = table(&[vec![0.0, -1e20], vec![1e20, 1.0], vec![0.0, -1e20], vec![1e308, 1e308]]);
    let outcome = with(&plain::file(&tensors, "F32"), &architecture, ("r.csv", &rows));
    let outcome = outcome.failed(65, "2 rows cannot be judged: row 2: output \"y0\" is inf");
    assert_eq!(outcome.names(), ["error.json"]);
}

#[test]
fn a_broken_file_of_rows_does_not_take_the_others_with_it() {
    let architecture = good().0.to_string();
    let inputs: [(&str, &[u8]); 4] = [
        ("m.safetensors", &weights()),
        ("m.json", architecture.as_bytes()),
        ("bad.csv", b"x0,x1\n1,nan\n"),
        ("good.csv", b"x0,x1\n1,2\n"),
    ];
    let outcome = run(&inputs).failed(65, "1 of 2 inputs could not be processed: bad.csv: 1 row cannot be judged");
    assert_eq!(outcome.names(), ["error.json", "good.predictions.csv", "good.summary.json"]);
    assert_eq!(outcome.json("error.json")["inputs"], json!(["bad.csv"]));
}
