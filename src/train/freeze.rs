//! A model some of whose parameters stay as they are in training.
//!
//! The plugin trains the parameters that it is given, so a frozen one is not given to it. A BatchNormalization is more: in
//! training it goes by the statistics of the batch and moves its running ones. One whose scale and shift are both frozen is
//! what it is in use, a factor and an offset for each channel; it is written as these while the others are trained, and the
//! model that comes out has it unchanged.

use isal_onnx::{Error, Model, Node, Result, Scope, Tensor};
use std::collections::HashSet;

/// What is left to train.
pub(super) struct Trained {
    /// The model with its frozen BatchNormalizations as factors and offsets, all initializers under their names.
    pub model: Model,
    /// The parameters that are not frozen.
    pub parameters: Vec<String>,
}

/// The model without the parameters that match a pattern.
///
/// # Errors
/// [`Error::Scope`] for a pattern that matches no parameter; [`Error::Node`] for a BatchNormalization that is not understood.
pub(super) fn without(model: &Model, patterns: &[String]) -> Result<Trained> {
    let all = model.graph.parameters(&Scope::All)?;
    if patterns.is_empty() {
        return Ok(Trained { model: model.clone(), parameters: all });
    }
    let frozen: HashSet<String> = model.graph.parameters(&Scope::Patterns(patterns.to_vec()))?.into_iter().collect();
    let mut typed = model.clone();
    typed.infer_shapes()?;
    let mut fixed = model.clone();
    for node in std::mem::take(&mut fixed.graph.nodes) {
        let is_frozen = |input| node.input(input).is_some_and(|name| frozen.contains(name));
        let normalizes = node.op_type == "BatchNormalization" && node.domain.is_empty();
        if normalizes && node.int("training_mode").unwrap_or(0) == 0 && is_frozen(1) && is_frozen(2) {
            let rank = node.input(0).and_then(|x| typed.graph.value_type(x)?.shape).map_or(4, |shape| shape.len());
            as_factors(&mut fixed, &node, rank)?;
        } else {
            fixed.graph.nodes.push(node);
        }
    }
    let parameters = all.into_iter().filter(|name| !frozen.contains(name)).collect();
    Ok(Trained { model: fixed, parameters })
}

/// scale / sqrt(variance + epsilon) x + shift - mean scale / sqrt(variance + epsilon), of an input of so many axes.
fn as_factors(model: &mut Model, node: &Node, rank: usize) -> Result<()> {
    let values = |input: usize| {
        let tensor = node.input(input).and_then(|name| model.graph.initializers.get(name));
        let values = tensor.and_then(Tensor::to_float64);
        values.ok_or_else(|| Error::Tensor {
            name: node.input(input).unwrap_or_default().to_owned(),
            reason: format!("it is no initializer, and node `{}` needs it to be frozen", node.name),
        })
    };
    let (scale, shift, mean, variance) = (values(1)?, values(2)?, values(3)?, values(4)?);
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let factors: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let offsets: Vec<f64> =
        shift.iter().zip(&mean).zip(&factors).map(|((shift, mean), factor)| shift - mean * factor).collect();
    let data_type = node.input(1).and_then(|name| model.graph.initializers.get(name)).map(Tensor::data_type);
    let dims: Vec<usize> =
        std::iter::once(factors.len()).chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect();
    let (x, y) = (node.input(0).unwrap_or_default(), node.outputs.first().map_or("", String::as_str));
    let [factor, offset, product] = ["factor", "offset", "product"].map(|part| format!("{y}/frozen/{part}"));
    for (name, values) in [(&factor, &factors), (&offset, &offsets)] {
        let tensor = Tensor::floats(data_type.unwrap_or(isal_onnx::DataType::Float), &dims, values);
        let constant = Node::new("Constant", name.as_str(), [""; 0], [name.as_str()]).with("value", tensor);
        model.graph.nodes.push(constant);
    }
    model.graph.nodes.push(Node::new("Mul", product.as_str(), [x, &factor], [product.as_str()]));
    model.graph.nodes.push(Node::new("Add", node.name.as_str(), [product.as_str(), &offset], [y]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_normalization_of_frozen_layers_is_a_factor_and_an_offset_and_others_stay() {
        let entry = isal_exporters::zoo().iter().find(|e| e.name == "resnet8").expect("in the zoo");
        let mut model = isal_exporters::build("resnet8", &entry.defaults).expect("built");
        isal_exporters::seeded::overwrite(&mut model, 3, 1.0);
        let frozen = ["conv1.*", "bn1.*", "layer1.*", "layer2.0.bn1.weight"].map(str::to_owned);
        let trained = without(&model, &frozen).expect("frozen");
        let normalized = |model: &Model| -> Vec<String> {
            let nodes = model.graph.nodes.iter().filter(|n| n.op_type == "BatchNormalization");
            nodes.map(|n| n.name.clone()).collect()
        };
        let left = [
            "layer2.0.bn1",
            "layer2.0.bn2",
            "layer2.0.downsample.1",
            "layer3.0.bn1",
            "layer3.0.bn2",
            "layer3.0.downsample.1",
        ];
        let mut found = normalized(&trained.model);
        found.sort();
        assert_eq!(found, left, "one whose shift is trained moves its statistics");
        assert!(
            trained
                .parameters
                .iter()
                .all(|name| name.starts_with("layer2") || name.starts_with("layer3") || name.starts_with("fc"))
        );
        assert!(trained.parameters.contains(&"layer2.0.bn1.bias".to_owned()));
        assert!(!trained.parameters.contains(&"layer2.0.bn1.weight".to_owned()));
        assert_eq!(trained.model.graph.initializers, model.graph.initializers);
        // factor * 1 + offset of the first channel of the stem's, by hand.
        let at = |name: &str| f64::from(model.graph.initializers[name].to_vec::<f32>().expect("float32")[0]);
        let constant = |part: &str| {
            let name = format!("bn1.output/frozen/{part}");
            let node = trained.model.graph.nodes.iter().find(|n| n.name == name).expect("a Constant");
            f64::from(node.tensor("value").and_then(|t| t.to_vec::<f32>()).expect("float32")[0])
        };
        let expected =
            (1.0 - at("bn1.running_mean")) / (at("bn1.running_var") + 1e-5).sqrt() * at("bn1.weight") + at("bn1.bias");
        assert!((constant("factor") + constant("offset") - expected).abs() < 1e-5);
        let error = without(&model, &["layer9.*".to_owned()]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("layer9.*"), "{error}");
    }
}
