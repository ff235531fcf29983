//! Detectors and their losses as ONNX Runtime computes them, against torchvision in float64 (`tests/fixtures/detection.py`).
//! Needs ONNX Runtime (`make setup`).

mod exported;
mod family;
mod figures;
#[path = "../losses/graph.rs"]
mod graph;
mod heads;
mod network;
mod rcnn;
mod torchvision;
mod yolo;
