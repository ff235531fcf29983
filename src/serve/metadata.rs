//! What the server and its models say of themselves, whichever way they are asked.

use super::model::Version;
use super::proto;
use super::signature::Port;
use super::stats::{Batches, Spent, Stats};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The server's name.
pub(super) const NAME: &str = "isal";
/// The server's version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the protocol calls models in ONNX form.
pub(super) const PLATFORM: &str = "onnx_onnxv1";

/// The extensions that are there. The repository's index answers in any case; its extension is more, to load and to unload.
pub(super) fn extensions(allow_load: bool) -> Vec<&'static str> {
    let mut extensions = vec!["binary_tensor_data", "classification", "statistics", "model_configuration"];
    extensions.extend(allow_load.then_some("model_repository"));
    extensions
}

/// A model's metadata.
pub(super) fn of_model(version: &Version, versions: &[u64]) -> proto::ModelMetadataResponse {
    let tensor = |port: &Port| proto::model_metadata_response::TensorMetadata {
        name: port.name.clone(),
        datatype: port.datatype.name().to_owned(),
        shape: port.dims(),
    };
    proto::ModelMetadataResponse {
        name: version.name.clone(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: PLATFORM.to_owned(),
        inputs: version.signature.inputs.iter().map(tensor).collect(),
        outputs: version.signature.outputs.iter().map(tensor).collect(),
    }
}

fn duration(spent: &Spent) -> Option<proto::StatisticDuration> {
    Some(proto::StatisticDuration { count: spent.count(), ns: spent.nanoseconds() })
}

/// What a version has done.
pub(super) fn statistics(version: &Version) -> proto::ModelStatistics {
    let stats: &Stats = &version.stats;
    let batch = |(rows, batches): (usize, Batches)| {
        let part = |spent: Duration| {
            Some(proto::StatisticDuration {
                count: batches.runs,
                ns: u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX),
            })
        };
        proto::InferBatchStatistics {
            batch_size: rows as u64,
            compute_input: part(batches.spent.input),
            compute_infer: part(batches.spent.infer),
            compute_output: part(batches.spent.output),
        }
    };
    proto::ModelStatistics {
        name: version.name.clone(),
        version: version.number.to_string(),
        last_inference: stats.last_ms(),
        inference_count: stats.inferences.load(Ordering::Relaxed),
        execution_count: stats.executions.load(Ordering::Relaxed),
        inference_stats: Some(proto::InferStatistics {
            success: duration(&stats.success),
            fail: duration(&stats.fail),
            queue: duration(&stats.queue),
            compute_input: duration(&stats.input),
            compute_infer: duration(&stats.infer),
            compute_output: duration(&stats.output),
            cache_hit: Some(proto::StatisticDuration::default()),
            cache_miss: Some(proto::StatisticDuration::default()),
        }),
        batch_stats: stats.batches().into_iter().map(batch).collect(),
    }
}
