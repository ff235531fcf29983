//! The last layer of a classifier, and another one in its place.
//!
//! Any ONNX model will do whose class scores come from one dense layer (Gemm, MatMul) or convolution: the layer that
//! [`Scope::Head`] names. Its weight and bias are drawn anew for another number of classes; everything else stays.

use crate::{Error, Result};
use isal_onnx::{Dim, Graph, Model, Node, Scope, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

/// Deviation of the weights: class scores are about alike at first, whatever the features.
const DEVIATION: f32 = 0.01;

/// The last layer of a classifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The initializer that is its weight.
    pub weight: String,
    /// The initializers that are added to its product.
    pub biases: Vec<String>,
    /// The axis of the weight that counts the classes.
    pub axis: usize,
    /// How many there are.
    pub classes: usize,
}

impl Head {
    /// The last layer of a model.
    ///
    /// # Errors
    /// [`Error::Head`] where there is none, or several, or one whose weight is used in another way.
    pub fn of(model: &Model) -> Result<Head> {
        let graph = &model.graph;
        let named = Scope::Head.select(graph).map_err(|e| refused(e.to_string()))?;
        let (weights, biases): (Vec<_>, Vec<_>) =
            named.into_iter().partition(|p| p.dims.len() >= 2 && !is_row(&p.dims));
        let [weight] = &weights[..] else {
            let names: Vec<String> = weights.iter().map(|p| format!("`{}`", p.name)).collect();
            return Err(refused(format!("expected one layer before the outputs, found {}", names.join(", "))));
        };
        let axis = class_axis(graph, &weight.name)?;
        let classes = weight.dims.get(axis).copied().unwrap_or(0);
        if let Some(bias) = biases.iter().find(|p| p.dims.iter().product::<usize>() != classes) {
            return Err(refused(format!("`{}` has dims {:?} for {classes} classes", bias.name, bias.dims)));
        }
        Ok(Head {
            weight: weight.name.clone(),
            biases: biases.into_iter().map(|bias| bias.name).collect(),
            axis,
            classes,
        })
    }

    /// Names of its initializers.
    pub fn names(&self) -> Vec<String> {
        std::iter::once(&self.weight).chain(&self.biases).cloned().collect()
    }

    /// Draws the layer anew for another number of classes, from a seed. The model's inputs and outputs keep their names.
    ///
    /// # Errors
    /// [`Error::Head`] where another node of the model counts on the old number; the model is then as it was.
    pub fn replace(&self, model: &mut Model, classes: usize, seed: u64) -> Result<()> {
        let mut new = model.clone();
        let mut draws = Normal::new(0.0f32, DEVIATION)
            .map_err(|e| refused(e.to_string()))?
            .sample_iter(ChaCha8Rng::seed_from_u64(seed));
        for name in self.names() {
            let Some(tensor) = new.graph.initializers.get_mut(&name) else { continue };
            let is_weight = name == self.weight;
            let mut dims = tensor.dims().to_vec();
            let axis = if is_weight { Some(self.axis) } else { dims.iter().rposition(|dim| *dim == self.classes) };
            if let Some(dim) = axis.and_then(|axis| dims.get_mut(axis)) {
                *dim = classes;
            }
            let count = dims.iter().product();
            let values: Vec<f64> = match is_weight {
                true => draws.by_ref().take(count).map(f64::from).collect(),
                false => vec![0.0; count],
            };
            *tensor = Tensor::floats(tensor.data_type(), &dims, &values);
        }
        for shape in new.graph.outputs.iter_mut().filter_map(|o| o.value_type.as_mut()?.shape.as_mut()) {
            let old = |dim: &Dim| dim.known() == Some(self.classes);
            if let Some(dim) = shape.iter_mut().skip(1).rev().find(|dim| old(dim)) {
                *dim = classes.into();
            }
        }
        new.graph.value_types.clear();
        let elsewhere = |e: String| refused(format!("another node counts on {} classes: {e}", self.classes));
        new.infer_shapes().map_err(|e| elsewhere(e.to_string()))?;
        let has = |o: &isal_onnx::ValueInfo| {
            let shape = o.value_type.as_ref().and_then(|t| t.shape.as_ref());
            shape.is_none_or(|shape| shape.iter().any(|dim| dim.known().is_none_or(|dim| dim == classes)))
        };
        if let Some(output) = new.graph.outputs.iter().find(|output| !has(output)) {
            return Err(elsewhere(format!("output `{}` does not follow", output.name)));
        }
        if new.metadata.contains_key("isal.zoo.parameters") {
            let count: usize = new.graph.every_parameter().iter().map(|p| p.dims.iter().product::<usize>()).sum();
            new.metadata.insert("isal.zoo.parameters".to_owned(), count.to_string());
        }
        *model = new;
        Ok(())
    }
}

/// `[1, C]`, `[1, C, 1, 1]`: a bias that is written with all its axes.
fn is_row(dims: &[usize]) -> bool {
    dims.first() == Some(&1) && dims.iter().filter(|dim| **dim != 1).count() <= 1
}

