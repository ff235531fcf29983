//! A model with any inputs and outputs, whose values come and go as bytes: what a server needs, which does not know what they
//! mean.
//!
//! Numbers are in the order of this machine's bytes (little-endian on every machine that ONNX Runtime runs on). A text is its
//! length in four bytes and then its UTF-8.

use super::{ExecutionProvider, Library, RuntimeError, Session, SessionOptions};
use bytes::{BufMut, Bytes, BytesMut};
use ort::session::{OutputSelector, RunOptions, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType, ValueType};
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub element: TensorElementType,
    /// Sizes of its axes, where fixed; nothing where not even their number is known.
    pub shape: Option<Vec<Option<usize>>>,
}

/// The value of one input: pieces that lie behind each other along its first axis.
#[derive(Debug)]
pub struct Given<'a> {
    /// Sizes of the axes of the whole.
    pub shape: Vec<usize>,
    /// The pieces, in their order.
    pub pieces: Vec<&'a [u8]>,
}

/// The value of one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Element type.
    pub element: TensorElementType,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Bytes,
}

/// What a run gave, and how long its parts took.
#[derive(Debug)]
pub struct Ran {
    /// The outputs that were asked for, in the model's order; nothing for the others.
    pub outputs: Vec<Option<Value>>,
    /// Making tensors of the inputs.
    pub input: Duration,
    /// The run itself.
    pub infer: Duration,
    /// Copying the outputs.
    pub output: Duration,
}

