//! The server as clients meet it, on real ONNX Runtime: what it answers, what it refuses, and that it goes on.

mod answers;
mod batching;
mod grpc;
mod harvest;
mod images;
mod influence;
mod label_studio;
mod malformed;
mod models;
mod place;
mod program;
mod secured;
mod spans;
