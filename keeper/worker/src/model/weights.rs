//! The tensors of a `.safetensors` file, each checked before it is used.
//!
//! The file's own consistency (offsets that neither overlap nor leave gaps, sizes that fit the shapes) is checked by
//! the crate `safetensors`; here its header is bounded before it is parsed, and every tensor is held against what the
//! architecture expects.

use std::{collections::BTreeSet, io::Read as _};

use candle_core::{DType, Device, Tensor, safetensors::SliceSafetensors};

use crate::{
    failure::Failure,
    task::{Blob, unreadable},
};

/// Weights may have at most this many bytes. They are held in memory twice while they are converted.
const MAX_BYTES: u64 = 64 << 20;

/// The header may have at most this many bytes, some thousands of tensors.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Tensors listed in an error.
const MAX_LISTED: usize = 8;

/// A file of weights in memory.
pub(crate) struct Weights {
    name: String,
    bytes: Vec<u8>,
}

/// The tensors of a file, taken one by one.
pub(crate) struct Tensors<'a> {
    name: &'a str,
    file: SliceSafetensors<'a>,
    left: BTreeSet<String>,
}

impl Weights {
    /// Reads the file whole.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a file that is too large, [`Failure::Missing`] if it cannot be read.
    pub(crate) fn open(blob: &mut Blob) -> Result<Self, Failure> {
        let name = blob.name.clone();
        if blob.bytes > MAX_BYTES {
            let (mib, max) = (blob.bytes.div_ceil(1 << 20), MAX_BYTES >> 20);
            let reason =
                format!("has {mib} MiB; model_inference takes at most {max} MiB of weights: store them as F16");
            return Err(Failure::bad(&name, reason));
        }
        let mut bytes = Vec::new();
        blob.reader()?.read_to_end(&mut bytes).map_err(|error| unreadable(&name, error))?;
        Ok(Self { name, bytes })
    }

    /// The tensors that the file holds.
    ///
    /// # Errors
    /// [`Failure::BadInput`] if it is not a consistent file.
    pub(crate) fn tensors(&self) -> Result<Tensors<'_>, Failure> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<8>() else {
            return Err(self.bad("is not a safetensors file: it is shorter than the length of its header"));
        };
        let header_bytes = u64::from_le_bytes(*length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > rest.len() as u64 {
            return Err(self.bad(format!(
                "is not a safetensors file that this worker reads: its header claims {header_bytes} bytes; {} follow, \
                 and at most {MAX_HEADER_BYTES} are taken",
                rest.len()
            )));
        }
        let file = SliceSafetensors::new(&self.bytes)
            .map_err(|error| self.bad(format!("is not a safetensors file: {error}")))?;
        let left = file.tensors().into_iter().map(|(name, _)| name).collect();
        Ok(Tensors { name: &self.name, file, left })
    }

    fn bad(&self, reason: impl Into<String>) -> Failure {
        Failure::bad(&self.name, reason)
    }
}

impl Tensors<'_> {
    /// Takes the tensor `name`, of this shape, as 32-bit numbers: F16 and BF16 keep their values, F64 is rounded.
    ///
    /// # Errors
    /// [`Failure::BadInput`] names the tensor, what was found and what was expected.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Failure> {
        const FLOATS: &str = "F16, BF16, F32 or F64";
        if !self.left.remove(name) {
            let held = self.left.iter().take(MAX_LISTED).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            let more = if self.left.len() > MAX_LISTED { ", …" } else { "" };
            return Err(self.bad(format!(
                "tensor {name:?} is missing; the architecture expects it as {FLOATS} of shape {shape:?}. Not used yet \
                 are: {held}{more}"
            )));
        }
        let broken = |error: candle_core::Error| self.bad(format!("tensor {name:?}: {error}"));
        let view = self.file.get(name).map_err(broken)?;
        if view.shape() != shape {
            let found = view.shape();
            return Err(self.bad(format!("tensor {name:?} has shape {found:?}; the architecture expects {shape:?}")));
        }
        let dtype = DType::try_from(view.dtype()).ok();
        if !matches!(dtype, Some(DType::F16 | DType::BF16 | DType::F32 | DType::F64)) {
            let found = view.dtype();
            return Err(self.bad(format!("tensor {name:?} is of type {found:?}; {FLOATS} is expected")));
        }
        let tensor =
            self.file.load(name, &Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F32)).map_err(broken)?;
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(broken)?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let found = values[at];
            let index = index_of(at, shape);
            return Err(self.bad(format!("tensor {name:?} holds {found} at {index:?}; finite numbers are expected")));
        }
        Ok(tensor)
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// [`Failure::BadInput`] if a tensor is left: the architecture does not describe this file.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.left.first() {
            Some(name) => Err(self.bad(format!(
                "tensor {name:?} is not in the architecture ({} such): describe all layers, or leave it out of the file",
                self.left.len()
            ))),
            None => Ok(()),
        }
    }

    /// A fault in the file.
    pub(crate) fn bad(&self, reason: String) -> Failure {
        Failure::bad(self.name, reason)
    }
}

/// The place of a tensor's element number `at`, row by row.
fn index_of(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (place, size) in index.iter_mut().zip(shape).rev() {
        (*place, at) = (at % size, at / size);
    }
    index
}
