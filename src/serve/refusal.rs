//! Why a request is not answered, and what HTTP and gRPC call it.

use super::datatype::Datatype;
use crate::data::{DecodeError, RecipeError};
use crate::runtime::{CutShort, RuntimeError};
use std::fmt;
use std::time::Duration;

/// Why a request is not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such model.
    #[error("unknown model `{name}`")]
    UnknownModel {
        /// The name asked for.
        name: String,
    },
    /// No such version.
    #[error("model `{name}` has no version `{version}`; it has {known}")]
    UnknownVersion {
        /// The model.
        name: String,
        /// The version asked for.
        version: String,
        /// Those that there are.
        known: String,
    },
    /// A model that could not be loaded.
    #[error("model `{name}` is not ready: {reason}")]
    NotReady {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
    /// A text that is no JSON, or no request.
    #[error("the request is not as expected: {reason}")]
    Json {
        /// What is wrong, and where.
        reason: String,
    },
    /// Brackets within brackets.
    #[error("the JSON is nested more than {limit} deep")]
    Depth {
        /// The limit.
        limit: usize,
    },
    /// A header that cannot be used.
    #[error("header `{name}`: {reason}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// A body in a form that is not read.
    #[error("content encoding `{encoding}` is not read, expected gzip, deflate or identity")]
    Encoding {
        /// The form.
        encoding: String,
    },
    /// A packed body that does not unpack.
    #[error("the {encoding} body does not unpack: {reason}")]
    Packed {
        /// The form.
        encoding: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A body over the limit.
    #[error("the request is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The connection broke, or was slow.
    #[error("the body was not received: {reason}")]
    Body {
        /// Why.
        reason: String,
    },
    /// A body that took too long.
    #[error("the body was not received within {} s", limit.as_secs_f64())]
    SlowBody {
        /// The limit.
        limit: Duration,
    },
    /// An input that the model has not.
    #[error("unknown {port} `{name}`; the model has {known}")]
    UnknownPort {
        /// Input or output.
        port: PortKind,
        /// Its name in the request.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An input that the request lacks.
    #[error("input `{name}` is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// One name for two things.
    #[error("{port} `{name}` is given twice")]
    Twice {
        /// Input or output.
        port: PortKind,
        /// Its name.
        name: String,
    },
    /// A type that is none.
    #[error("input `{name}` has the unknown datatype `{datatype}`")]
    UnknownDatatype {
        /// The input.
        name: String,
        /// The type in the request.
        datatype: String,
    },
    /// Another type than the model's.
    #[error("input `{name}` has datatype {found}, expected {expected}")]
    Datatype {
        /// The input.
        name: String,
        /// The request's.
        found: Datatype,
        /// The model's.
        expected: Datatype,
    },
    /// A shape that the model does not take.
    #[error("input `{name}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The input.
        name: String,
        /// The request's.
        found: Vec<i64>,
        /// The model's, with -1 for free axes.
        expected: String,
    },
    /// A shape of more elements than the limit, or than can be counted.
    #[error("input `{name}` has shape {shape:?}, which is over the limit of {limit} elements")]
    TooManyElements {
        /// The input.
        name: String,
        /// The request's.
        shape: Vec<i64>,
        /// The limit.
        limit: usize,
    },
    /// More rows than the model takes at once.
    #[error("the request has {rows} rows, the model takes 1 to {limit} at a time")]
    Rows {
        /// The request's.
        rows: usize,
        /// The model's `max_batch_size`.
        limit: usize,
    },
    /// Inputs with different numbers of rows.
    #[error("input `{name}` has {found} rows, the inputs before it have {expected}")]
    UnequalRows {
        /// The input.
        name: String,
        /// Its rows.
        found: usize,
        /// Those of the others.
        expected: usize,
    },
    /// Not as many bytes or elements as the shape says.
    #[error("input `{name}` has {found} {unit} of data, its shape needs {expected}")]
    Size {
        /// The input.
        name: String,
        /// What was given.
        found: usize,
        /// What the shape needs.
        expected: usize,
        /// Bytes or elements.
        unit: &'static str,
    },
    /// BYTES whose lengths do not fit.
    #[error("input `{name}`: {source}")]
    Texts {
        /// The input.
        name: String,
        /// What does not fit.
        source: CutShort,
    },
    /// Data that does not fit, in words.
    #[error("input `{name}`: {reason}")]
    Data {
        /// The input.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// FP16 or BF16 in JSON.
    #[error("{port} `{name}` is {datatype}, which has no form in JSON: use binary data")]
    BinaryOnly {
        /// Input or output.
        port: PortKind,
        /// Its name.
        name: String,
        /// Its type.
        datatype: Datatype,
    },
    /// NaN or infinity, for which JSON has no word.
    #[error("output `{name}` holds NaN or infinity, which have no form in JSON: ask for `binary_data`")]
    NotFinite {
        /// The output.
        name: String,
    },
    /// Texts that JSON cannot hold.
    #[error("output `{name}` holds bytes that are not UTF-8, which have no form in JSON: ask for `binary_data`")]
    NotText {
        /// The output.
        name: String,
    },
    /// A parameter that is not understood or not done here.
    #[error("parameter `{name}`: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An encoded image that gives no image.
    #[error("input `{name}`, image {at}: {source}")]
    Image {
        /// The input.
        name: String,
        /// Which one, from 0.
        at: usize,
        /// What is wrong.
        source: DecodeError,
    },
    /// An image that the model's preprocessing does not take.
    #[error("input `{name}`, image {at}: {source}")]
    Recipe {
        /// The input.
        name: String,
        /// Which one, from 0.
        at: usize,
        /// What is wrong.
        source: RecipeError,
    },
    /// The queue of the model is full.
    #[error("model `{name}` has {limit} requests waiting: try again later")]
    QueueFull {
        /// The model.
        name: String,
        /// The queue's length.
        limit: usize,
    },
    /// The server holds as much as it may.
    #[error("the server holds {limit} bytes of requests: try again later")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The server ends.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Not answered in time.
    #[error("no answer within {} s", limit.as_secs_f64())]
    Late {
        /// The limit.
        limit: Duration,
    },
    /// The model failed.
    #[error("{reason}")]
    Failed {
        /// What ONNX Runtime or the server said.
        reason: String,
    },
    /// Something that must be asked for when the server is started.
    #[error("{what} is off: start the server with `{option}`")]
    Off {
        /// What was asked for.
        what: &'static str,
        /// The option that turns it on.
        option: &'static str,
    },
    /// A path that is none of the protocol's.
    #[error("nothing answers at `{path}`")]
    NoPath {
        /// The path.
        path: String,
    },
    /// No token, or a wrong one.
    #[error("a bearer token is needed")]
    Unauthorised,
}

/// Whether a refusal is about an input or an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// What a model takes.
    Input,
    /// What it gives.
    Output,
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortKind::Input => "input",
            PortKind::Output => "output",
        })
    }
}

