//! What is computed with candle's tensors.
//!
//! Candle's own products and sums, and the C library's functions, choose their instructions by the processor that they
//! find, so the last digits of their results differ between machines. But who doubts a result runs the task again
//! elsewhere and compares bytes. So these operations add in an order that the code fixes, in 64 bits and on one thread,
//! and take their functions from the crate `libm`: IEEE 754 leaves nothing else open.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, WithDType, bail};

use super::architecture::{Activation, Ngrams, Output};

/// Partial sums of one product; several, so that the compiler can use whatever vectors there are.
const LANES: usize = 8;

/// Rows that meet a neuron's weights while these are in the processor's cache.
const BLOCK: usize = 16;

/// `inputs · weightsᵀ + bias`: F64 `[rows, before]`, F32 `[size, before]`, F32 `[size]` → F64 `[rows, size]`.
pub(crate) struct Dense;

/// An activation, number by number, on F64.
pub(crate) struct Activate(pub(crate) Activation);

/// The meaning of the last layer's numbers, row by row: F64 `[rows, size]` → the same.
pub(crate) struct Conclude(pub(crate) Output);

/// The mean of the embeddings of each text's n-grams: F32 `[buckets, size]` → F64 `[texts, size]`.
pub(crate) struct Bag<'a> {
    pub(crate) texts: &'a [String],
    pub(crate) ngrams: Ngrams,
}

impl CustomOp3 for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn cpu_fwd(
        &self,
        inputs: &CpuStorage,
        inputs_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, before), (size, expected)) = (inputs_layout.shape().dims2()?, weights_layout.shape().dims2()?);
        let bias = values::<f32>(bias, bias_layout)?;
        if before != expected || bias.len() != size {
            bail!("a layer of [{size}, {expected}] with {} biases cannot take {before} inputs", bias.len());
        }
        let weights = values::<f32>(weights, weights_layout)?;
        let inputs = values::<f64>(inputs, inputs_layout)?;
        let mut outputs = vec![0.0; rows * size];
        for (inputs, outputs) in inputs.chunks(BLOCK * before).zip(outputs.chunks_mut(BLOCK * size)) {
            for (neuron, (weights, bias)) in weights.chunks_exact(before).zip(bias).enumerate() {
                for (row, outputs) in inputs.chunks_exact(before).zip(outputs.chunks_exact_mut(size)) {
                    outputs[neuron] = product(weights, row) + f64::from(*bias);
                }
            }
        }
        Ok((CpuStorage::F64(outputs), (rows, size).into()))
    }
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, inputs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let outputs = values::<f64>(inputs, layout)?.iter().map(|value| activated(self.0, *value)).collect();
        Ok((CpuStorage::F64(outputs), layout.shape().clone()))
    }
}

impl CustomOp1 for Conclude {
    fn name(&self) -> &'static str {
        "conclude"
    }

    fn cpu_fwd(&self, inputs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, size) = layout.shape().dims2()?;
        let mut outputs = values::<f64>(inputs, layout)?.to_vec();
        match self.0 {
            Output::Softmax => outputs.chunks_exact_mut(size).for_each(softmax),
            Output::Sigmoid => outputs.iter_mut().for_each(|value| *value = 1.0 / (1.0 + libm::exp(-*value))),
            Output::Linear => {}
        }
        Ok((CpuStorage::F64(outputs), layout.shape().clone()))
    }
}

impl CustomOp1 for Bag<'_> {
    fn name(&self) -> &'static str {
        "bag"
    }

    fn cpu_fwd(&self, embeddings: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (buckets, size) = layout.shape().dims2()?;
        let embeddings = values::<f32>(embeddings, layout)?;
        let mut outputs = vec![0.0; self.texts.len() * size];
        for (text, sums) in self.texts.iter().zip(outputs.chunks_exact_mut(size)) {
            let mut count = 0_u64;
            each_ngram(text, self.ngrams, |ngram| {
                let at = (fnv_1a(ngram) % buckets as u64) as usize * size;
                sums.iter_mut().zip(&embeddings[at..at + size]).for_each(|(sum, value)| *sum += f64::from(*value));
                count += 1;
            });
            // A text shorter than the shortest n-gram has none: its mean is zero.
            sums.iter_mut().for_each(|sum| *sum /= count.max(1) as f64);
        }
        Ok((CpuStorage::F64(outputs), (self.texts.len(), size).into()))
    }
}

/// A tensor's numbers, row by row.
fn values<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a tensor is not contiguous"),
    }
}

fn product(weights: &[f32], inputs: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (weights, last_weights) = weights.as_chunks::<LANES>();
    let (inputs, last_inputs) = inputs.as_chunks::<LANES>();
    weights.iter().zip(inputs).for_each(|(weights, inputs)| add_products(&mut sums, weights, inputs));
    add_products(&mut sums, last_weights, last_inputs);
    sums.iter().fold(0.0, |total, sum| total + sum)
}

/// Each lane is added to by itself.
fn add_products(sums: &mut [f64; LANES], weights: &[f32], inputs: &[f64]) {
    for ((sum, weight), input) in sums.iter_mut().zip(weights).zip(inputs) {
        *sum += f64::from(*weight) * *input;
    }
}

fn activated(activation: Activation, value: f64) -> f64 {
    match activation {
        Activation::None => value,
        // Not `max`, which would turn what is no number into 0.
        Activation::Relu if value < 0.0 => 0.0,
        Activation::Relu => value,
        Activation::Gelu => 0.5 * value * (1.0 + libm::erf(value * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (value + 0.044_715 * value * value * value);
            0.5 * value * (1.0 + libm::tanh(inner))
        }
        Activation::Tanh => libm::tanh(value),
    }
}

fn softmax(row: &mut [f64]) {
    // Less the greatest, so that no power overflows.
    let greatest = row.iter().fold(f64::NEG_INFINITY, |greatest, value| greatest.max(*value));
    row.iter_mut().for_each(|value| *value = libm::exp(*value - greatest));
    let total = row.iter().fold(0.0, |total, value| total + value);
    row.iter_mut().for_each(|value| *value /= total);
}

/// Calls `take` with each n-gram of `text`, which has its blanks already.
fn each_ngram(text: &str, ngrams: Ngrams, mut take: impl FnMut(&str)) {
    for (start, _) in text.char_indices() {
        let rest = &text[start..];
        let ends = rest.char_indices().map(|(at, character)| at + character.len_utf8());
        for end in ends.take(ngrams.longest).skip(ngrams.shortest - 1) {
            take(&rest[..end]);
        }
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv).
fn fnv_1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
