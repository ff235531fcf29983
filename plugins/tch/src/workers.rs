//! A batch on a CPU in parts, a worker thread each.
//!
//! libtorch spreads each operator over threads, which meet after every one of them: on the small operators of a curvature
//! product two threads get hardly more done than one. Samples do not depend on each other, so parts of a batch go through the
//! whole model side by side instead, and meet once.

use crate::batch::Ready;
use crate::{Engine, Failure, Vector, settings};
use tch::Tensor;

/// Fewer samples than this are no part of their own.
const LEAST: i64 = 8;

/// Into how many parts a batch of `samples` is cut for `threads` threads.
fn parts(samples: i64, threads: usize) -> i64 {
    (samples / LEAST).clamp(1, i64::try_from(threads).unwrap_or(1).max(1))
}

/// `tensor`'s samples in `parts` runs of nearly equal length.
///
/// # Errors
/// [`Failure::Backend`] when libtorch refuses.
fn cut(tensor: &Tensor, parts: i64) -> Result<Vec<Tensor>, Failure> {
    let samples = tensor.size().first().copied().unwrap_or(0);
    let at = |part: i64| samples * part / parts;
    (0..parts).map(|part| Ok(tensor.f_narrow(0, at(part), at(part + 1) - at(part))?)).collect()
}

/// What threads may read together.
///
/// # Safety
/// All that it holds is either `Sync`, or a tensor that nobody writes to while it is borrowed.
pub(crate) unsafe trait ReadTogether {}

// SAFETY: besides plain data there are tensors; methods that write to them take the engine or the vector mutably.
unsafe impl ReadTogether for Engine {}
// SAFETY: as above.
unsafe impl ReadTogether for (&Engine, &Vector) {}

struct Shared<'a, C>(&'a C);

// SAFETY: a tensor's handle is counted atomically, and libtorch lets any number of threads read and run operators on a tensor
// that none writes to, as the trait promises.
unsafe impl<C: ReadTogether> Sync for Shared<'_, C> {}

impl<C> Shared<'_, C> {
    fn get(&self) -> &C {
        self.0
    }
}

/// Does `work` for each task, side by side, with the context that all of them read, and gives the results in the order of the
/// tasks. Operators of a worker use their share of `threads`.
///
/// # Errors
/// The first failure in the order of the tasks; [`Failure::Panic`] for a worker that panicked.
pub(crate) fn each<C, T, R>(
    context: &C,
    tasks: Vec<T>,
    threads: usize,
    work: impl Fn(&C, T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure>
where
    C: ReadTogether,
    T: Send,
    R: Send,
{
    if tasks.len() <= 1 {
        return tasks.into_iter().map(|task| work(context, task)).collect();
    }
    let own = u32::try_from(threads / tasks.len()).unwrap_or(1).max(1);
    let (context, work) = (&Shared(context), &work);
    std::thread::scope(|scope| {
        let workers: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                scope.spawn(move || {
                    settings::use_threads(own);
                    work(context.get(), task)
                })
            })
            .collect();
        let panicked = |_| Err(Failure::Panic { message: "a worker thread panicked".to_owned() });
        // All are joined before the first failure is told: a panic that nobody has looked at would end the scope in one.
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect();
        results.into_iter().collect()
    })
}

impl Engine {
    /// Threads of a batch.
    pub(crate) fn workers(&self) -> usize {
        self.threads as usize
    }

    /// Into how many parts a batch is cut: one on an accelerator, and where the file fixes the batch size.
    fn cuts(&self, images: &Tensor) -> i64 {
        let fixed = || {
            let dims = self.input().value_type.as_ref().and_then(|t| t.shape.as_ref());
            dims.and_then(|dims| dims.first()).is_some_and(|batch| batch.known().is_some())
        };
        if self.numerics.device != tch::Device::Cpu || fixed() {
            return 1;
        }
        parts(images.size().first().copied().unwrap_or(0), self.workers())
    }

    /// The parts of a batch.
    pub(crate) fn parts(&self, batch: &Ready) -> Result<Vec<Ready>, Failure> {
        let cuts = self.cuts(&batch.images);
        let mut parts: Vec<Ready> = cut(&batch.images, cuts)?
            .into_iter()
            .map(|images| Ready { images, annotations: Vec::new(), complete: batch.complete })
            .collect();
        for annotation in &batch.annotations {
            for (part, own) in parts.iter_mut().zip(cut(annotation, cuts)?) {
                part.annotations.push(own);
            }
        }
        Ok(parts)
    }

    /// The sum of what the parts of a batch gave, in their order.
    pub(crate) fn sum(&self, parts: Vec<Vector>) -> Result<Vector, Failure> {
        let mut parts = parts.into_iter();
        let mut sum = match parts.next() {
            Some(first) => first,
            None => self.zeros()?,
        };
        for part in parts {
            sum.axpy(1.0, &part)?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: both are `Sync`.
    unsafe impl ReadTogether for i64 {}
    // SAFETY: as above.
    unsafe impl ReadTogether for () {}

    #[test]
    fn a_batch_is_cut_into_no_more_parts_than_threads_and_none_is_too_small() {
        assert_eq!([parts(64, 2), parts(64, 16), parts(15, 4), parts(0, 4), parts(17, 4)], [2, 8, 1, 1, 2]);
        let rows = Tensor::arange(11, (tch::Kind::Int64, tch::Device::Cpu));
        let cut = cut(&rows, 3).expect("cut");
        let lengths: Vec<i64> = cut.iter().map(|part| part.size()[0]).collect();
        assert_eq!(lengths, [3, 4, 4]);
        assert_eq!(Vec::<i64>::try_from(&Tensor::cat(&cut, 0)).expect("numbers"), (0..11).collect::<Vec<_>>());
    }

    #[test]
    fn results_come_in_the_order_of_the_tasks_and_the_first_failure_is_told() {
        let double = |factor: &i64, task: i64| Ok(factor * task);
        assert_eq!(each(&2, vec![1, 2, 3], 2, double).expect("done"), [2, 4, 6]);
        let refuse = |_: &(), task: i64| match task {
            1 => Ok(()),
            _ => Err(Failure::NotFinite { what: format!("task {task}") }),
        };
        let failure = each(&(), vec![1, 2, 3], 3, refuse).expect_err("refused").to_string();
        assert!(failure.contains("task 2"), "{failure}");
        let panic = |_: &(), _: i64| -> Result<(), Failure> { panic!("on purpose") };
        assert!(matches!(each(&(), vec![1, 2], 2, panic), Err(Failure::Panic { .. })));
    }
}
