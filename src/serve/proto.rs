//! The protocol's messages and services, generated from `proto/*.proto` when the crate is built.

#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::OnceLock;

tonic::include_proto!("inference");

/// The descriptors of all messages.
fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
    POOL.get_or_init(|| DescriptorPool::decode(&bytes[..]).ok()).as_ref()
}

/// What `ModelConfig` consists of.
pub(super) fn model_config() -> Option<MessageDescriptor> {
    pool()?.get_message_by_name("inference.ModelConfig")
}
