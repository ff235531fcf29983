//! gRPC: the same answers as HTTP, streams, codes, health.

use super::place::{Place, affine, bytes, floats};
use futures_util::StreamExt as _;
use isal::serve::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use isal::serve::proto::infer_parameter::ParameterChoice;
use isal::serve::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use isal::serve::proto::{self as p, InferParameter, InferTensorContents, ModelInferRequest};
use std::future::Future;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

async fn channel(place: &Place) -> Channel {
    Endpoint::from_shared(format!("http://{}", place.grpc())).expect("an address").connect().await.expect("connected")
}

fn input(shape: &[i64], contents: Option<&[f32]>) -> InferInputTensor {
    InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: shape.to_vec(),
        contents: contents
            .map(|values| InferTensorContents { fp32_contents: values.to_vec(), ..InferTensorContents::default() }),
        ..InferInputTensor::default()
    }
}

fn raw(rows: &[f32]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "affine".into(),
        id: "9".into(),
        inputs: vec![input(&[rows.len() as i64 / 3, 3], None)],
        raw_input_contents: vec![bytes(rows).into()],
        ..ModelInferRequest::default()
    }
}

#[test]
fn the_core_answers_as_http_does() {
    let place = Place::affine();
    wait(async {
        let mut client = GrpcInferenceServiceClient::new(channel(&place).await);
        assert!(client.server_live(p::ServerLiveRequest {}).await.expect("answered").into_inner().live);
        assert!(client.server_ready(p::ServerReadyRequest {}).await.expect("answered").into_inner().ready);
        let asked = p::ModelReadyRequest { name: "affine".into(), version: "1".into() };
        assert!(client.model_ready(asked).await.expect("answered").into_inner().ready);
        let server = client.server_metadata(p::ServerMetadataRequest {}).await.expect("answered").into_inner();
        assert_eq!(server.name, "isal");
        let asked = p::ModelMetadataRequest { name: "affine".into(), version: String::new() };
        let metadata = client.model_metadata(asked).await.expect("answered").into_inner();
        assert_eq!((metadata.platform.as_str(), metadata.inputs[0].shape.as_slice()), ("onnx_onnxv1", &[-1, 3][..]));
        let asked = p::ModelConfigRequest { name: "affine".into(), version: String::new() };
        let config = client.model_config(asked).await.expect("answered").into_inner().config.expect("one");
        assert_eq!((config.max_batch_size, config.backend.as_str()), (32, "onnxruntime"));

        let answer = client.model_infer(raw(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).await.expect("answered").into_inner();
        assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("9", "1"));
        assert_eq!(answer.outputs[0].shape, [2, 3]);
        assert_eq!(floats(&answer.raw_output_contents[0]), [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]);
        assert_eq!(answer.raw_output_contents[1].as_ref(), [1; 6]);
        let typed = ModelInferRequest {
            model_name: "affine".into(),
            inputs: vec![input(&[1, 3], Some(&[0.0, 1.0, -1.0]))],
            outputs: vec![InferRequestedOutputTensor { name: "y".into(), ..Default::default() }],
            ..ModelInferRequest::default()
        };
        let answer = client.model_infer(typed).await.expect("answered").into_inner();
        assert_eq!(answer.outputs.len(), 1);
        assert_eq!(floats(&answer.raw_output_contents[0]), [1.0, 3.0, -1.0]);

        let asked = p::ModelStatisticsRequest { name: "affine".into(), version: String::new() };
        let stats = client.model_statistics(asked).await.expect("answered").into_inner().model_stats;
        assert_eq!((stats[0].inference_count, stats[0].execution_count), (3, 2));
        let index = client.repository_index(p::RepositoryIndexRequest::default()).await.expect("answered").into_inner();
        assert_eq!((index.models[0].name.as_str(), index.models[0].state.as_str()), ("affine", "READY"));
    });
}

#[test]
fn packed_messages_go_both_ways() {
    let place = Place::affine();
    wait(async {
        for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
            let client = GrpcInferenceServiceClient::new(channel(&place).await);
            let mut client = client.send_compressed(encoding).accept_compressed(encoding);
            let answer = client.model_infer(raw(&[7.0; 90])).await.expect("answered").into_inner();
            assert_eq!(floats(&answer.raw_output_contents[0]), [15.0; 90]);
        }
    });
}

