//! Trains the sample models of `script/samples` on this repository's own files: `script/samples/make model`.
//!
//! - `source-language`: the language of a source file, judged by the counts in `source-lines.csv`.
//! - `line-language`: the language of a line, judged by its n-grams; `lines.jsonl` holds lines it was not trained on.
//!
//! The order of files, lines and first weights is fixed; candle's products still differ in the last digits between
//! processors, so the models made elsewhere are equal in use, not in every byte.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{collections::HashMap, fs, path::Path};

use candle_core::{D, DType, Device, Tensor, Var, safetensors};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss::cross_entropy};
use serde_json::{Value, json};

#[path = "../tests/it/plain.rs"]
#[allow(dead_code)]
mod plain;

type Answer<T> = Result<T, Box<dyn std::error::Error>>;

const LANGUAGES: [&str; 5] = ["Markdown", "Rust", "Script", "Solidity", "TOML"];
const COLUMNS: [&str; 4] = ["lines", "blank_lines", "comment_lines", "bytes"];

/// Lines of each language, at most; one of so many is held out, and so many of those are the sample.
const LINES: usize = 1_500;
const HELD_OUT: usize = 10;
const SAMPLE_LINES: usize = 40;

fn main() -> Answer<()> {
    let folder = std::env::args().nth(1).ok_or("give the folder for the models, such as script/samples")?;
    let folder = Path::new(&folder);
    table(folder)?;
    text(folder)
}

/// Examples, one a row, and the number of each one's language.
struct Examples {
    inputs: Vec<f32>,
    languages: Vec<u32>,
}

impl Examples {
    fn tensors(&self) -> Answer<(Tensor, Tensor)> {
        let rows = self.languages.len();
        let inputs = Tensor::from_slice(&self.inputs, (rows, self.inputs.len() / rows), &Device::Cpu)?;
        Ok((inputs, Tensor::from_slice(&self.languages, rows, &Device::Cpu)?))
    }
}

fn language(name: &str) -> Option<u32> {
    LANGUAGES.iter().position(|language| *language == name).map(|at| at as u32)
}

fn table(folder: &Path) -> Answer<()> {
    let mut examples = Examples { inputs: Vec::new(), languages: Vec::new() };
    let mut rows = csv::Reader::from_path(folder.join("source-lines.csv"))?;
    for row in rows.deserialize() {
        let row: HashMap<String, String> = row?;
        examples.languages.push(language(&row["language"]).ok_or_else(|| format!("{row:?} is of no known language"))?);
        for column in COLUMNS {
            examples.inputs.push(row[column].parse()?);
        }
    }
    let (inputs, languages) = examples.tensors()?;
    let mean = inputs.mean(0)?;
    let std = inputs.broadcast_sub(&mean)?.sqr()?.mean(0)?.sqrt()?;
    let inputs = inputs.broadcast_sub(&mean)?.broadcast_div(&std)?;
    let mut random = Random(1);
    let sizes = [(16, COLUMNS.len()), (LANGUAGES.len(), 16)];
    let vars = sizes.map(|(size, before)| (random.var(&[size, before], before), random.var(&[size], before)));
    let all = vars.iter().flat_map(|(weights, bias)| [weights.clone(), bias.clone()]).collect();
    train("source-language", all, 3_000, &languages, || {
        let hidden = inputs.matmul(&vars[0].0.t()?)?.broadcast_add(&vars[0].1)?.gelu_erf()?;
        hidden.matmul(&vars[1].0.t()?)?.broadcast_add(&vars[1].1)
    })?;
    let mut tensors = HashMap::from([("input.mean".to_owned(), mean), ("input.std".to_owned(), std)]);
    for (name, (weights, bias)) in ["0", "2"].into_iter().zip(&vars) {
        tensors.insert(format!("{name}.weight"), weights.as_detached_tensor());
        tensors.insert(format!("{name}.bias"), bias.as_detached_tensor());
    }
    let architecture = json!({
        "version": 1, "input": {"table": {"columns": COLUMNS, "normalise": true}},
        "layers": [{"name": "0", "size": 16, "activation": "gelu"}, {"name": "2", "size": LANGUAGES.len()}],
        "output": "softmax", "outputs": LANGUAGES,
    });
    save(folder, "source-language", &tensors, &architecture)
}