/// What kind of refusal it is, for the codes of HTTP and gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong.
    Invalid,
    /// It names something that is not there.
    NotFound,
    /// It is larger than the limit.
    TooLarge,
    /// It is in a form that is not read.
    Form,
    /// The server cannot take it now.
    Busy,
    /// Not sent in time.
    Slow,
    /// Not answered in time.
    Late,
    /// The model or the server failed.
    Failed,
    /// Not allowed here.
    Forbidden,
    /// Not allowed without a token.
    Unauthorised,
}

impl Refusal {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Refusal::UnknownModel { .. } | Refusal::UnknownVersion { .. } | Refusal::NoPath { .. } => Kind::NotFound,
            Refusal::TooLarge { .. } => Kind::TooLarge,
            Refusal::Encoding { .. } => Kind::Form,
            Refusal::QueueFull { .. } | Refusal::Full { .. } | Refusal::ShuttingDown | Refusal::NotReady { .. } => {
                Kind::Busy
            }
            Refusal::SlowBody { .. } => Kind::Slow,
            Refusal::Late { .. } => Kind::Late,
            Refusal::Failed { .. } => Kind::Failed,
            Refusal::Off { .. } => Kind::Forbidden,
            Refusal::Unauthorised => Kind::Unauthorised,
            _ => Kind::Invalid,
        }
    }

    /// HTTP's status code.
    pub fn status(&self) -> u16 {
        match self.kind() {
            Kind::Invalid => 400,
            Kind::Unauthorised => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Slow => 408,
            Kind::TooLarge => 413,
            Kind::Form => 415,
            Kind::Failed => 500,
            Kind::Busy => 503,
            Kind::Late => 504,
        }
    }
}

impl From<RuntimeError> for Refusal {
    fn from(error: RuntimeError) -> Refusal {
        Refusal::Failed { reason: error.to_string() }
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> tonic::Status {
        let text = refusal.to_string();
        match refusal.kind() {
            Kind::Invalid | Kind::Form => tonic::Status::invalid_argument(text),
            Kind::NotFound => tonic::Status::not_found(text),
            Kind::TooLarge => tonic::Status::resource_exhausted(text),
            Kind::Busy => tonic::Status::unavailable(text),
            Kind::Slow | Kind::Late => tonic::Status::deadline_exceeded(text),
            Kind::Failed => tonic::Status::internal(text),
            Kind::Forbidden => tonic::Status::permission_denied(text),
            Kind::Unauthorised => tonic::Status::unauthenticated(text),
        }
    }
}
