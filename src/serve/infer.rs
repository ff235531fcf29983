//! A request for inference, from what it says to its answer. HTTP and gRPC only change its form.

use super::Shared;
use super::classification;
use super::datatype::Datatype;
use super::images;
use super::model::Version;
use super::queue::{Full, Job};
use super::refusal::{PortKind, Refusal};
use super::signature::Port;
use super::tensor::{Answer, Request, Tensor, check_names};
use crate::runtime::Value;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Answers a request.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn infer(shared: &Shared, request: Request) -> Result<Answer, Refusal> {
    if shared.is_ending() {
        return Err(Refusal::ShuttingDown);
    }
    let version = shared.registry.version(&request.model, &request.version)?;
    tracing::Span::current().record("model", version.name.as_str());
    let began = Instant::now();
    let answer = of_version(shared, &version, request, began).await;
    let spent = if answer.is_ok() { &version.stats.success } else { &version.stats.fail };
    spent.add(began.elapsed());
    answer
}

async fn of_version(
    shared: &Shared,
    version: &Arc<Version>,
    request: Request,
    began: Instant,
) -> Result<Answer, Refusal> {
    let limits = &shared.limits;
    let limit = request.timeout.map_or(limits.request_time, |timeout| timeout.min(limits.request_time));
    let (mut wanted, order) = wanted(version, &request)?;
    // What is kept is chosen by influence, whether the client asked for it or not.
    let kept =
        shared.harvest.as_ref().filter(|_| version.kept.is_some() && !request.not_kept).zip(version.influence_output());
    let given = kept.and_then(|_| request.inputs.first().cloned());
    if let Some(influence) = kept.and_then(|(_, at)| wanted.get_mut(at)) {
        *influence = true;
    }
    let inputs = images::decoded(version, request.inputs, limits).await?;
    let (rows, inputs) = ordered(version, inputs)?;
    let (answer, outputs) = oneshot::channel();
    let job = Job {
        shapes: inputs.iter().map(|tensor| tensor.shape.clone()).collect(),
        inputs: inputs.into_iter().map(|tensor| tensor.data).collect(),
        rows,
        wanted,
        since: Instant::now(),
        deadline: began + limit,
        answer,
    };
    if let Err(Full(_)) = version.queue.push(job) {
        return Err(Refusal::QueueFull { name: version.name.clone(), limit: version.queue.limit() });
    }
    let late = || Refusal::Late { limit };
    let left = limit.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
    let outputs = match tokio::time::timeout(left, outputs).await {
        Ok(Ok(outputs)) => outputs?,
        // Dropped unanswered: its deadline had passed in the queue.
        Ok(Err(_)) | Err(_) => return Err(late()),
    };
    if let (Some((harvest, at)), Some(given)) = (kept, given) {
        let value = outputs.get(at).and_then(Option::as_ref).zip(version.signature.outputs.get(at));
        let influences = value.and_then(|(value, port)| classification::numbers(&tensor(port, value).ok()?));
        harvest.offer(version, &given, &influences.unwrap_or_default());
    }
    let mut tensors = Vec::with_capacity(order.len());
    for (at, classes) in &order {
        let value = outputs.get(*at).and_then(Option::as_ref);
        let port = version.signature.outputs.get(*at);
        let (Some(value), Some(port)) = (value, port) else {
            return Err(Refusal::Failed { reason: "an output was not computed".to_owned() });
        };
        let tensor = tensor(port, value)?;
        let labels = version.labels.get(*at).map_or(&[][..], Vec::as_slice);
        tensors.push(match classes {
            0 => tensor,
            classes => classification::highest(&tensor, *classes, version.signature.max_batch > 0, labels)?,
        });
    }
    let binary = match request.outputs.is_empty() {
        true => vec![None; tensors.len()],
        false => request.outputs.iter().map(|output| output.binary).collect(),
    };
    let (id, model) = (request.id, version.name.clone());
    Ok(Answer { id, model, version: version.number, outputs: tensors, binary })
}

fn tensor(port: &Port, value: &Value) -> Result<Tensor, Refusal> {
    let datatype = Datatype::of_element(value.element);
    let datatype =
        datatype.ok_or_else(|| Refusal::Failed { reason: format!("output `{}` has no datatype", port.name) })?;
    Ok(Tensor { name: port.name.clone(), datatype, shape: port.given(&value.shape), data: value.data.clone() })
}

/// The place of each output that is given, and its number of classes.
type Order = Vec<(usize, usize)>;

