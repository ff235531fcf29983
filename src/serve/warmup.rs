//! `model_warmup` of a `config.pbtxt`: runs of a model on made-up values before its first request.

use super::datatype::Datatype;
use super::limits::Limits;
use super::proto::ModelWarmup;
use super::proto::model_warmup::input::InputDataType;
use super::signature::{Port, Signature};
use super::tensor::checked_shape;
use crate::runtime::{ByteSession, Given, RuntimeError, joined};
use bytes::Bytes;
use rand::RngExt as _;

/// Why a model does not warm up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WarmupError {
    /// An input that the model has and the warm-up not, or the other way round.
    #[error("`model_warmup` `{warmup}` has the inputs {found}, the model has {expected}")]
    Inputs {
        /// Its name.
        warmup: String,
        /// Its inputs.
        found: String,
        /// Those of the model.
        expected: String,
    },
    /// A value that the model does not take.
    #[error("`model_warmup` `{warmup}` has {found} for the input `{input}`, the model has {expected}")]
    Value {
        /// Its name.
        warmup: String,
        /// The input.
        input: String,
        /// Type and shape in the warm-up, the batch included.
        found: String,
        /// Those of the model, -1 for free axes.
        expected: String,
    },
    /// The model fails on it.
    #[error("`model_warmup` `{warmup}`: {source}")]
    Run {
        /// Its name.
        warmup: String,
        /// Why.
        source: RuntimeError,
    },
}

/// Runs each warm-up of the configuration on a session, as often as it says.
///
/// # Errors
/// [`WarmupError`].
pub(super) fn run(session: &mut ByteSession, signature: &Signature, limits: &Limits) -> Result<(), WarmupError> {
    for warmup in &signature.config.model_warmup {
        let values = signature.inputs.iter().map(|port| value(warmup, port, signature, limits));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        if warmup.inputs.len() != values.len() {
            return Err(inputs(warmup, signature));
        }
        let wanted = vec![true; signature.outputs.len()];
        for _ in 0..warmup.count.max(1) {
            let pieces = values.iter().map(|(shape, data)| Given { shape: shape.clone(), pieces: vec![data.as_ref()] });
            let given: Vec<Given> = pieces.collect();
            let failed = |source| WarmupError::Run { warmup: warmup.name.clone(), source };
            session.run(&given, &wanted).map_err(failed)?;
        }
    }
    Ok(())
}

fn inputs(warmup: &ModelWarmup, signature: &Signature) -> WarmupError {
    let listed = |names: &mut dyn Iterator<Item = &String>| {
        let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        names.sort();
        names.join(", ")
    };
    let found = listed(&mut warmup.inputs.keys());
    let expected = listed(&mut signature.inputs.iter().map(|port| &port.name));
    WarmupError::Inputs { warmup: warmup.name.clone(), found, expected }
}

fn value(
    warmup: &ModelWarmup,
    port: &Port,
    signature: &Signature,
    limits: &Limits,
) -> Result<(Vec<usize>, Bytes), WarmupError> {
    let input = warmup.inputs.get(&port.name).ok_or_else(|| inputs(warmup, signature))?;
    let batch = (signature.max_batch > 0).then(|| i64::from(warmup.batch_size.max(1)));
    let shape: Vec<i64> = batch.into_iter().chain(input.dims.iter().copied()).collect();
    let datatype = Datatype::of_config(input.data_type);
    let refused = || WarmupError::Value {
        warmup: warmup.name.clone(),
        input: port.name.clone(),
        found: format!("{} {shape:?}", datatype.map_or_else(|| "no data type".to_owned(), |d| d.to_string())),
        expected: format!("{} {:?}", port.datatype, port.dims()),
    };
    let (sizes, elements) = checked_shape(&port.name, &shape, limits.elements).map_err(|_| refused())?;
    let fits = sizes.len() == port.shape.len()
        && sizes.iter().zip(&port.shape).all(|(size, own)| own.is_none_or(|own| own == *size))
        && (signature.max_batch == 0 || sizes.first().is_some_and(|rows| *rows <= signature.max_batch));
    if datatype != Some(port.datatype) || !fits {
        return Err(refused());
    }
    let random = matches!(input.input_data_type, Some(InputDataType::RandomData(true)));
    Ok((sizes, made_up(port.datatype, elements, random)))
}

/// Zeros, or whole numbers below 2^7 and fractions from 0 to 1 at random; texts are empty.
fn made_up(datatype: Datatype, elements: usize, random: bool) -> Bytes {
    let Some(size) = datatype.size() else {
        return joined((0..elements).map(|_| &b""[..]));
    };
    if !random {
        return vec![0; elements * size].into();
    }
    let mut rng = rand::rng();
    let mut data = Vec::with_capacity(elements * size);
    for _ in 0..elements {
        let fraction: f32 = rng.random();
        let whole = (fraction * 127.0) as u8;
        match datatype {
            Datatype::Fp64 => data.extend(f64::from(fraction).to_le_bytes()),
            Datatype::Fp32 => data.extend(fraction.to_le_bytes()),
            Datatype::Fp16 => data.extend(half::f16::from_f32(fraction).to_le_bytes()),
            Datatype::Bf16 => data.extend(half::bf16::from_f32(fraction).to_le_bytes()),
            Datatype::Bool => data.push(whole & 1),
            _ => {
                data.push(whole);
                data.extend(std::iter::repeat_n(0, size - 1));
            }
        }
    }
    data.into()
}
