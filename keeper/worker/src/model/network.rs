//! A network: its architecture and the tensors that fit it.

use candle_core::{DType, Device, Tensor};

use super::{
    architecture::{Activation, Architecture, Input},
    operations::{Activate, Bag, Conclude, Dense},
    weights::{Tensors, Weights},
};
use crate::failure::Failure;

/// Ready to judge.
pub(crate) struct Network {
    pub(crate) architecture: Architecture,
    input: Prepared,
    layers: Vec<Neurons>,
}

enum Prepared {
    /// With mean and standard deviation if the columns are normalised.
    Table(Option<(Tensor, Tensor)>),
    /// With the embeddings.
    Text(Tensor),
}

struct Neurons {
    weights: Tensor,
    bias: Tensor,
    activation: Activation,
}

/// What the network sees of some rows.
pub(crate) enum Content {
    /// The columns' numbers, row by row.
    Numbers(Vec<f64>),
    /// Texts as [`super::architecture`] says, in lower case if so and with their blanks.
    Texts(Vec<String>),
}

impl Network {
    /// Takes every tensor that the architecture names, and none besides.
    ///
    /// # Errors
    /// [`Failure::BadInput`] names the tensor that is missing, surplus or not what it must be.
    pub(crate) fn assemble(architecture: Architecture, weights: &Weights) -> Result<Self, Failure> {
        let mut tensors = weights.tensors()?;
        let size = architecture.input_size();
        let input = match &architecture.input {
            Input::Table(table) if table.normalise => Prepared::Table(Some(normalisation(&mut tensors, size)?)),
            Input::Table(_) => Prepared::Table(None),
            Input::Text(text) => Prepared::Text(tensors.take("embedding.weight", &[text.buckets, size])?),
        };
        let mut layers = Vec::with_capacity(architecture.layers.len());
        let mut before = size;
        for (index, layer) in architecture.layers.iter().enumerate() {
            let name = architecture.layer_name(index);
            let weights = tensors.take(&format!("{name}.weight"), &[layer.size, before])?;
            let bias = match layer.bias {
                true => tensors.take(&format!("{name}.bias"), &[layer.size])?,
                false => Tensor::zeros(layer.size, DType::F32, &Device::Cpu).map_err(defect)?,
            };
            layers.push(Neurons { weights, bias, activation: layer.activation });
            before = layer.size;
        }
        tensors.finish()?;
        Ok(Self { architecture, input, layers })
    }

    /// The outputs for each row, in the rows' order.
    ///
    /// # Errors
    /// [`Failure::Internal`]: what could be wrong with the tensors was checked before.
    pub(crate) fn judge(&self, content: &Content) -> Result<Vec<Vec<f64>>, Failure> {
        self.forward(content).and_then(|outputs| outputs.to_vec2()).map_err(defect)
    }

    fn forward(&self, content: &Content) -> candle_core::Result<Tensor> {
        let mut rows = match (&self.input, content) {
            (Prepared::Table(normalisation), Content::Numbers(numbers)) => {
                let columns = self.architecture.input_size();
                let rows = Tensor::from_slice(numbers, (numbers.len() / columns, columns), &Device::Cpu)?;
                match normalisation {
                    Some((mean, std)) => rows.broadcast_sub(mean)?.broadcast_div(std)?,
                    None => rows,
                }
            }
            (Prepared::Text(embeddings), Content::Texts(texts)) => match &self.architecture.input {
                Input::Text(text) => embeddings.apply_op1_no_bwd(&Bag { texts, ngrams: text.ngrams })?,
                Input::Table(_) => candle_core::bail!("embeddings for a table"),
            },
            _ => candle_core::bail!("rows of another kind than the network's"),
        };
        for layer in &self.layers {
            rows = rows.apply_op3_no_bwd(&layer.weights, &layer.bias, &Dense)?;
            if layer.activation != Activation::None {
                rows = rows.apply_op1_no_bwd(&Activate(layer.activation))?;
            }
        }
        rows.apply_op1_no_bwd(&Conclude(self.architecture.output))
    }
}

/// Mean and standard deviation of the columns, in 64 bits.
fn normalisation(tensors: &mut Tensors<'_>, columns: usize) -> Result<(Tensor, Tensor), Failure> {
    const STD: &str = "input.std";
    let mean = tensors.take("input.mean", &[columns])?;
    let std = tensors.take(STD, &[columns])?;
    let values = std.to_vec1::<f32>().map_err(defect)?;
    if let Some(at) = values.iter().position(|value| *value <= 0.0) {
        let found = values[at];
        return Err(tensors.bad(format!("tensor {STD:?} holds {found} at [{at}]; a number above 0 is expected")));
    }
    let wide = |tensor: Tensor| tensor.to_dtype(DType::F64).map_err(defect);
    Ok((wide(mean)?, wide(std)?))
}

fn defect(error: candle_core::Error) -> Failure {
    Failure::Internal(error.to_string())
}
