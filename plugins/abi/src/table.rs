//! The functions of a plugin.

use crate::{Array, Description, ElementKind, Load, Message, ModelInfo, NamedArray, Status, TrainStep};
use std::ffi::c_void;

/// A loaded model; 0 is none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Model(pub u64);

/// A vector over the parameters in scope of one model, on its device; 0 is none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vector(pub u64);

/// A list of named arrays in host memory, owned by the plugin; 0 is none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arrays(pub u64);

/// Which curvature matrix a product is taken with.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Curvature(pub i32);

impl Curvature {
    /// Second derivatives of the loss.
    pub const HESSIAN: Curvature = Curvature(0);
    /// `J^T H_out J`, with `H_out` the Hessian of the loss in the model's values.
    pub const GAUSS_NEWTON: Curvature = Curvature(1);
    /// `sum_n J_n^T g_n g_n^T J_n`, with `g_n` the gradient of sample n's loss in the model's values: positive whatever the loss.
    pub const EMPIRICAL_FISHER: Curvature = Curvature(2);
}

/// The exported symbol's type.
pub type Entry = unsafe extern "C" fn() -> *const Table;

/// The functions. `message` may be null everywhere; every other pointer may not, unless said.
///
/// # Safety
/// Every function: pointers point to what their types say, for the length of the call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// [`crate::ISAL_PLUGIN_ABI_VERSION`] the plugin was built with.
    pub abi_version: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes of this table. Later versions may append functions.
    pub table_size: usize,

    /// What the plugin is.
    pub describe: unsafe extern "C" fn(out: *mut *const Description, message: *mut Message) -> Status,

    /// Reads a model and puts its weights on the device.
    pub load: unsafe extern "C" fn(load: *const Load, out: *mut Model, message: *mut Message) -> Status,
    /// Frees a model. Vectors made with it stay valid to read and free.
    pub model_free: unsafe extern "C" fn(model: Model, message: *mut Message) -> Status,
    /// What a model is; lives until `model_free`.
    pub model_info: unsafe extern "C" fn(model: Model, out: *mut *const ModelInfo, message: *mut Message) -> Status,

    /// All outputs for a batch, in evaluation mode. Annotations need not be there.
    pub forward: unsafe extern "C" fn(
        model: Model,
        batch: *const NamedArray,
        count: usize,
        out: *mut Arrays,
        message: *mut Message,
    ) -> Status,
    /// The loss of each sample, `[N]`, in evaluation mode: one array, named as the loss graph names it.
    pub losses: unsafe extern "C" fn(
        model: Model,
        batch: *const NamedArray,
        count: usize,
        out: *mut Arrays,
        message: *mut Message,
    ) -> Status,
    /// Sum over the batch of the loss and of its gradient, in evaluation mode.
    pub gradient: unsafe extern "C" fn(
        model: Model,
        batch: *const NamedArray,
        count: usize,
        loss: *mut f64,
        out: *mut Vector,
        message: *mut Message,
    ) -> Status,
    /// Sum over the batch of curvature times `v`, in evaluation mode.
    pub curvature_product: unsafe extern "C" fn(
        model: Model,
        curvature: Curvature,
        batch: *const NamedArray,
        count: usize,
        v: Vector,
        out: *mut Vector,
        message: *mut Message,
    ) -> Status,
    /// The values that the loss is taken of, each followed by its derivative along `v` ([`crate::Role::TANGENT`]); behind them,
    /// when the batch has annotations, the loss of each sample and its derivative, annotations and held values fixed.
    pub jvp: unsafe extern "C" fn(
        model: Model,
        batch: *const NamedArray,
        count: usize,
        v: Vector,
        out: *mut Arrays,
        message: *mut Message,
    ) -> Status,

    /// A vector of zeros.
    pub vector_zeros: unsafe extern "C" fn(model: Model, out: *mut Vector, message: *mut Message) -> Status,
    /// A copy of `v`.
    pub vector_copy: unsafe extern "C" fn(v: Vector, out: *mut Vector, message: *mut Message) -> Status,
    /// `a . b`, accumulated in float64.
    pub vector_dot: unsafe extern "C" fn(a: Vector, b: Vector, out: *mut f64, message: *mut Message) -> Status,
    /// `y <- y + alpha x`.
    pub vector_axpy: unsafe extern "C" fn(alpha: f64, x: Vector, y: Vector, message: *mut Message) -> Status,
    /// `x <- alpha x`.
    pub vector_scale: unsafe extern "C" fn(alpha: f64, x: Vector, message: *mut Message) -> Status,
    /// Entries of `v` as `kind` (float32 or float64) into `data`, of exactly `len` bytes.
    pub vector_download: unsafe extern "C" fn(
        v: Vector,
        kind: ElementKind,
        data: *mut c_void,
        len: usize,
        message: *mut Message,
    ) -> Status,
    /// A vector of these entries: an array of one axis, float32 or float64.
    pub vector_upload:
        unsafe extern "C" fn(model: Model, entries: *const Array, out: *mut Vector, message: *mut Message) -> Status,
    /// Frees a vector.
    pub vector_free: unsafe extern "C" fn(v: Vector, message: *mut Message) -> Status,

    /// One step of training in training mode: batch statistics, Dropout active, running statistics moved.
    /// `loss` receives the **sum** over the batch before the step, `outputs` the values that the loss is taken of, from before
    /// the step; `outputs` may be null.
    pub train_step: unsafe extern "C" fn(
        model: Model,
        step: *const TrainStep,
        batch: *const NamedArray,
        count: usize,
        loss: *mut f64,
        outputs: *mut Arrays,
        message: *mut Message,
    ) -> Status,
    /// Everything training changes: parameters, running statistics, momentum buffers that exist.
    pub state_get: unsafe extern "C" fn(model: Model, out: *mut Arrays, message: *mut Message) -> Status,
    /// Overwrites the arrays given, by name and role. A momentum buffer that is not given keeps its value.
    pub state_set:
        unsafe extern "C" fn(model: Model, arrays: *const NamedArray, count: usize, message: *mut Message) -> Status,

    /// Number of arrays in a list.
    pub arrays_count: unsafe extern "C" fn(arrays: Arrays, out: *mut usize, message: *mut Message) -> Status,
    /// Array `index` of a list; what it points to lives until `arrays_free`.
    pub arrays_get:
        unsafe extern "C" fn(arrays: Arrays, index: usize, out: *mut NamedArray, message: *mut Message) -> Status,
    /// Frees a list of arrays.
    pub arrays_free: unsafe extern "C" fn(arrays: Arrays, message: *mut Message) -> Status,
}
