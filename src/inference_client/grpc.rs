//! gRPC: tensors in their raw form.

use super::connect::Connector;
use super::error::Failure;
use super::tensor::{Output, elements};
use super::wire::{About, Encoded, LARGEST, Metadata, Port};
use super::{Address, Input, ServedModel, Token};
use crate::error_chain::in_one_line;
use crate::serve::Datatype;
use crate::serve::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::serve::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::serve::proto::model_infer_response::InferOutputTensor;
use crate::serve::proto::{
    InferTensorContents, ModelConfigRequest, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelReadyRequest, RepositoryIndexRequest, ServerMetadataRequest,
};
use bytes::Bytes;
use std::error::Error as _;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// How often a silent server is asked whether it is there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(20);

/// One connection, made anew when it breaks.
#[derive(Debug)]
pub(super) struct Grpc {
    client: GrpcInferenceServiceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Grpc {
    /// Must be called where a runtime of tokio is at hand.
    pub(super) fn new(address: &Address, connector: Connector, token: Option<&Token>, timeout: Duration) -> Grpc {
        // An address that was read is one; what it says here is the `:authority` alone, since the connector knows the way.
        let endpoint = Endpoint::from_shared(address.base()).unwrap_or_else(|_| Endpoint::from_static("http://server"));
        let endpoint = endpoint
            .connect_timeout(timeout)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .http2_adaptive_window(true);
        let channel = endpoint.connect_with_connector_lazy(connector);
        let client = GrpcInferenceServiceClient::new(channel)
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(usize::MAX);
        let authorization =
            token.and_then(|token| token.header().parse().ok()).map(|mut value: MetadataValue<Ascii>| {
                value.set_sensitive(true);
                value
            });
        Grpc { client, authorization }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    pub(super) async fn about(&self) -> Result<About, Failure> {
        let said = self.client.clone().server_metadata(self.request(ServerMetadataRequest {})).await;
        let said = said.map_err(failure)?.into_inner();
        Ok(About { name: said.name, version: said.version, extensions: said.extensions })
    }

    pub(super) async fn is_ready(&self, model: &ServedModel) -> Result<bool, Failure> {
        let (name, version) = named(model);
        match self.client.clone().model_ready(self.request(ModelReadyRequest { name, version })).await {
            Ok(said) => Ok(said.into_inner().ready),
            // A model that is not there is not ready.
            Err(status) => match failure(status) {
                Failure::Refused { .. } => Ok(false),
                passing => Err(passing),
            },
        }
    }

    pub(super) async fn metadata(&self, model: &ServedModel) -> Result<Metadata, Failure> {
        let (name, version) = named(model);
        let said = self.client.clone().model_metadata(self.request(ModelMetadataRequest { name, version })).await;
        let said = said.map_err(failure)?.into_inner();
        let port = |port: crate::serve::proto::model_metadata_response::TensorMetadata| Port {
            name: port.name,
            datatype: port.datatype,
            shape: port.shape,
        };
        Ok(Metadata {
            versions: said.versions,
            inputs: said.inputs.into_iter().map(port).collect(),
            outputs: said.outputs.into_iter().map(port).collect(),
            properties: Default::default(),
        })
    }

    pub(super) async fn largest_batch(&self, model: &ServedModel) -> Result<Option<usize>, Failure> {
        let (name, version) = named(model);
        match self.client.clone().model_config(self.request(ModelConfigRequest { name, version })).await {
            Ok(said) => Ok(said.into_inner().config.and_then(|config| usize::try_from(config.max_batch_size).ok())),
            // An extension.
            Err(status) => match failure(status) {
                Failure::Refused { .. } => Ok(None),
                passing => Err(passing),
            },
        }
    }

    pub(super) async fn models(&self) -> Result<Vec<String>, Failure> {
        let said = self.client.clone().repository_index(self.request(RepositoryIndexRequest::default())).await;
        Ok(said.map_err(failure)?.into_inner().models.into_iter().map(|model| model.name).collect())
    }

    pub(super) async fn infer(&self, request: &ModelInferRequest) -> Result<Vec<Output>, Failure> {
        let said = self.client.clone().model_infer(self.request(request.clone())).await;
        outputs(said.map_err(failure)?.into_inner()).map_err(Failure::Answer)
    }
}

fn named(model: &ServedModel) -> (String, String) {
    (model.name.clone(), model.version.clone().unwrap_or_default())
}

/// What a status means.
fn failure(status: Status) -> Failure {
    let said = status.message().to_owned();
    let name = format!("{:?}", status.code());
    let reason = if said.is_empty() { name.clone() } else { format!("{name}: {said}") };
    // The connection broke, whatever the code.
    if let Some(source) = status.source() {
        return Failure::passing(format!("{reason}: {}", in_one_line(source)));
    }
    let refused = |absent| Failure::Refused { absent, status: name.clone(), said: said.clone() };
    match status.code() {
        // A limit of the server's, which no waiting changes.
        Code::ResourceExhausted if said.contains("larger than max") => refused(false),
        Code::OutOfRange if said.contains("message length too large") => Failure::Answer(said),
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => {
            Failure::passing(reason)
        }
        code => refused(code == Code::NotFound),
    }
}

/// A request for these outputs.
pub(super) fn encode((model, id): (&ServedModel, &str), input: &Input, outputs: &[String]) -> Encoded {
    let (model_name, model_version) = named(model);
    let given = InferInputTensor {
        name: input.name.clone(),
        datatype: input.datatype.name().to_owned(),
        shape: input.shape.iter().map(|size| *size as i64).collect(),
        ..InferInputTensor::default()
    };
    let wanted =
        |name: &String| InferRequestedOutputTensor { name: name.clone(), ..InferRequestedOutputTensor::default() };
    Encoded::Grpc(Box::new(ModelInferRequest {
        model_name,
        model_version,
        id: id.to_owned(),
        inputs: vec![given],
        outputs: outputs.iter().map(wanted).collect(),
        raw_input_contents: vec![input.data.clone()],
        ..ModelInferRequest::default()
    }))
}

fn outputs(answer: ModelInferResponse) -> Result<Vec<Output>, String> {
    let raw = answer.raw_output_contents;
    if !raw.is_empty() && raw.len() != answer.outputs.len() {
        return Err(format!("{} outputs with {} raw contents", answer.outputs.len(), raw.len()));
    }
    let mut raw = raw.into_iter();
    answer.outputs.into_iter().map(|output| one(output, raw.next())).collect()
}

fn one(output: InferOutputTensor, raw: Option<Bytes>) -> Result<Output, String> {
    let InferOutputTensor { name, datatype, shape, contents, .. } = output;
    let datatype =
        Datatype::named(&datatype).ok_or_else(|| format!("output `{name}` is of the unknown type `{datatype}`"))?;
    let sizes: Option<Vec<usize>> = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    let sizes = sizes.filter(|sizes| elements(sizes).is_some());
    let shape = sizes.ok_or_else(|| format!("output `{name}` has the shape {shape:?}"))?;
    let data = match (raw, contents) {
        (Some(raw), _) => raw,
        (None, Some(contents)) => typed(datatype, contents),
        (None, None) => return Err(format!("output `{name}` has no contents")),
    };
    Ok(Output { name, datatype, shape, data })
}

/// Typed contents in the raw form: the field that goes with the type.
fn typed(datatype: Datatype, contents: InferTensorContents) -> Bytes {
    fn bytes<T, const N: usize>(numbers: Vec<T>, bytes: impl Fn(T) -> [u8; N]) -> Bytes {
        numbers.into_iter().flat_map(bytes).collect::<Vec<u8>>().into()
    }
    let InferTensorContents { bool_contents, int_contents, int64_contents, uint_contents, uint64_contents, .. } =
        contents;
    match datatype {
        Datatype::Bool => bytes(bool_contents, |flag| [u8::from(flag)]),
        Datatype::Int8 => bytes(int_contents, |number| (number as i8).to_le_bytes()),
        Datatype::Int16 => bytes(int_contents, |number| (number as i16).to_le_bytes()),
        Datatype::Int32 => bytes(int_contents, i32::to_le_bytes),
        Datatype::Int64 => bytes(int64_contents, i64::to_le_bytes),
        Datatype::Uint8 => bytes(uint_contents, |number| (number as u8).to_le_bytes()),
        Datatype::Uint16 => bytes(uint_contents, |number| (number as u16).to_le_bytes()),
        Datatype::Uint32 => bytes(uint_contents, u32::to_le_bytes),
        Datatype::Uint64 => bytes(uint64_contents, u64::to_le_bytes),
        Datatype::Fp32 => bytes(contents.fp32_contents, f32::to_le_bytes),
        Datatype::Fp64 => bytes(contents.fp64_contents, f64::to_le_bytes),
        // These have no typed field that numbers could be in.
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: &str, datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferOutputTensor {
        InferOutputTensor {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents,
            ..InferOutputTensor::default()
        }
    }

    #[test]
    fn raw_and_typed_contents_are_read() {
        let raw = ModelInferResponse {
            outputs: vec![output("a", "FP32", &[2], None)],
            raw_output_contents: vec![[0.5_f32, -1.0].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>().into()],
            ..ModelInferResponse::default()
        };
        let typed = InferTensorContents { int64_contents: vec![7, -8], ..InferTensorContents::default() };
        let typed = ModelInferResponse {
            outputs: vec![output("b", "INT64", &[2], Some(typed))],
            ..ModelInferResponse::default()
        };
        for (answer, expected) in [(raw, [0.5, -1.0]), (typed, [7.0, -8.0])] {
            let read = outputs(answer).expect("an output");
            let floats: Vec<f32> = read[0].floats().expect("numbers").iter().copied().collect();
            assert_eq!(floats, expected);
        }
    }

    #[test]
    fn answers_that_are_not_the_protocols_are_refused() {
        let answer = |output, raw: &[&'static [u8]]| {
            let raw_output_contents = raw.iter().map(|bytes| Bytes::from_static(bytes)).collect();
            outputs(ModelInferResponse { outputs: vec![output], raw_output_contents, ..ModelInferResponse::default() })
        };
        assert!(answer(output("a", "FP32", &[1], None), &[]).is_err(), "no contents");
        assert!(answer(output("a", "FP32", &[-1], None), &[b"1234"]).is_err(), "no shape");
        assert!(answer(output("a", "FP32", &[i64::MAX, i64::MAX], None), &[b"1234"]).is_err(), "no shape either");
        assert!(answer(output("a", "FP99", &[1], None), &[b"1234"]).is_err(), "no type");
        assert!(answer(output("a", "FP32", &[1], None), &[b"1234", b"5678"]).is_err(), "two contents");
    }

    #[test]
    fn a_status_says_whether_to_come_back() {
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded, Code::Cancelled] {
            assert!(matches!(failure(Status::new(code, "later")), Failure::Passing { .. }), "{code:?}");
        }
        assert!(matches!(failure(Status::not_found("no")), Failure::Refused { absent: true, .. }));
        for status in [
            Status::invalid_argument("shape"),
            Status::unauthenticated(""),
            Status::internal("failed"),
            Status::resource_exhausted("Received message larger than max (9 vs. 8)"),
        ] {
            assert!(matches!(failure(status), Failure::Refused { absent: false, .. }));
        }
    }
}
