//! The solvers and scores against truths that share no code with them: dense algebra on a convex model, and
//! retraining it.
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]

mod configs;
mod contraction;
mod dense;
mod digits;
mod exact;
mod guards;
mod logistic;
mod matrix;
mod mlp;
mod network;
mod retraining;
mod setting;
mod settling;
