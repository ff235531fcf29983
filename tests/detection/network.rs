//! Whole detectors with seeded weights.

use crate::graph::{Graph, library};
use crate::torchvision;
use isal_exporters::{ModelOptions, build, detection, seeded};
use isal_onnx::{Dim, Tensor};
use std::collections::BTreeMap;

/// Of the largest number of a head.
const HEADS: f64 = 1e-4;

#[test]
fn networks_are_those_of_torchvision_to_the_last_detection() {
    let library = library();
    for expected in torchvision::fixture().networks {
        let entry = detection::detectors().iter().find(|e| e.name == expected.name).expect("in the zoo");
        let options = ModelOptions { input: expected.input, classes: expected.classes, ..entry.defaults.clone() };
        let mut model = build(entry.name, &options).expect("built");
        let shapes: BTreeMap<String, Vec<usize>> =
            model.graph.initializers.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
        assert_eq!(shapes, expected.shapes);
        assert_eq!(model.metadata["isal.zoo.parameters"], expected.trainable.to_string());
        seeded::overwrite(&mut model, 0, 1.0);
        let [channels, height, width] = expected.input;
        let images: Tensor = seeded::images(0, [2, channels, height, width]);
        let heads = Graph::open(&library, &model).run(&[("images", &images)]);
        for (name, expected) in ["cls", "reg", "ctr"].into_iter().zip(&expected.heads) {
            let found = heads[name].to_float64().expect("floats");
            assert_eq!(found.len(), expected.len());
            let scale = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let worst = found.iter().zip(expected).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            println!("{}: `{name}` {:.1e} of its scale", entry.name, worst / scale);
            assert!(worst <= HEADS * scale, "{}: `{name}` {worst} of {scale}", entry.name);
        }
        let shapes: Vec<Vec<Dim>> = ["cls", "reg", "ctr"]
            .map(|name| {
                [Dim::from("N")].into_iter().chain(heads[name].dims()[1..].iter().map(|d| (*d).into())).collect()
            })
            .into();
        let decode = detection::pair(entry.task, [height, width], &shapes, None, options.opset).expect("graphs").decode;
        let given: Vec<(&str, &Tensor)> = ["cls", "reg", "ctr"].into_iter().map(|name| (name, &heads[name])).collect();
        torchvision::same(entry.name, &Graph::open(&library, &decode).run(&given), &expected.detections);
    }
}