fn text(folder: &Path) -> Answer<()> {
    const NGRAMS: (usize, usize) = (2, 4);
    const BUCKETS: usize = 512;
    const SIZE: usize = 8;
    let lines = lines(folder)?;
    let mut examples = Examples { inputs: Vec::new(), languages: Vec::new() };
    for (_, line, language) in lines.iter().filter(|(number, ..)| number % HELD_OUT != 0) {
        let ngrams = plain::ngrams(line, NGRAMS.0, NGRAMS.1, false, BUCKETS);
        let start = examples.inputs.len();
        examples.inputs.resize(start + BUCKETS, 0.0);
        ngrams.iter().for_each(|bucket| examples.inputs[start + bucket] += 1.0 / ngrams.len() as f32);
        examples.languages.push(*language);
    }
    let (inputs, languages) = examples.tensors()?;
    let mut random = Random(2);
    let embedding = random.var(&[BUCKETS, SIZE], 1);
    let (weights, bias) = (random.var(&[LANGUAGES.len(), SIZE], SIZE), random.var(&[LANGUAGES.len()], SIZE));
    train("line-language", vec![embedding.clone(), weights.clone(), bias.clone()], 400, &languages, || {
        inputs.matmul(&embedding)?.matmul(&weights.t()?)?.broadcast_add(&bias)
    })?;
    let half = |var: &Var| var.as_detached_tensor().to_dtype(DType::F16);
    let tensors = HashMap::from([
        ("embedding.weight".to_owned(), half(&embedding)?),
        ("layers.0.weight".to_owned(), half(&weights)?),
        ("layers.0.bias".to_owned(), half(&bias)?),
    ]);
    let ngrams = json!({"shortest": NGRAMS.0, "longest": NGRAMS.1});
    let architecture = json!({
        "version": 1, "input": {"text": {"column": "line", "ngrams": ngrams, "buckets": BUCKETS, "size": SIZE}},
        "layers": [{"size": LANGUAGES.len()}], "output": "softmax", "outputs": LANGUAGES,
    });
    save(folder, "line-language", &tensors, &architecture)?;
    let held_out: Vec<_> = lines.iter().filter(|(number, ..)| number % HELD_OUT == 0).collect();
    let sample = held_out.iter().step_by(held_out.len().div_ceil(SAMPLE_LINES)).map(|(_, line, language)| {
        let language = LANGUAGES[*language as usize];
        format!("{}\n", json!({"line": line, "language": language}))
    });
    Ok(fs::write(folder.join("lines.jsonl"), sample.collect::<String>())?)
}

/// Lines of the repository's files with their numbers and languages; as many of each language as there are, but no more
/// than [`LINES`].
fn lines(folder: &Path) -> Answer<Vec<(usize, String, u32)>> {
    let root = folder.join("../..");
    let mut found: [Vec<String>; LANGUAGES.len()] = Default::default();
    let mut rows = csv::Reader::from_path(folder.join("source-lines.csv"))?;
    for row in rows.deserialize() {
        let row: HashMap<String, String> = row?;
        // The table may be older than the tree.
        let Ok(content) = fs::read_to_string(root.join(&row["path"])) else { continue };
        let language = language(&row["language"]).ok_or("no known language")? as usize;
        let lines = content.lines().map(str::trim).filter(|line| line.chars().count() >= 16);
        found[language].extend(lines.map(str::to_owned));
    }
    let kept = found.iter().zip(0_u32..).flat_map(|(lines, language)| {
        let step = lines.len().div_ceil(LINES).max(1);
        lines.iter().step_by(step).map(move |line| (line.clone(), language))
    });
    Ok(kept.enumerate().map(|(number, (line, language))| (number, line, language)).collect())
}

fn train(
    name: &str,
    vars: Vec<Var>,
    steps: usize,
    languages: &Tensor,
    forward: impl Fn() -> candle_core::Result<Tensor>,
) -> Answer<()> {
    let mut optimizer = AdamW::new(vars, ParamsAdamW { lr: 0.02, ..Default::default() })?;
    for _ in 0..steps {
        optimizer.backward_step(&cross_entropy(&forward()?, languages)?)?;
    }
    let judged = forward()?;
    let loss = cross_entropy(&judged, languages)?.to_scalar::<f32>()?;
    let right = judged.argmax(D::Minus1)?.eq(languages)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
    println!("{name}: loss {loss:.3}, {:.1} % of {} right", right * 100.0, languages.elem_count());
    Ok(())
}

fn save(folder: &Path, name: &str, tensors: &HashMap<String, Tensor>, architecture: &Value) -> Answer<()> {
    safetensors::save(tensors, folder.join(format!("{name}.safetensors")))?;
    let json = serde_json::to_string_pretty(architecture)? + "\n";
    Ok(fs::write(folder.join(format!("{name}.json")), json)?)
}

/// SplitMix64 (Steele, Lea and Flood 2014), since candle's own first weights have no seed.
struct Random(u64);

impl Random {
    /// Evenly from ±1/√`before`.
    fn var(&mut self, shape: &[usize], before: usize) -> Var {
        let bound = 1.0 / (before as f32).sqrt();
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| (self.next() * 2.0 - 1.0) * bound).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 24) as f32
    }
}
