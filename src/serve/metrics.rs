//! Prometheus metrics: Triton's names for what Triton counts, so that dashboards go on, and `isal_` for the rest.

use super::Shared;
use super::harvest::Harvest;
use super::model::Version;
use super::stats::{Spent, Stats};
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The format that [`text`] writes.
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

type Figure = (&'static str, &'static str, fn(&Stats) -> u64);

/// What is counted for each version.
const COUNTERS: [Figure; 9] = [
    ("nv_inference_request_success", "Requests that were answered", |stats| stats.success.count()),
    ("nv_inference_request_failure", "Requests that were refused or failed", |stats| stats.fail.count()),
    ("nv_inference_count", "Rows that were computed", |stats| stats.inferences.load(Ordering::Relaxed)),
    ("nv_inference_exec_count", "Runs of the model", |stats| stats.executions.load(Ordering::Relaxed)),
    ("nv_inference_request_duration_us", "Time of answered requests", |stats| microseconds(&stats.success)),
    ("nv_inference_queue_duration_us", "Time of requests in the queue", |stats| microseconds(&stats.queue)),
    ("nv_inference_compute_input_duration_us", "Time of making tensors", |stats| microseconds(&stats.input)),
    ("nv_inference_compute_infer_duration_us", "Time of running the model", |stats| microseconds(&stats.infer)),
    ("nv_inference_compute_output_duration_us", "Time of copying outputs", |stats| microseconds(&stats.output)),
];

fn microseconds(spent: &Spent) -> u64 {
    spent.nanoseconds() / 1000
}

/// Everything that is counted, as text.
///
/// # Errors
/// Where two metrics have one name, which is a mistake in the server.
pub(super) fn text(shared: &Shared) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let versions = shared.registry.all();
    for (name, help, figure) in COUNTERS {
        let counter = IntCounterVec::new(Opts::new(name, help), &["model", "version"])?;
        for version in &versions {
            let number = version.number.to_string();
            counter.with_label_values(&[version.name.as_str(), &number]).inc_by(figure(&version.stats));
        }
        register(&registry, counter)?;
    }
    let pending = Opts::new("nv_inference_pending_request_count", "Requests that wait for the model");
    let pending = IntGaugeVec::new(pending, &["model", "version"])?;
    for version in &versions {
        let waiting = i64::try_from(version.queue.len()).unwrap_or(i64::MAX);
        pending.with_label_values(&[version.name.as_str(), &version.number.to_string()]).set(waiting);
    }
    register(&registry, pending)?;
    for (name, help, value) in [
        ("isal_held_bytes", "Bytes of requests that are being read or answered", shared.ledger.bytes()),
        ("isal_connections", "Open connections", shared.connections.load(Ordering::Relaxed)),
        ("isal_reload_failures", "Changed models that did not load", shared.reload_failures.load(Ordering::Relaxed)),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        register(&registry, gauge)?;
    }
    if let Some(harvest) = &shared.harvest {
        harvested(&registry, harvest)?;
    }
    for version in &versions {
        histograms(&registry, version)?;
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn harvested(registry: &Registry, harvest: &Harvest) -> Result<(), prometheus::Error> {
    let counts = harvest.counts();
    for (name, help, count) in [
        ("isal_harvest_stored_total", "Requests that were written to the harvest", &counts.stored),
        ("isal_harvest_dropped_total", "Requests that were not looked at, as too many waited", &counts.dropped),
        ("isal_harvest_failed_total", "Requests that the harvest could not write", &counts.failed),
    ] {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(count.load(Ordering::Relaxed));
        register(registry, counter)?;
    }
    let images = Opts::new("isal_harvest_images", "Requests in the harvest");
    let bytes = Opts::new("isal_harvest_bytes", "Bytes of requests in the harvest");
    let (images, bytes) = (IntGaugeVec::new(images, &["model", "part"])?, IntGaugeVec::new(bytes, &["model", "part"])?);
    for ((model, part), held) in harvest.held() {
        let labels = [model.as_str(), part.name()];
        images.with_label_values(&labels).set(i64::try_from(held.images).unwrap_or(i64::MAX));
        bytes.with_label_values(&labels).set(i64::try_from(held.bytes).unwrap_or(i64::MAX));
    }
    register(registry, images)?;
    register(registry, bytes)
}

fn histograms(registry: &Registry, version: &Arc<Version>) -> Result<(), prometheus::Error> {
    if let Some(sizes) = &version.stats.batch_sizes {
        register(registry, sizes.clone())?;
    }
    match &version.stats.influences {
        Some(influences) if version.influence_output().is_some() => register(registry, influences.clone()),
        _ => Ok(()),
    }
}

fn register(registry: &Registry, metric: impl Collector + 'static) -> Result<(), prometheus::Error> {
    registry.register(Box::new(metric))
}