#[test]
fn a_stream_is_answered_in_order_and_an_error_does_not_end_it() {
    let place = Place::affine();
    wait(async {
        let mut client = GrpcInferenceServiceClient::new(channel(&place).await);
        let requests = (0..50_u16).map(|at| {
            let mut request = raw(&[f32::from(at); 3]);
            request.id = at.to_string();
            if at == 20 {
                request.model_name = "other".into();
            }
            let last = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
            request.parameters.insert("triton_enable_empty_final_response".into(), last);
            request
        });
        let sent = futures_util::stream::iter(requests.collect::<Vec<_>>());
        let answers = client.model_stream_infer(sent).await.expect("answered").into_inner();
        let answers: Vec<_> = answers.map(|answer| answer.expect("an answer")).collect().await;
        assert_eq!(answers.len(), 50);
        for (at, answer) in (0_u16..).zip(answers) {
            let response = answer.infer_response.expect("one");
            assert_eq!(response.id, at.to_string());
            assert!(response.parameters.contains_key("triton_final_response"));
            if at == 20 {
                assert_eq!(answer.error_message, "unknown model `other`");
            } else {
                assert_eq!(answer.error_message, "");
                assert_eq!(floats(&response.raw_output_contents[0]), [2.0 * f32::from(at) + 1.0; 3]);
            }
        }
    });
}

/// What the metrics say is held.
fn held(place: &Place) -> usize {
    let text = String::from_utf8(place.get("/metrics").body).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("isal_held_bytes ")?.parse().ok());
    line.expect("a metric")
}

