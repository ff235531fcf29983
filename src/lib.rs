//! Decides which images to label next: influence functions over models in ONNX form.
//!
//! The mathematics, in the order a score is made: a reference gradient `v`, the solved
//! inverse-Hessian-vector product `s = H^-1 v`, and for every pool image the influence
//! `I = -s . grad l`. The more negative the influence, the more labelling that image is expected to
//! lower the loss on the reference set.

pub mod annotation_tools;
pub mod audit;
pub mod bench;
pub mod classifier;
pub mod cli;
pub mod compare;
pub mod data;
pub mod deploy;
pub mod durable;
mod error_chain;
pub mod families;
pub mod graphs;
mod hex;
pub mod inference_client;
pub mod influence;
pub mod influence_graph;
mod lowest;
pub mod network;
pub mod observe;
pub mod operators;
pub mod plugin;
mod repeats;
pub mod report;
pub mod rounds;
pub mod runtime;
pub mod scores;
pub mod scoring;
pub mod select;
pub mod serve;
pub mod study;
pub mod sweep;
pub mod task;
pub mod train;
pub mod view;
