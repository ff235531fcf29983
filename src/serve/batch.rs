//! A batch of requests on a session: put together, run, and taken apart again.

use super::queue::Job;
use super::refusal::Refusal;
use super::stats::{Parts, Stats};
use crate::data::DecodeError;
use crate::runtime::{ByteSession, ElementType, Given, Texts, Value};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// Runs the jobs and answers each. Where they fail together, each is run alone: one client's data must not fail another's.
///
/// `batched`: the first axis of every input and output is the rows. `influence`: which output holds influences.
pub(super) fn run(session: &mut ByteSession, jobs: Vec<Job>, batched: bool, influence: Option<usize>, stats: &Stats) {
    let now = Instant::now();
    for job in &jobs {
        stats.queue.add(now.saturating_duration_since(job.since));
    }
    let together = outputs(session, &jobs, batched, stats);
    match together {
        Ok(outputs) => {
            for (job, outputs) in jobs.into_iter().zip(outputs) {
                answer(job, Ok(outputs), influence, stats);
            }
        }
        Err(error) if jobs.len() == 1 => {
            for job in jobs {
                answer(job, Err(error.clone()), influence, stats);
            }
        }
        Err(_) => {
            for job in jobs {
                let alone = outputs(session, std::slice::from_ref(&job), batched, stats);
                let outputs = alone.map(|mut outputs| outputs.pop().unwrap_or_default());
                answer(job, outputs, influence, stats);
            }
        }
    }
}

type Outputs = Vec<Option<Value>>;

fn answer(job: Job, outputs: Result<Outputs, Refusal>, influence: Option<usize>, stats: &Stats) {
    let influences = outputs.as_ref().ok().zip(influence).and_then(|(outputs, at)| outputs.get(at)?.as_ref());
    if let (Some(value), Some(histogram)) = (influences, &stats.influences)
        && value.element == ElementType::Float32
    {
        for number in value.data.as_chunks::<4>().0 {
            histogram.observe(f64::from(f32::from_le_bytes(*number)));
        }
    }
    // Whoever asked may have gone.
    let _ = job.answer.send(outputs);
}

/// The outputs of each job.
fn outputs(session: &mut ByteSession, jobs: &[Job], batched: bool, stats: &Stats) -> Result<Vec<Outputs>, Refusal> {
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let rows: usize = jobs.iter().map(|job| job.rows).sum();
    let given: Vec<Given> = first
        .shapes
        .iter()
        .enumerate()
        .map(|(at, shape)| {
            let mut shape = shape.clone();
            if let Some(size) = shape.first_mut().filter(|_| batched) {
                *size = rows;
            }
            let pieces = jobs.iter().filter_map(|job| job.inputs.get(at)).map(|piece| piece.as_ref()).collect();
            Given { shape, pieces }
        })
        .collect();
    let wanted: Vec<bool> =
        (0..first.wanted.len()).map(|at| jobs.iter().any(|job| job.wanted.get(at) == Some(&true))).collect();
    // The runtime's bindings may panic on what a model does; the thread, and the requests behind this one, must not end.
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| session.run(&given, &wanted)));
    let ran = ran.unwrap_or_else(|payload| {
        let said = DecodeError::panicked(payload.as_ref()).to_string();
        Err(crate::runtime::RuntimeError::Run { model: session.model().to_owned(), reason: said })
    })?;
    let parts = Parts { input: ran.input, infer: ran.infer, output: ran.output };
    stats.ran(if batched { rows } else { 1 }, jobs.len() as u64, parts);
    if jobs.len() == 1 {
        return Ok(vec![ran.outputs]);
    }
    let mut each: Vec<Outputs> = jobs.iter().map(|_| Vec::new()).collect();
    for value in ran.outputs {
        let pieces = match &value {
            Some(value) => split(value, jobs, rows)?,
            None => jobs.iter().map(|_| None).collect(),
        };
        for ((outputs, piece), job) in each.iter_mut().zip(pieces).zip(jobs) {
            let asked_for = job.wanted.get(outputs.len()) == Some(&true);
            outputs.push(piece.filter(|_| asked_for));
        }
    }
    Ok(each)
}

/// The rows of an output that belong to each job.
fn split(value: &Value, jobs: &[Job], rows: usize) -> Result<Vec<Option<Value>>, Refusal> {
    let (found, inner) = match value.shape.split_first() {
        Some((found, inner)) if *found == rows => (*found, inner),
        _ => {
            let reason = format!("an output has the shape {:?} for {rows} rows", value.shape);
            return Err(Refusal::Failed { reason });
        }
    };
    let in_row: usize = inner.iter().product();
    let bytes_of = |from: usize, rows: usize| -> usize {
        let elements = rows * in_row;
        if value.element != ElementType::String {
            return value.data.len() / found.max(1) * rows;
        }
        let mut texts = Texts(value.data.get(from..).unwrap_or_default());
        let before = texts.0.len();
        for _ in 0..elements {
            let _ = texts.next();
        }
        before - texts.0.len()
    };
    let mut from = 0;
    let mut pieces = Vec::with_capacity(jobs.len());
    for job in jobs {
        let length = bytes_of(from, job.rows);
        let shape = std::iter::once(job.rows).chain(inner.iter().copied()).collect();
        pieces.push(Some(Value { element: value.element, shape, data: value.data.slice(from..from + length) }));
        from += length;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::joined;
    use bytes::Bytes;
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn jobs(rows: &[usize]) -> Vec<Job> {
        let since = Instant::now();
        let job = |rows: &usize| Job {
            inputs: Vec::new(),
            shapes: Vec::new(),
            rows: *rows,
            wanted: vec![true],
            since,
            deadline: since + Duration::from_secs(60),
            answer: oneshot::channel().0,
        };
        rows.iter().map(job).collect()
    }

    #[test]
    fn numbers_and_texts_are_taken_apart_by_rows() {
        let numbers =
            Value { element: ElementType::Uint16, shape: vec![3, 2], data: Bytes::from_static(b"aabbccddeeff") };
        let split_up = split(&numbers, &jobs(&[1, 2]), 3).expect("three rows");
        let data: Vec<_> = split_up.iter().flatten().map(|v| (v.shape.clone(), v.data.clone())).collect();
        assert_eq!(data[0], (vec![1, 2], Bytes::from_static(b"aabb")));
        assert_eq!(data[1], (vec![2, 2], Bytes::from_static(b"ccddeeff")));
        let texts: [&[u8]; 3] = [b"one", b"", b"three"];
        let texts = Value { element: ElementType::String, shape: vec![3], data: joined(texts.into_iter()) };
        let split_up = split(&texts, &jobs(&[2, 1]), 3).expect("three rows");
        let second = split_up[1].as_ref().expect("a value");
        assert_eq!(second.data.as_ref(), b"\x05\0\0\0three");
        let wrong = Value { element: ElementType::Uint8, shape: vec![2], data: Bytes::from_static(b"ab") };
        assert!(split(&wrong, &jobs(&[2, 1]), 3).is_err(), "not a row each");
        let scalar = Value { element: ElementType::Uint8, shape: vec![], data: Bytes::from_static(b"a") };
        assert!(split(&scalar, &jobs(&[2, 1]), 3).is_err());
    }
}
