//! A network judged the plain way: loops in 64 bits and the standard library's functions, no crate that the worker uses
//! for it; and files of weights, written byte by byte.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Shape and numbers.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// What a model sees of a row.
pub(crate) enum Row<'a> {
    Numbers(&'a [f64]),
    Text(&'a str),
}

/// A file of weights; numbers are stored as `dtype`, F32 or F64.
pub(crate) fn file(tensors: &Tensors, dtype: &str) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        for value in values {
            match dtype {
                "F32" => data.extend((*value as f32).to_le_bytes()),
                "F64" => data.extend(value.to_le_bytes()),
                other => panic!("{other}"),
            }
        }
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    raw_file(&Value::Object(header).to_string(), &data)
}

/// A file with this header, whatever it says.
pub(crate) fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
}

/// Reads a file of weights; F16 and F32 alone.
pub(crate) fn tensors(file: &[u8]) -> Tensors {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let data = &file[8 + length..];
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let tensor = |about: &Value| {
        let shape = about["shape"].as_array().unwrap().iter().map(number).collect();
        let bytes = &data[number(&about["data_offsets"][0])..number(&about["data_offsets"][1])];
        let values = match about["dtype"].as_str().unwrap() {
            "F16" => bytes.chunks_exact(2).map(|two| half(u16::from_le_bytes([two[0], two[1]]))).collect(),
            "F32" => bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()).into()).collect(),
            other => panic!("{other}"),
        };
        (shape, values)
    };
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, about)| (name.clone(), tensor(about)))
        .collect()
}

/// A finite number of 16 bits.
fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff) / 1024.0);
    let size = if exponent == 0 { fraction * 2_f64.powi(-14) } else { (1.0 + fraction) * 2_f64.powi(exponent - 15) };
    if sign == 1 { -size } else { size }
}

/// The outputs for one row.
pub(crate) fn forward(architecture: &Value, tensors: &Tensors, row: &Row<'_>) -> Vec<f64> {
    let mut values = match row {
        Row::Numbers(numbers) if architecture["input"]["table"]["normalise"] == true => {
            let (mean, std) = (&tensors["input.mean"].1, &tensors["input.std"].1);
            (0..numbers.len()).map(|at| (numbers[at] - mean[at]) / std[at]).collect()
        }
        Row::Numbers(numbers) => numbers.to_vec(),
        Row::Text(text) => {
            let about = &architecture["input"]["text"];
            let number = |value: &Value| value.as_u64().unwrap() as usize;
            let size = number(&about["size"]);
            let lengths = &about["ngrams"];
            let (shortest, longest) = (number(&lengths["shortest"]), number(&lengths["longest"]));
            let buckets = ngrams(text, shortest, longest, about["lower_case"] == true, number(&about["buckets"]));
            let embedding = &tensors["embedding.weight"].1;
            let mean = |at: usize| {
                buckets.iter().map(|bucket| embedding[bucket * size + at]).sum::<f64>() / buckets.len().max(1) as f64
            };
            (0..size).map(mean).collect()
        }
    };
    for (index, layer) in architecture["layers"].as_array().unwrap().iter().enumerate() {
        let name = layer["name"].as_str().map_or_else(|| format!("layers.{index}"), str::to_owned);
        let (shape, weights) = &tensors[&format!("{name}.weight")];
        let bias = tensors.get(&format!("{name}.bias")).map(|(_, values)| values);
        let neuron = |neuron: usize| {
            let weights = &weights[neuron * shape[1]..][..shape[1]];
            let sum: f64 = weights.iter().zip(&values).map(|(weight, value)| weight * value).sum();
            activated(layer["activation"].as_str().unwrap_or("none"), sum + bias.map_or(0.0, |bias| bias[neuron]))
        };
        values = (0..shape[0]).map(neuron).collect();
    }
    match architecture["output"].as_str().unwrap() {
        "softmax" => {
            let total: f64 = values.iter().map(|value| value.exp()).sum();
            values.iter().map(|value| value.exp() / total).collect()
        }
        "sigmoid" => values.iter().map(|value| 1.0 / (1.0 + (-value).exp())).collect(),
        "linear" => values,
        other => panic!("{other}"),
    }
}

fn activated(activation: &str, value: f64) -> f64 {
    match activation {
        "none" => value,
        "relu" => value.max(0.0),
        "tanh" => value.tanh(),
        "gelu" => value * normal_share_below(value),
        "gelu_tanh" => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (value + 0.044715 * value.powi(3));
            0.5 * value * (1.0 + inner.tanh())
        }
        other => panic!("{other}"),
    }
}

/// The normal distribution's share below `value`, by Simpson's rule.
fn normal_share_below(value: f64) -> f64 {
    const STEPS: usize = 2_000;
    let step = value / STEPS as f64;
    let density = |at: f64| (-at * at / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let weight = |index: usize| match index {
        0 | STEPS => 1.0,
        index => [2.0, 4.0][index % 2],
    };
    0.5 + (0..=STEPS).map(|index| weight(index) * density(step * index as f64)).sum::<f64>() * step / 3.0
}

/// The buckets of a text's n-grams, in no particular order.
pub(crate) fn ngrams(text: &str, shortest: usize, longest: usize, lower_case: bool, buckets: usize) -> Vec<usize> {
    let text = if lower_case { text.to_lowercase() } else { text.to_owned() };
    let text = format!(" {} ", text.split_whitespace().collect::<Vec<_>>().join(" "));
    let characters: Vec<char> = text.chars().collect();
    let windows = (shortest..=longest).flat_map(|length| characters.windows(length));
    let hash = |ngram: &[char]| {
        let mut hash = 14_695_981_039_346_656_037_u64;
        for byte in ngram.iter().collect::<String>().bytes() {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(1_099_511_628_211);
        }
        (hash % buckets as u64) as usize
    };
    windows.map(hash).collect()
}