#[test]
fn the_messages_of_a_stream_are_bounded_in_sum_and_in_time() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| {
        let limits = &mut options.running.limits;
        (limits.held_bytes, limits.body_time, limits.request_time) =
            (100_000, std::time::Duration::from_millis(300), std::time::Duration::from_millis(700));
    });
    wait(async {
        // Far more than the bound in all, and each message below it: what was answered is held no longer.
        let mut client = GrpcInferenceServiceClient::new(channel(&place).await);
        let sent = futures_util::stream::iter((0..3000).map(|_| raw(&[1.0; 96])));
        let answers = client.model_stream_infer(sent).await.expect("answered").into_inner();
        let mut right = 0;
        let mut answers = answers.map(|answer| answer.expect("an answer"));
        while let Some(answer) = answers.next().await {
            right += usize::from(answer.error_message.is_empty());
        }
        assert_eq!(right, 3000);
        // One message over the bound ends its stream.
        let mut large = raw(&[1.0; 3]);
        large.raw_input_contents = vec![vec![0; 200_000].into()];
        let answers = client.model_stream_infer(futures_util::stream::iter([large])).await;
        let ended = match answers {
            Err(status) => status,
            Ok(answers) => answers.into_inner().next().await.expect("an end").expect_err("refused"),
        };
        assert!(ended.message().contains("100000 bytes"), "{ended:?}");
    });
    while held(&place) > 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // A message that began and never ends is let go.
    let body = b"\0\0\x01\0\0half of it".to_vec();
    wait(async {
        let mut plain = tonic::client::Grpc::new(channel(&place).await);
        plain.ready().await.expect("connected");
        let mut service = channel(&place).await;
        let unfinished = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes::Bytes::from(body))]);
        let unfinished = unfinished.chain(futures_util::stream::pending());
        let request = axum::http::Request::post("/inference.GRPCInferenceService/ModelStreamInfer")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(axum::body::Body::from_stream(unfinished)))
            .expect("a request");
        let service =
            tower::ServiceExt::<axum::http::Request<tonic::body::Body>>::ready(&mut service).await.expect("ready");
        let response = tower::Service::call(service, request).await.expect("an answer");
        let mut body = axum::body::Body::new(response.into_body()).into_data_stream();
        // It ends; without the bound this would wait for ever.
        while let Some(Ok(_)) = body.next().await {}
    });
    while held(&place) > 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_is_malformed_has_its_code_and_the_server_goes_on() {
    let place = Place::affine();
    let good = || raw(&[1.0, 2.0, 3.0]);
    let changed = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let cases = [
        (changed(&|r| r.model_name = "../etc".into()), Code::NotFound, "unknown model"),
        (changed(&|r| r.model_version = "2".into()), Code::NotFound, "version"),
        (changed(&|r| r.inputs[0].shape = vec![i64::MAX, i64::MAX]), Code::InvalidArgument, "limit"),
        (changed(&|r| r.inputs[0].shape = vec![-1, 3]), Code::InvalidArgument, "[-1, 3]"),
        (changed(&|r| r.inputs[0].datatype = "FP99".into()), Code::InvalidArgument, "FP99"),
        (changed(&|r| r.inputs[0].datatype = "FP64".into()), Code::InvalidArgument, "needs 24"),
        (changed(&|r| r.inputs[0].name = "z".into()), Code::InvalidArgument, "`z`"),
        (changed(&|r| r.inputs.push(r.inputs[0].clone())), Code::InvalidArgument, "1 entries for 2 inputs"),
        (changed(&|r| r.raw_input_contents.push(vec![].into())), Code::InvalidArgument, "2 entries for 1 inputs"),
        (changed(&|r| r.raw_input_contents[0] = vec![0; 11].into()), Code::InvalidArgument, "11 bytes"),
        (changed(&|r| r.inputs[0] = input(&[1, 3], Some(&[1.0]))), Code::InvalidArgument, "raw and typed"),
        (changed(&|r| r.raw_input_contents.clear()), Code::InvalidArgument, "0 elements"),
        (
            changed(&|r| r.outputs = vec![InferRequestedOutputTensor { name: "q".into(), ..Default::default() }]),
            Code::InvalidArgument,
            "`q`",
        ),
    ];
    wait(async {
        let mut client = GrpcInferenceServiceClient::new(channel(&place).await);
        for (request, code, says) in cases {
            let status = client.model_infer(request.clone()).await.expect_err("refused");
            assert!(status.code() == code && status.message().contains(says), "{request:?}: {status:?}");
            let answer = client.model_infer(good()).await.expect("it goes on").into_inner();
            assert_eq!(floats(&answer.raw_output_contents[0]), [3.0, 5.0, 7.0]);
        }
        let load = p::RepositoryModelLoadRequest { model_name: "affine".into(), ..Default::default() };
        assert_eq!(client.repository_model_load(load).await.expect_err("off").code(), Code::PermissionDenied);
        let mut large = GrpcInferenceServiceClient::new(channel(&place).await);
        let mut request = good();
        request.raw_input_contents = vec![vec![0; 65 << 20].into()];
        let status = large.model_infer(request).await.expect_err("too large");
        assert!([Code::OutOfRange, Code::ResourceExhausted].contains(&status.code()), "{status:?}");
        // A call of the service that is not there.
        let mut plain = tonic::client::Grpc::new(channel(&place).await);
        plain.ready().await.expect("connected");
        let path = "/inference.GRPCInferenceService/SystemSharedMemoryStatus".parse().expect("a path");
        let codec = tonic_prost::ProstCodec::<p::ServerLiveRequest, p::ServerLiveResponse>::default();
        let status = plain.unary(Request::new(p::ServerLiveRequest {}), path, codec).await.expect_err("not there");
        assert_eq!(status.code(), Code::Unimplemented);
    });
}

#[test]
fn health_and_the_token_work_as_for_http() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| options.token = Some("open sesame".to_owned()));
    wait(async {
        let mut health = HealthClient::new(channel(&place).await);
        for service in ["", "inference.GRPCInferenceService"] {
            let asked = HealthCheckRequest { service: service.into() };
            let answer = health.check(asked).await.expect("answered").into_inner();
            assert_eq!(answer.status, ServingStatus::Serving as i32);
        }
        let mut client = GrpcInferenceServiceClient::new(channel(&place).await);
        assert!(client.server_ready(p::ServerReadyRequest {}).await.expect("open").into_inner().ready);
        let status = client.model_infer(raw(&[1.0; 3])).await.expect_err("no token");
        assert_eq!(status.code(), Code::Unauthenticated);
        let mut request = Request::new(raw(&[1.0; 3]));
        request.metadata_mut().insert("authorization", "Bearer open sesame".parse().expect("text"));
        client.model_infer(request).await.expect("with the token");
    });
}