/// The axis of a weight that counts what its layer gives, through the nodes that turn or convert it.
fn class_axis(graph: &Graph, weight: &str) -> Result<usize> {
    let (mut value, mut turned) = (weight, false);
    loop {
        let readers: Vec<&Node> = graph.consumers(value).filter_map(|at| graph.nodes.get(at)).collect();
        let [node] = readers[..] else {
            return Err(refused(format!("`{weight}` is read by {} nodes, expected one", readers.len())));
        };
        let second = node.input(1) == Some(value);
        match node.op_type.as_str() {
            "Gemm" if second => return Ok(usize::from((node.int("transB").unwrap_or(0) == 0) != turned)),
            "MatMul" if second => return Ok(usize::from(!turned)),
            "Conv" if second && node.int("group").unwrap_or(1) == 1 => return Ok(0),
            "Transpose" if node.ints("perm").is_none_or(|perm| perm == [1, 0]) => turned = !turned,
            "Identity" | "Cast" => {}
            other => return Err(refused(format!("`{weight}` goes through node `{}` (`{other}`)", node.name))),
        }
        value = node.outputs.first().map_or("", String::as_str);
    }
}

fn refused(reason: String) -> Error {
    Error::Head { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelOptions, build, zoo};
    use isal_onnx::{Builder, DataType, ValueType};

    fn zoo_model(name: &str, input: [usize; 3]) -> Model {
        let defaults = &zoo().iter().find(|e| e.name == name).expect("in the zoo").defaults;
        build(name, &ModelOptions { input, classes: 10, ..defaults.clone() }).expect("built")
    }

    #[test]
    fn every_network_of_the_zoo_takes_another_number_of_classes() {
        for entry in zoo() {
            let input = if entry.name == "vit-tiny" { [3, 32, 32] } else { entry.defaults.input };
            let mut model = zoo_model(entry.name, input);
            let before = model.clone();
            let head = Head::of(&model).expect(entry.name);
            assert_eq!((head.axis, head.classes), (0, 10), "{}", entry.name);
            head.replace(&mut model, 7, 1).expect(entry.name);
            let found = model.graph.outputs[0].value_type.clone().and_then(|t| t.shape).expect("a shape");
            assert_eq!(found, [Dim::from("N"), Dim::from(7)], "{}", entry.name);
            for (name, tensor) in &before.graph.initializers {
                let same = model.graph.initializers.get(name) == Some(tensor);
                assert_eq!(same, !head.names().contains(name), "{}: `{name}`", entry.name);
            }
            let again = Head::of(&model).expect(entry.name);
            assert_eq!((again.weight, again.classes), (head.weight, 7));
        }
    }

    /// `softmax(x W + b)` with W `[4, 3]` or turned, as exporters other than PyTorch's write it.
    fn product(turned: bool, after: &[usize]) -> Model {
        let mut b = Builder::new("dense");
        let x = b.input("x", ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), 4.into()]) });
        let dims = if turned { [3, 4] } else { [4, 3] };
        let mut w = b.initializer("w", Tensor::new(dims, &[0.5f32; 12]));
        if turned {
            w = b.node("Transpose", [w]).attr("perm", vec![1i64, 0]).value();
        }
        let bias = b.initializer("b", Tensor::new([1, 3], &[1.0f32; 3]));
        let y = b.op("MatMul", [x, w]);
        let mut y = b.op("Add", [y, bias]);
        if !after.is_empty() {
            let shape: Vec<i64> = after.iter().map(|dim| *dim as i64).collect();
            let shape = b.constant("shape", Tensor::new([shape.len()], &shape));
            y = b.op("Reshape", [y, shape]);
        }
        let y = b.node("Softmax", [y]).attr("axis", -1).value();
        b.output("y", y, None);
        Model::new(17, b.finish().expect("a graph"))
    }

    #[test]
    fn a_product_and_a_sum_are_a_dense_layer_either_way_round() {
        for turned in [false, true] {
            let mut model = product(turned, &[]);
            let head = Head::of(&model).expect("a head");
            assert_eq!(
                (head.axis, head.classes, head.biases.as_slice()),
                (usize::from(!turned), 3, &["b".to_owned()][..])
            );
            head.replace(&mut model, 5, 0).expect("replaced");
            let dims = |name: &str| model.graph.initializers[name].dims().to_vec();
            assert_eq!((dims("w"), dims("b")), (if turned { vec![5, 4] } else { vec![4, 5] }, vec![1, 5]));
            assert_eq!(model.graph.outputs[0].value_type.clone().and_then(|t| t.dims()), None);
        }
    }

    #[test]
    fn a_model_that_counts_on_its_classes_elsewhere_is_refused_and_left_alone() {
        let mut model = product(false, &[1, 3]);
        let before = model.clone();
        let head = Head::of(&model).expect("a head");
        model.graph.outputs[0].value_type =
            Some(ValueType::new(DataType::Float, [Dim::from(1usize), Dim::from(3usize)]));
        let declared = model.clone();
        let result = head.replace(&mut model, 5, 0);
        assert!(matches!(result, Err(Error::Head { .. })), "{result:?}");
        assert_eq!(model, declared);
        assert_eq!(before.graph.initializers, model.graph.initializers);
    }
}
