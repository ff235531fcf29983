//! Arrays that cross the boundary.

use super::library::call;
use super::{Plugin, PluginError};
use crate::influence::{Annotation, Annotations};
use isal_plugin_abi::{self as abi, Array, Arrays, Bytes, ElementKind, Role, Table};
use ndarray::{ArrayD, ArrayView, ArrayView4, CowArray, Dimension, IxDyn};

/// Element types that go in and come out.
pub(super) trait Element: bytemuck::Pod {
    const KIND: ElementKind;
}
impl Element for f32 {
    const KIND: ElementKind = ElementKind::F32;
}
impl Element for f64 {
    const KIND: ElementKind = ElementKind::F64;
}
impl Element for i64 {
    const KIND: ElementKind = ElementKind::I64;
}

/// A row-major array of the caller's, for the length of a call.
pub(super) struct Given<'a, T> {
    elements: CowArray<'a, T, IxDyn>,
}

impl<'a, T: Element> Given<'a, T> {
    pub(super) fn new<D: Dimension>(view: ArrayView<'a, T, D>) -> Self {
        let view = view.into_dyn();
        let elements = match view.is_standard_layout() {
            true => CowArray::from(view),
            false => CowArray::from(view.as_standard_layout().into_owned()),
        };
        Given { elements }
    }

    /// A view, valid as long as this lives.
    pub(super) fn array(&self) -> Array {
        // Row-major by construction, so there is always a slice.
        let bytes = self.elements.as_slice().map_or(&[][..], bytemuck::cast_slice);
        Array::new(T::KIND, self.elements.shape(), bytes)
    }
}

/// A batch of the caller's, for the length of a call: the model's input, and annotations of floats of the same width or of
/// whole numbers.
pub(super) struct GivenBatch<'a, T> {
    floats: Vec<(&'a str, Given<'a, T>)>,
    whole: Vec<(&'a str, Given<'a, i64>)>,
}

impl<'a> GivenBatch<'a, f32> {
    pub(super) fn annotated(input: &'a str, images: ArrayView4<'a, f32>, annotations: &'a Annotations) -> Self {
        let mut batch = GivenBatch::new(input, images);
        for (name, array) in annotations.arrays() {
            match array {
                Annotation::Float(array) => batch.floats.push((name, Given::new(array.view()))),
                Annotation::Whole(array) => batch.whole.push((name, Given::new(array.view()))),
            }
        }
        batch
    }
}

impl<'a, T: Element> GivenBatch<'a, T> {
    pub(super) fn new<D: Dimension>(input: &'a str, images: ArrayView<'a, T, D>) -> Self {
        GivenBatch { floats: vec![(input, Given::new(images))], whole: Vec::new() }
    }

    /// With one more annotation.
    pub(super) fn with<D: Dimension>(mut self, name: &'a str, array: ArrayView<'a, T, D>) -> Self {
        self.floats.push((name, Given::new(array)));
        self
    }

    /// Views, valid as long as this lives.
    pub(super) fn arrays(&self) -> Vec<abi::NamedArray> {
        let named = |name: &str, array| abi::NamedArray {
            name: Bytes::new(name.as_bytes()),
            array,
            role: Role::INPUT,
            reserved: 0,
        };
        let floats = self.floats.iter().map(|(name, given)| named(name, given.array()));
        floats.chain(self.whole.iter().map(|(name, given)| named(name, given.array()))).collect()
    }
}

/// An array under a name, copied out of the plugin; half precision comes as float32, and so does float64 here.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArray {
    /// A graph output, or an initializer.
    pub name: String,
    /// Its elements; integers and booleans are converted.
    pub values: ArrayD<f32>,
    pub(super) role: Role,
}

/// A list of arrays that the plugin holds; freed with this.
pub(super) struct List {
    handle: Arrays,
    table: &'static Table,
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: a null message is allowed. The handle is this list's own, so the call cannot fail.
        unsafe { (self.table.arrays_free)(self.handle, std::ptr::null_mut()) };
    }
}

impl List {
    pub(super) fn new(plugin: &Plugin, handle: Arrays) -> List {
        List { handle, table: plugin.table }
    }

    pub(super) fn len(&self) -> Result<usize, PluginError> {
        let mut len = 0;
        // SAFETY: `len` and the message are valid for the call.
        call("arrays_count", |m| unsafe { (self.table.arrays_count)(self.handle, &raw mut len, m) })?;
        Ok(len)
    }

    /// Array `index` with its elements as `T`.
    pub(super) fn get<T: Element + FromPlugin>(&self, index: usize) -> Result<(String, Role, ArrayD<T>), PluginError> {
        let mut out = std::mem::MaybeUninit::uninit();
        // SAFETY: `out` and the message are valid for the call.
        call("arrays_get", |m| unsafe { (self.table.arrays_get)(self.handle, index, out.as_mut_ptr(), m) })?;
        // SAFETY: the call succeeded, so it wrote the array.
        let named = unsafe { out.assume_init() };
        let wrong = |reason: String| PluginError::Answer { call: "arrays_get", reason };
        // SAFETY: what the array points to lives until the list is freed, which is after this function.
        let (name, dims, bytes) = unsafe { (named.name.as_str(), named.array.dims(), named.array.bytes()) };
        let name = name.ok_or_else(|| wrong("the name is not valid".to_owned()))?.to_owned();
        let (Some(dims), Some(bytes)) = (dims, bytes) else {
            return Err(wrong(format!("array `{name}` is not valid")));
        };
        let elements = T::convert(named.array.kind, bytes)
            .ok_or_else(|| wrong(format!("array `{name}` has element kind {}", named.array.kind.0)))?;
        let values =
            ArrayD::from_shape_vec(IxDyn(dims), elements).map_err(|e| wrong(format!("array `{name}`: {e}")))?;
        Ok((name, named.role, values))
    }

    pub(super) fn all(&self) -> Result<Vec<NamedArray>, PluginError> {
        (0..self.len()?).map(|i| self.get(i).map(|(name, role, values)| NamedArray { name, values, role })).collect()
    }
}

/// Element types the plugin's arrays are converted to.
pub(super) trait FromPlugin: Sized {
    fn convert(kind: ElementKind, bytes: &[u8]) -> Option<Vec<Self>>;
}

fn elements<T: bytemuck::Pod, U>(bytes: &[u8], convert: impl Fn(T) -> U) -> Option<Vec<U>> {
    if !bytes.len().is_multiple_of(size_of::<T>()) {
        return None;
    }
    Some(bytes.chunks_exact(size_of::<T>()).map(|c| convert(bytemuck::pod_read_unaligned(c))).collect())
}

impl FromPlugin for f32 {
    fn convert(kind: ElementKind, bytes: &[u8]) -> Option<Vec<f32>> {
        match kind {
            ElementKind::F32 => elements(bytes, |v: f32| v),
            ElementKind::F64 => elements(bytes, |v: f64| v as f32),
            ElementKind::I64 => elements(bytes, |v: i64| v as f32),
            ElementKind::BOOL => elements(bytes, |v: u8| f32::from(v)),
            _ => None,
        }
    }
}

impl FromPlugin for f64 {
    fn convert(kind: ElementKind, bytes: &[u8]) -> Option<Vec<f64>> {
        match kind {
            ElementKind::F32 => elements(bytes, |v: f32| f64::from(v)),
            ElementKind::F64 => elements(bytes, |v: f64| v),
            ElementKind::I64 => elements(bytes, |v: i64| v as f64),
            ElementKind::BOOL => elements(bytes, |v: u8| f64::from(v)),
            _ => None,
        }
    }
}
