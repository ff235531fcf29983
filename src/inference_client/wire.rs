//! The protocol's requests, over either transport.

use super::error::Failure;
use super::grpc::Grpc;
use super::http::Http;
use super::tensor::Output;
use super::{Address, ClientError, Input, ServedModel, Token, Transport, connect};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Largest answer that is read. Far more than numbers of an image, since a server may send every output of its model.
pub(super) const LARGEST: usize = 256 << 20;

/// An input or output as a server describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type, by the protocol's name.
    pub datatype: String,
    /// Sizes of its axes; -1 where any.
    pub shape: Vec<i64>,
}

/// What a server says of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The versions that it has.
    pub versions: Vec<String>,
    /// The inputs; none where it does not say.
    pub inputs: Vec<Port>,
    /// The outputs; none where it does not say.
    pub outputs: Vec<Port>,
    /// What else it says, in text: a server of `isal` says by what an influence was computed.
    pub properties: BTreeMap<String, String>,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) extensions: Vec<String>,
}

/// A request for inference, ready to be sent as often as it takes.
#[derive(Debug, Clone)]
pub(super) enum Encoded {
    /// A body, and how long the JSON at its beginning is where tensors lie behind it.
    Http {
        body: Bytes,
        json: Option<usize>,
    },
    Grpc(Box<crate::serve::proto::ModelInferRequest>),
}

/// A transport.
#[derive(Debug)]
pub(super) enum Wire {
    Http(Http),
    Grpc(Grpc),
}

impl Wire {
    pub(super) fn new(
        address: &Address,
        token: Option<&Token>,
        authorities: Option<&Path>,
        timeout: Duration,
    ) -> Result<Wire, ClientError> {
        let connector = connect::connector(address, authorities)?;
        Ok(match address.transport {
            Transport::Http => Wire::Http(Http::new(address, connector, token)),
            Transport::Grpc => Wire::Grpc(Grpc::new(address, connector, token, timeout)),
        })
    }

    pub(super) async fn about(&self) -> Result<About, Failure> {
        match self {
            Wire::Http(http) => http.about().await,
            Wire::Grpc(grpc) => grpc.about().await,
        }
    }

    pub(super) async fn is_ready(&self, model: &ServedModel) -> Result<bool, Failure> {
        match self {
            Wire::Http(http) => http.is_ready(model).await,
            Wire::Grpc(grpc) => grpc.is_ready(model).await,
        }
    }

    pub(super) async fn metadata(&self, model: &ServedModel) -> Result<Metadata, Failure> {
        match self {
            Wire::Http(http) => http.metadata(model).await,
            Wire::Grpc(grpc) => grpc.metadata(model).await,
        }
    }

    /// The most rows of a request, where the server has a limit and says so; 0: no batches.
    pub(super) async fn largest_batch(&self, model: &ServedModel, about: &About) -> Result<Option<usize>, Failure> {
        match self {
            // Servers without the extension have no such path.
            Wire::Http(http) if about.extensions.iter().any(|known| known == "model_configuration") => {
                http.largest_batch(model).await
            }
            Wire::Http(_) => Ok(None),
            Wire::Grpc(grpc) => grpc.largest_batch(model).await,
        }
    }

    /// Names of the models that are there, where the server says so.
    pub(super) async fn models(&self) -> Result<Vec<String>, Failure> {
        match self {
            Wire::Http(http) => http.models().await,
            Wire::Grpc(grpc) => grpc.models().await,
        }
    }

    /// A request for these outputs. `binary`: whether tensors may lie behind the JSON.
    pub(super) fn encode(
        &self,
        (model, id): (&ServedModel, &str),
        input: &Input,
        outputs: &[String],
        binary: bool,
    ) -> Result<Encoded, String> {
        match self {
            Wire::Http(_) => super::http::encode(id, input, outputs, binary),
            Wire::Grpc(_) => Ok(super::grpc::encode((model, id), input, outputs)),
        }
    }

    pub(super) async fn infer(&self, model: &ServedModel, request: &Encoded) -> Result<Vec<Output>, Failure> {
        match (self, request) {
            (Wire::Http(http), Encoded::Http { body, json }) => http.infer(model, body, *json).await,
            (Wire::Grpc(grpc), Encoded::Grpc(request)) => grpc.infer(request).await,
            // A wire sends what it encoded.
            _ => Err(Failure::Answer("a request of another transport".to_owned())),
        }
    }
}