/// Which outputs are computed, and which are given in which order.
fn wanted(version: &Version, request: &Request) -> Result<(Vec<bool>, Order), Refusal> {
    let ports = &version.signature.outputs;
    if request.outputs.is_empty() {
        return Ok((vec![true; ports.len()], (0..ports.len()).map(|at| (at, 0)).collect()));
    }
    check_names(PortKind::Output, request.outputs.iter().map(|output| output.name.as_str()))?;
    let mut wanted = vec![false; ports.len()];
    let mut order = Vec::with_capacity(request.outputs.len());
    for output in &request.outputs {
        let at = ports.iter().position(|port| port.name == output.name);
        let at = at.ok_or_else(|| unknown_port(PortKind::Output, &output.name, ports))?;
        wanted[at] = true;
        order.push((at, output.classes));
    }
    Ok((wanted, order))
}

fn unknown_port(port: PortKind, name: &str, ports: &[Port]) -> Refusal {
    let known = ports.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
    Refusal::UnknownPort { port, name: name.to_owned(), known }
}

/// The inputs in the model's order, each held against what the model takes, and their rows.
fn ordered(version: &Version, inputs: Vec<Tensor>) -> Result<(usize, Vec<Tensor>), Refusal> {
    let signature = &version.signature;
    check_names(PortKind::Input, inputs.iter().map(|input| input.name.as_str()))?;
    if let Some(other) = inputs.iter().find(|input| signature.inputs.iter().all(|port| port.name != input.name)) {
        return Err(unknown_port(PortKind::Input, &other.name, &signature.inputs));
    }
    let mut given: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(given.len());
    let mut rows = None;
    for port in &signature.inputs {
        let mut found = given.iter_mut().filter(|tensor| tensor.as_ref().is_some_and(|t| t.name == port.name));
        let tensor = found.next().and_then(Option::take);
        let tensor = tensor.ok_or_else(|| Refusal::Missing { name: port.name.clone() })?;
        if tensor.datatype != port.datatype {
            let (found, expected) = (tensor.datatype, port.datatype);
            return Err(Refusal::Datatype { name: tensor.name, found, expected });
        }
        // A model of which not even the number of axes is known says itself what it takes.
        let unknown = port.shape.is_empty() && signature.max_batch == 0;
        let same = tensor.shape.len() == port.shape.len()
            && port.shape.iter().zip(&tensor.shape).all(|(port, size)| port.is_none_or(|port| port == *size));
        if !same && !unknown {
            let found = tensor.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
            return Err(Refusal::Shape { name: tensor.name, found, expected: format!("{:?}", port.dims()) });
        }
        if signature.max_batch > 0 {
            let found = tensor.shape.first().copied().unwrap_or(0);
            match rows {
                None if !(1..=signature.max_batch).contains(&found) => {
                    return Err(Refusal::Rows { rows: found, limit: signature.max_batch });
                }
                None => rows = Some(found),
                Some(expected) if expected != found => {
                    return Err(Refusal::UnequalRows { name: tensor.name, found, expected });
                }
                Some(_) => {}
            }
        }
        ordered.push(tensor);
    }
    Ok((rows.unwrap_or(1), ordered))
}

/// A request whose body is the one input of a model and nothing else: its shape follows from the number of bytes.
///
/// # Errors
/// [`Refusal`] where the model has several inputs, or the bytes fit no shape.
pub(super) fn raw(version: &Version, data: Bytes) -> Result<Tensor, Refusal> {
    let header = |reason: String| Refusal::Header { name: "Inference-Header-Content-Length", reason };
    let [port] = version.signature.inputs.as_slice() else {
        let inputs = version.signature.inputs.len();
        return Err(header(format!("0 is for a model with one input, `{}` has {inputs}", version.name)));
    };
    let text = |shape: Vec<usize>| {
        let data = crate::runtime::joined(std::iter::once(data.as_ref()));
        Tensor { name: port.name.clone(), datatype: Datatype::Bytes, shape, data }
    };
    if port.datatype == Datatype::Bytes {
        return Ok(text(vec![1; port.shape.len()]));
    }
    let mut shape: Vec<Option<usize>> = port.shape.clone();
    if let Some(first) = shape.first_mut().filter(|_| version.signature.max_batch > 0) {
        *first = Some(1);
    }
    let known = shape.iter().flatten().try_fold(1_usize, |product, size| product.checked_mul(*size)).unwrap_or(0);
    let elements = data.len() / port.datatype.size().unwrap_or(1);
    let free = shape.iter().filter(|size| size.is_none()).count();
    if free > 1 || known == 0 {
        return Err(header(format!(
            "0 needs a shape with one free axis at most, `{}` has {:?}",
            port.name,
            port.dims()
        )));
    }
    let shape: Vec<usize> = shape.iter().map(|size| size.unwrap_or(elements / known)).collect();
    match super::tensor::check_data(&port.name, port.datatype, shape.iter().product(), &data) {
        Err(_) if version.recipe.is_some() && images::is_encoded(&data) => Ok(text(vec![1])),
        Err(refusal) => Err(refusal),
        Ok(()) => Ok(Tensor { name: port.name.clone(), datatype: port.datatype, shape, data }),
    }
}
