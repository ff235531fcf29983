//! The tangent rule of every operator as ONNX Runtime computes it, against differences of ONNX Runtime's own outputs.
//!
//! A case is a node with numbers away from its kinks (`isal_onnx::testing`). Its tangents along a random direction are held
//! against central differences of fourth order of the node's own outputs: in float64 where ONNX Runtime has that kernel,
//! else in float32. The plugin's tests hold the same rules in float64 throughout; here it is the runtime's reading of
//! every emitted node that is in question. Needs ONNX Runtime (`make setup`).
//!
//! The same rules hold a twin on the original's side of every kink (`isal_onnx::twins`).

use indexmap::IndexMap;
use isal::runtime::Library;
use isal_onnx::tangent::{Tangent, Target, tangents};
use isal_onnx::testing::rounding::gamma;
use isal_onnx::testing::{Case, cases, uniform};
use isal_onnx::{DataType, Kinks, Model, Tensor, twins};
use std::collections::{BTreeMap, BTreeSet};

/// Roundings between an input and an output of a node, its polynomials for functions included: no case sums more numbers.
const ROUNDINGS: usize = 64;

type Outputs = BTreeMap<String, Vec<f64>>;

/// Operators whose float64 kernel computes in float32 inside, so that differences of it say nothing.
const NARROW_INSIDE: &[&str] = &["GroupNormalization", "Shrink"];

