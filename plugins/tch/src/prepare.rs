//! From batches as they are given to batches as the graphs take them.

use crate::batch::{Batch, Ready, find, fits, is_float};
use crate::numerics::finite;
use crate::{Engine, Failure, settings};
use isal_onnx::DataType;
use tch::{Kind, Tensor};

impl Engine {
    /// The batch with what the loss takes.
    pub(crate) fn annotated(&self, batch: &Batch) -> Result<Ready, Failure> {
        let images = self.images(batch)?;
        let samples = images.size().first().copied().unwrap_or(0);
        let annotations = self.loss()?.chosen(&batch.0, samples)?;
        Ok(Ready { images, annotations, complete: true })
    }

    /// The batch, with annotations if it brings any or none are wanted.
    pub(crate) fn perhaps_annotated(&self, batch: &Batch) -> Result<Ready, Failure> {
        if batch.0.len() > 1 || self.loss.as_ref().is_some_and(|loss| loss.annotations().is_empty()) {
            return self.annotated(batch);
        }
        Ok(Ready { images: self.images(batch)?, annotations: Vec::new(), complete: false })
    }

    /// The model's input, in the run's float kind (or the integer kind the model asks for). What nobody takes is refused.
    fn images(&self, batch: &Batch) -> Result<Tensor, Failure> {
        settings::use_threads(self.threads);
        let input = self.input();
        let taken = || self.loss.iter().flat_map(|loss| loss.annotations()).chain(std::iter::once(input));
        if let Some((name, _)) = batch.0.iter().find(|(name, _)| !taken().any(|value| value.name == *name)) {
            let names: Vec<String> = taken().map(|value| format!("`{}`", value.name)).collect();
            let reason = format!("`{name}` is taken by nothing; model and loss take {}", names.join(", "));
            return Err(Failure::Argument { what: "batch", reason });
        }
        let images = find(&batch.0, &input.name)?;
        fits(images, input, "input")?;
        let found = images.size();
        if found.first().copied().unwrap_or(0) == 0 {
            let (what, expected) = (format!("input `{}`", input.name), "at least one sample".to_owned());
            return Err(Failure::Shape { what, expected, found });
        }
        let kind = match input.value_type.as_ref().map(|t| t.data_type) {
            Some(DataType::Uint8) => Kind::Uint8,
            Some(DataType::Int8) => Kind::Int8,
            Some(DataType::Int32) => Kind::Int,
            Some(DataType::Int64) => Kind::Int64,
            _ => self.numerics.kind,
        };
        if !is_float(images.f_kind()?) {
            let (what, found) = (format!("input `{}`", input.name), format!("{:?}", images.f_kind()?));
            return Err(Failure::Kind { what, expected: "1 (float32) or 11 (float64)", found });
        }
        let images = images.f_to_kind(kind)?.f_to_device(self.numerics.device)?;
        finite(&images, "the input")?;
        Ok(images)
    }
}