/// A loaded model that is run on bytes.
#[derive(Debug)]
pub struct ByteSession {
    session: ort::session::Session,
    provider: ExecutionProvider,
    model: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl ByteSession {
    /// Loads a model file that [`isal_onnx::Model::read`] has already checked.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when the execution provider cannot start; [`RuntimeError::Run`] when ONNX Runtime refuses
    /// the model; [`RuntimeError::Signature`] when an input or output is no tensor.
    pub fn open(library: &Library, path: &Path, options: SessionOptions) -> Result<ByteSession, RuntimeError> {
        let model = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let provider = options.provider.settle(library)?.provider;
        let session = Session::commit(library, path, &model, provider, options.threads)?;
        let port = |name: &str, value_type: &ValueType| match value_type {
            ValueType::Tensor { ty, shape, .. } => {
                let shape = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
                Ok(Port { name: name.to_owned(), element: *ty, shape: Some(shape) })
            }
            other => Err(RuntimeError::Signature {
                model: model.clone(),
                reason: format!("`{name}` is {other:?}, expected a tensor"),
            }),
        };
        let inputs = session.inputs().iter().map(|i| port(i.name(), i.dtype())).collect::<Result<_, _>>()?;
        let outputs = session.outputs().iter().map(|o| port(o.name(), o.dtype())).collect::<Result<_, _>>()?;
        Ok(ByteSession { session, provider, model, inputs, outputs })
    }

    /// The model's file name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The execution provider that really runs the model.
    pub fn provider(&self) -> ExecutionProvider {
        self.provider
    }

    /// The inputs, in the model's order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in the model's order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the model on a value for each input, in the model's order, for the outputs that `wanted` marks.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] when a value does not fit its shape, the model fails, or an output has a type without a form in
    /// bytes.
    pub fn run(&mut self, given: &[Given<'_>], wanted: &[bool]) -> Result<Ran, RuntimeError> {
        let ByteSession { session, model, inputs, outputs, .. } = self;
        let fail = |reason: String| RuntimeError::Run { model: model.clone(), reason };
        if given.len() != inputs.len() {
            return Err(fail(format!("{} inputs given, expected {}", given.len(), inputs.len())));
        }
        let began = Instant::now();
        let mut values = Vec::with_capacity(given.len());
        for (port, value) in inputs.iter().zip(given) {
            let tensor = tensor(port.element, value).map_err(|e| fail(format!("input `{}`: {e}", port.name)))?;
            values.push((port.name.as_str(), tensor));
        }
        let input = began.elapsed();
        let mut selected = OutputSelector::no_default();
        let is_wanted = |at: usize| wanted.get(at).copied().unwrap_or(false);
        for (_, port) in outputs.iter().enumerate().filter(|(at, _)| is_wanted(*at)) {
            selected = selected.with(port.name.as_str());
        }
        let options = RunOptions::new().map_err(|e| fail(e.to_string()))?.with_outputs(selected);
        let running = Instant::now();
        let answers = session.run_with_options(values, &options).map_err(|e| fail(e.to_string()))?;
        let infer = running.elapsed();
        let copying = Instant::now();
        let copied = outputs.iter().enumerate().map(|(at, port)| {
            if !is_wanted(at) {
                return Ok(None);
            }
            let value = answers.get(&port.name).ok_or_else(|| fail(format!("no output `{}`", port.name)))?;
            copied(value).map(Some).map_err(|e| fail(format!("output `{}`: {e}", port.name)))
        });
        let outputs = copied.collect::<Result<Vec<_>, _>>()?;
        Ok(Ran { outputs, input, infer, output: copying.elapsed() })
    }
}

/// Elements of a value of this shape; nothing where they cannot be counted.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

fn tensor(element: TensorElementType, given: &Given<'_>) -> Result<SessionInputValue<'static>, String> {
    use TensorElementType as E;
    match element {
        E::Float32 => numbers::<f32>(given),
        E::Float64 => numbers::<f64>(given),
        E::Float16 => numbers::<half::f16>(given),
        E::Bfloat16 => numbers::<half::bf16>(given),
        E::Int8 => numbers::<i8>(given),
        E::Int16 => numbers::<i16>(given),
        E::Int32 => numbers::<i32>(given),
        E::Int64 => numbers::<i64>(given),
        E::Uint8 => numbers::<u8>(given),
        E::Uint16 => numbers::<u16>(given),
        E::Uint32 => numbers::<u32>(given),
        E::Uint64 => numbers::<u64>(given),
        E::Bool => {
            let flags: Vec<bool> = given.pieces.iter().flat_map(|piece| piece.iter().map(|byte| *byte != 0)).collect();
            check(given, flags.len(), 1)?;
            let tensor = Tensor::from_array((given.shape.clone(), flags)).map_err(|e| e.to_string())?;
            Ok(tensor.into())
        }
        E::String => {
            let mut texts = Vec::new();
            for piece in &given.pieces {
                for text in Texts(piece) {
                    let text = text.map_err(|e| e.to_string())?;
                    let text = std::str::from_utf8(text).map_err(|e| format!("a text is not UTF-8: {e}"))?;
                    texts.push(text.to_owned());
                }
            }
            check(given, texts.len(), 1)?;
            let tensor = Tensor::from_string_array((given.shape.clone(), texts.as_slice()));
            Ok(tensor.map_err(|e| e.to_string())?.into())
        }
        other => Err(format!("elements of type {other} cannot be given")),
    }
}

fn check(given: &Given<'_>, found: usize, size: usize) -> Result<(), String> {
    let expected = count(&given.shape).and_then(|elements| elements.checked_mul(size));
    if expected == Some(found) {
        return Ok(());
    }
    let unit = if size == 1 { "elements" } else { "bytes" };
    Err(format!("{found} {unit} for the shape {:?}", given.shape))
}

fn numbers<T>(given: &Given<'_>) -> Result<SessionInputValue<'static>, String>
where
    T: PrimitiveTensorElementType + bytemuck::Pod + Debug,
{
    let found: usize = given.pieces.iter().map(|piece| piece.len()).sum();
    check(given, found, size_of::<T>())?;
    let mut elements = vec![T::zeroed(); found / size_of::<T>()];
    let mut rest: &mut [u8] = bytemuck::cast_slice_mut(&mut elements);
    for piece in &given.pieces {
        rest.put_slice(piece);
    }
    let tensor = Tensor::from_array((given.shape.clone(), elements)).map_err(|e| e.to_string())?;
    Ok(tensor.into())
}

fn copied(value: &DynValue) -> Result<Value, String> {
    use TensorElementType as E;
    let element = value.dtype().tensor_type().ok_or_else(|| format!("is {:?}, expected a tensor", value.dtype()))?;
    let shape: Vec<usize> = value.shape().iter().filter_map(|size| usize::try_from(*size).ok()).collect();
    let empty = shape.contains(&0);
    let data = match element {
        // There is nothing to point to.
        _ if empty => Bytes::new(),
        E::Float32 => elements::<f32>(value),
        E::Float64 => elements::<f64>(value),
        E::Float16 => elements::<half::f16>(value),
        E::Bfloat16 => elements::<half::bf16>(value),
        E::Int8 => elements::<i8>(value),
        E::Int16 => elements::<i16>(value),
        E::Int32 => elements::<i32>(value),
        E::Int64 => elements::<i64>(value),
        E::Uint8 => elements::<u8>(value),
        E::Uint16 => elements::<u16>(value),
        E::Uint32 => elements::<u32>(value),
        E::Uint64 => elements::<u64>(value),
        E::Bool => elements::<bool>(value),
        E::String => {
            let (_, texts) = value.try_extract_strings().map_err(|e| e.to_string())?;
            joined(texts.iter().map(String::as_bytes))
        }
        other => return Err(format!("elements of type {other} have no form in bytes")),
    };
    Ok(Value { element, shape, data })
}

fn elements<T: PrimitiveTensorElementType + bytemuck::NoUninit>(value: &DynValue) -> Bytes {
    match value.try_extract_tensor::<T>() {
        Ok((_, elements)) => Bytes::copy_from_slice(bytemuck::cast_slice(elements)),
        // The type was asked for above.
        Err(_) => Bytes::new(),
    }
}

/// Texts, each as its length in four bytes, the low one first, and its bytes.
pub fn joined<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut data = BytesMut::new();
    for text in texts {
        // A text of 4 GiB is beyond every limit.
        data.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
        data.put_slice(text);
    }
    data.freeze()
}

/// The texts that [`joined`] wrote behind each other.
#[derive(Debug, Clone)]
pub struct Texts<'a>(pub &'a [u8]);

/// Bytes that are no texts with their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text is said to be {stated} bytes long, {found} are left")]
pub struct CutShort {
    /// What its length says.
    pub stated: u64,
    /// Bytes that there are.
    pub found: usize,
}

impl<'a> Iterator for Texts<'a> {
    type Item = Result<&'a [u8], CutShort>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let whole = std::mem::take(&mut self.0);
        let Some((length, rest)) = whole.split_first_chunk::<4>() else {
            return Some(Err(CutShort { stated: 4, found: whole.len() }));
        };
        let stated = u32::from_le_bytes(*length);
        match usize::try_from(stated).ok().and_then(|length| rest.split_at_checked(length)) {
            Some((text, rest)) => {
                self.0 = rest;
                Some(Ok(text))
            }
            None => Some(Err(CutShort { stated: u64::from(stated), found: rest.len() })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_and_cut_ones_refused() {
        let texts: [&[u8]; 3] = [b"cat", b"", b"\xff\x00"];
        let data = joined(texts.into_iter());
        assert_eq!(&data[..7], b"\x03\0\0\0cat");
        let read: Result<Vec<_>, _> = Texts(&data).collect();
        assert_eq!(read.expect("whole"), texts);
        let cut: Result<Vec<_>, _> = Texts(&data[..data.len() - 1]).collect();
        assert_eq!(cut, Err(CutShort { stated: 2, found: 1 }));
        let huge: Result<Vec<_>, _> = Texts(b"\xff\xff\xff\xffx").collect();
        assert_eq!(huge, Err(CutShort { stated: u64::from(u32::MAX), found: 1 }));
        assert!(Texts(b"\x01\0").next().is_some_and(|text| text.is_err()));
    }
}