fn text<E: std::fmt::Display>(e: E) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Floats in `data_type`; integers and truth values as they are.
fn as_type(tensor: &Tensor, data_type: DataType) -> Tensor {
    match (tensor.to_vec::<f64>(), data_type) {
        (Some(values), DataType::Float) => {
            Tensor::new(tensor.dims(), &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
        }
        _ => tensor.clone(),
    }
}

/// The float outputs.
fn run(environment: &ort::environment::Environment, model: &Model) -> Result<Outputs, String> {
    let bytes = model.to_bytes().map_err(text)?;
    let mut session = ort::session::Session::builder(environment)
        .map_err(text)?
        .with_intra_threads(1)
        .map_err(text)?
        .commit_from_memory(&bytes)
        .map_err(text)?;
    let answers = session
        .run(ort::session::SessionInputs::from(Vec::<(String, ort::session::SessionInputValue<'_>)>::new()))
        .map_err(text)?;
    let mut outputs = Outputs::new();
    for (name, value) in &answers {
        let numbers = match (value.try_extract_array::<f64>(), value.try_extract_array::<f32>()) {
            (Ok(array), _) => array.iter().copied().collect(),
            (_, Ok(array)) => array.iter().map(|x| f64::from(*x)).collect(),
            _ => continue,
        };
        outputs.insert(name.to_owned(), numbers);
    }
    Ok(outputs)
}

fn moved(inputs: &[Option<Tensor>], directions: &IndexMap<String, Tensor>, by: f64) -> Vec<Option<Tensor>> {
    let shift = |(i, input): (usize, &Option<Tensor>)| {
        let tensor = input.clone()?;
        let Some(direction) = directions.get(&format!("x{i}")).and_then(Tensor::to_vec::<f64>) else {
            return Some(tensor);
        };
        let at = tensor.to_vec::<f64>().unwrap_or_default();
        Some(Tensor::new(tensor.dims(), &at.iter().zip(&direction).map(|(x, u)| x + by * u).collect::<Vec<_>>()))
    };
    inputs.iter().enumerate().map(shift).collect()
}

type Drawn = (Vec<Option<Tensor>>, IndexMap<String, Tensor>);

/// The case's inputs, and a random direction for each that a derivative flows from; in float64.
fn draw(case: &Case) -> Result<Drawn, String> {
    let spec = isal_onnx::ops::find(case.op).ok_or("no such operator")?;
    let mut random = case.random();
    let drawn = case.tensors(&mut random);
    let inputs = drawn.iter().map(|i| i.as_ref().map(|(t, _)| t.clone())).collect();
    let directions = drawn.iter().enumerate().filter_map(|(i, input)| {
        let (tensor, differentiated) = input.as_ref()?;
        (*differentiated && spec.flows.passes(i)).then(|| (format!("x{i}"), uniform(tensor.dims(), &mut random)))
    });
    Ok((inputs, directions.collect()))
}

/// Whether the case could be held, in which type; an error when its tangent is wrong. For the CPU provider only
/// where its rule is another than for any runtime.
fn check(case: &Case, target: Target, library: &Library) -> Result<Option<DataType>, String> {
    let (inputs, directions) = draw(case)?;
    // Step, and error allowed of the largest number: in float64 truncation, in float32 the roundings of the node, which the
    // difference takes eight times of two outputs and once of two others.
    let narrow = 5e-3;
    let rounding = 18.0 * gamma(ROUNDINGS) / (12.0 * narrow);
    for (data_type, step, tolerance) in [(DataType::Double, 1e-3, 1e-6), (DataType::Float, narrow, rounding)] {
        if data_type == DataType::Double && NARROW_INSIDE.contains(&case.op) {
            continue;
        }
        let model = |inputs: &[Option<Tensor>]| {
            let inputs: Vec<Option<Tensor>> =
                inputs.iter().map(|t| t.as_ref().map(|t| as_type(t, data_type))).collect();
            case.model(&inputs)
        };
        let directions_here: IndexMap<String, Tensor> =
            directions.iter().map(|(name, t)| (name.clone(), as_type(t, data_type))).collect();
        let plain = model(&inputs);
        let names: Vec<String> = plain.graph.outputs.iter().map(|o| o.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Ok(with_tangents) = tangents(&plain, &directions_here, &names, target) else {
            return Ok(None);
        };
        // Most rules are the same for every target.
        let of_any = tangents(&plain, &directions_here, &names, Target::Any);
        if target != Target::Any && of_any.is_ok_and(|of_any| of_any.graph == with_tangents.graph) {
            continue;
        }
        let environment = library.environment();
        let Ok(_) = run(environment, &plain) else { continue };
        let found = match run(environment, &with_tangents) {
            Ok(found) => found,
            // A rule may emit an operator that is there in float32 alone.
            Err(_) if data_type == DataType::Double => continue,
            Err(error) => return Err(format!("{data_type:?}: {error}")),
        };
        let at = |by: f64| run(environment, &model(&moved(&inputs, &directions, by)));
        let (a, b, c, d) = (at(step)?, at(-step)?, at(2.0 * step)?, at(-2.0 * step)?);
        let mut held = false;
        for name in &names {
            let Some(tangent) = found.get(&format!("tangent_of_{name}")) else { continue };
            let [Some(a), Some(b), Some(c), Some(d)] = [&a, &b, &c, &d].map(|o| o.get(*name)) else { continue };
            let scale = a.iter().chain(tangent).fold(1e-3_f64, |m, x| m.max(x.abs()));
            for (i, found) in tangent.iter().enumerate() {
                let wanted = (8.0 * (a[i] - b[i]) - (c[i] - d[i])) / (12.0 * step);
                if (found - wanted).abs() > tolerance * scale || found.is_nan() {
                    return Err(format!(
                        "{data_type:?}, `{name}`[{i}]: {found:e} instead of {wanted:e} (scale {scale:e})"
                    ));
                }
            }
            held = true;
        }
        if held {
            return Ok(Some(data_type));
        }
    }
    Ok(None)
}

#[test]
fn onnx_runtime_computes_every_tangent_as_its_own_outputs_differ() {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let (mut failures, mut held) = (Vec::new(), BTreeSet::new());
    let mut counts = [0, 0];
    let mut for_cpu = 0;
    for case in cases().iter().filter(|case| !case.training) {
        match check(case, Target::Any, &library) {
            Ok(Some(data_type)) => {
                held.insert(case.op);
                counts[usize::from(data_type == DataType::Double)] += 1;
            }
            Ok(None) => {}
            Err(error) => failures.push(format!("{}: {error}", case.label())),
        }
        match check(case, Target::Cpu, &library) {
            Ok(found) => for_cpu += usize::from(found.is_some()),
            Err(error) => failures.push(format!("{}, for the CPU provider: {error}", case.label())),
        }
    }
    println!(
        "{} operators held; {} cases in float64, {} in float32; {for_cpu} with rules for the CPU provider",
        held.len(),
        counts[1],
        counts[0]
    );
    // Relu over images in float32.
    assert!(for_cpu > 0, "no case has such rules");
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    let unheld: Vec<&str> = isal_onnx::ops::all()
        .filter(|op| !matches!(op.tangent, Tangent::Zero | Tangent::Refused(_)) && !held.contains(op.name))
        .map(|op| op.name)
        .collect();
    assert!(unheld.is_empty(), "operators without a case that ONNX Runtime runs: {unheld:?}");
    // What is not held is refused, with its reason, or has no kernel in either type.
    assert!(counts[0] + counts[1] >= 300, "only {counts:?} cases held");
}

/// A twin of a node with kinks, held on the pieces of the original, is the original and its tangent along the move: however
/// long the move is, where a free twin is on other pieces. Gives whether the free one was.
fn check_held(case: &Case, data_type: DataType, library: &Library) -> Result<Option<bool>, String> {
    let (inputs, directions) = draw(case)?;
    let inputs: Vec<Option<Tensor>> = inputs.iter().map(|t| t.as_ref().map(|t| as_type(t, data_type))).collect();
    let long = |(name, direction): (&String, &Tensor)| {
        let long: Vec<f64> = direction.to_float64()?.iter().map(|u| 4.0 * u).collect();
        Some((name.clone(), Tensor::floats(data_type, direction.dims(), &long)))
    };
    let moves: IndexMap<String, Tensor> = directions.iter().filter_map(long).collect();
    let plain = case.model(&inputs);
    let moved = |(name, along): (&String, &Tensor)| {
        let at = plain.graph.initializers.get(name)?.to_float64()?;
        let sum: Vec<f64> = at.iter().zip(along.to_float64()?).map(|(x, u)| x + u).collect();
        Some((name.clone(), Tensor::floats(data_type, along.dims(), &sum)))
    };
    let moved: IndexMap<String, Tensor> = moves.iter().filter_map(moved).collect();
    let outputs: Vec<String> = plain.graph.outputs.iter().map(|o| o.name.clone()).collect();
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let Ok(with_tangents) = tangents(&plain, &moves, &names, Target::Any) else { return Ok(None) };
    let environment = library.environment();
    let Ok(tangent) = run(environment, &with_tangents) else { return Ok(None) };
    let twin = |kinks| run(environment, &twins(&plain, &moved, &names, kinks).map_err(text)?);
    let (held, free) = (twin(Kinks::Held)?, twin(Kinks::Free)?);
    // The moves are four times as long as the numbers.
    let tolerance = if data_type == DataType::Double { 1e-12 } else { 4.0 * gamma(ROUNDINGS) };
    let mut parted = None;
    for name in &names {
        let (own, twin) = (tangent.get(*name), format!("twin_of_{name}"));
        let [Some(own), Some(along), Some(held), Some(free)] =
            [own, tangent.get(&format!("tangent_of_{name}")), held.get(&twin), free.get(&twin)]
        else {
            continue;
        };
        let scale = own.iter().chain(along).fold(1.0_f64, |m, x| m.max(x.abs()));
        for (i, held) in held.iter().enumerate() {
            let wanted = own[i] + along[i];
            if (held - wanted).abs() > tolerance * scale || held.is_nan() {
                return Err(format!("`{name}`[{i}]: {held:e} instead of {wanted:e}"));
            }
        }
        let apart = free.iter().zip(held).any(|(free, held)| (free - held).abs() > 1e-3 * scale);
        parted = Some(apart || parted == Some(true));
    }
    Ok(parted)
}

#[test]
fn a_held_twin_is_the_original_and_its_tangent_however_long_the_move() {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let mut parted: BTreeMap<&str, bool> = BTreeMap::new();
    for case in cases().iter().filter(|case| !case.training) {
        if !isal_onnx::ops::find(case.op).is_some_and(|op| matches!(op.tangent, Tangent::Kinked(..))) {
            continue;
        }
        parted.entry(case.op).or_default();
        for data_type in [DataType::Double, DataType::Float] {
            if data_type == DataType::Double && NARROW_INSIDE.contains(&case.op) {
                continue;
            }
            match check_held(case, data_type, &library) {
                Ok(Some(apart)) => {
                    let seen = parted.entry(case.op).or_default();
                    *seen |= apart;
                }
                Ok(None) => {}
                Err(error) => panic!("{} in {data_type:?}: {error}", case.label()),
            }
        }
    }
    // A move that changes no piece would show nothing.
    let idle: Vec<&&str> = parted.iter().filter(|(_, apart)| !**apart).map(|(op, _)| op).collect();
    assert!(idle.is_empty(), "no free twin left its pieces: {idle:?}");
    let kinked = isal_onnx::ops::all().filter(|op| matches!(op.tangent, Tangent::Kinked(..))).count();
    assert_eq!((parted.len(), kinked), (16, 16));
}
