//! The derivative of a graph's outputs along tangents that are given when it runs.

use super::{Seed, Target, Way, differentiate};
use crate::{Builder, Error, Graph, Model, Result, ValueInfo};
use std::collections::{HashMap, HashSet};

/// Metadata property with the names of values whose tangent counts as zero, separated by commas. ONNX has no operator that
/// stops a gradient, so this is how a loss says which of its values are settings: proposals, quality targets.
pub const HELD: &str = "isal.held";

/// `model` with the derivatives of its outputs as further outputs, `NAME.tangent` each, along tangents that are further inputs,
/// `NAME.tangent` for each input of `moving`, of its own type and shape. The other inputs do not move, nor do the values that
/// the property [`HELD`] names. An output that does not move has no tangent.
///
/// # Errors
/// [`Error::Graph`] for a name of `moving` that is no input of floats, a name of [`HELD`] that no value has, a name that is
/// taken, and a graph none of whose outputs moves; [`Error::Node`] as for [`tangents`](super::tangents).
pub fn of_inputs(model: &Model, moving: &[&str], target: Target) -> Result<Model> {
    let typed = model.inferred()?;
    let held = held(&typed)?;
    let outputs: Vec<ValueInfo> = typed.graph.outputs.clone();
    let mut builder = Builder::extend(Graph { outputs: Vec::new(), ..typed.graph.clone() });
    let mut seeds = HashMap::new();
    for name in moving {
        let input = typed.graph.inputs.iter().find(|input| input.name == *name);
        let floats = input.and_then(|input| input.value_type.clone()).filter(|t| t.data_type.is_float());
        let Some(value_type) = floats else {
            let found = input.map_or("no input", |_| "no input of floats");
            return Err(refuse(model, format!("`{name}` is {found}, and cannot move")));
        };
        let tangent = free(model, &builder, name)?;
        let value = builder.input(&tangent, value_type);
        if !held.contains(name) {
            seeds.insert((*name).to_owned(), Seed::Dense(value));
        }
    }
    let targets: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
    let way = Way { targets: &targets, held: &held };
    let (mut builder, found) = differentiate(builder, &typed, &[seeds], way, target)?;
    let found = found.into_iter().next().unwrap_or_default();
    if found.is_empty() {
        return Err(refuse(model, format!("no output moves with `{}`", moving.join("`, `"))));
    }
    for name in &targets {
        let Some(value) = found.get(*name) else { continue };
        let tangent = free(model, &builder, name)?;
        builder.output(&tangent, *value, typed.graph.value_type(name));
    }
    let mut graph = builder.finish()?;
    graph.outputs.splice(0..0, outputs);
    graph.prune();
    Ok(Model { graph, ..typed.clone() })
}

/// The names that the property [`HELD`] of a model lists.
pub fn held_values(model: &Model) -> HashSet<&str> {
    let listed = model.metadata.get(HELD).map_or("", String::as_str);
    listed.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// The held values, each of which is there.
fn held(model: &Model) -> Result<HashSet<&str>> {
    let names = held_values(model);
    let graph = &model.graph;
    let missing = |name: &&&str| {
        graph.producer(name).is_none()
            && graph.inputs.iter().all(|input| input.name != **name)
            && !graph.initializers.contains_key(**name)
    };
    match names.iter().find(missing) {
        Some(name) => Err(refuse(model, format!("`{HELD}` names `{name}`, which no value is called"))),
        None => Ok(names),
    }
}

/// `NAME.tangent`, when nothing is called so.
fn free(model: &Model, builder: &Builder, name: &str) -> Result<String> {
    let tangent = format!("{name}.tangent");
    match builder.get(&tangent) {
        Some(_) => Err(refuse(model, format!("it has a value `{tangent}`"))),
        None => Ok(tangent),
    }
}

fn refuse(model: &Model, reason: String) -> Error {
    Error::Graph { graph: model.graph.name.clone(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, ValueType};

    /// loss = a b + c, with `product` = a b on the way, and `count`, an output of integers.
    fn model() -> Model {
        let mut b = Builder::new("loss");
        let rows = ValueType::new(DataType::Float, ["N"]);
        let [x, y, z] = ["a", "b", "c"].map(|name| b.input(name, rows.clone()));
        let product = b.node("Mul", [x, y]).outputs(["product"]).value();
        let loss = b.node("Add", [product, z]).outputs(["loss"]).value();
        let count = b.node("Shape", [x]).outputs(["count"]).value();
        b.output("loss", loss, Some(rows));
        b.output("count", count, None);
        Model::new(17, b.finish().expect("a graph"))
    }

    fn with_held(names: &str) -> Model {
        let mut model = model();
        model.metadata.insert(HELD.to_owned(), names.to_owned());
        model
    }

    fn names(values: &[ValueInfo]) -> Vec<&str> {
        values.iter().map(|v| v.name.as_str()).collect()
    }

    fn nodes(model: &Model) -> Vec<&str> {
        model.graph.nodes.iter().map(|n| n.op_type.as_str()).collect()
    }

    #[test]
    fn each_moving_input_and_each_output_that_moves_has_a_tangent_beside_it() {
        let made = of_inputs(&model(), &["a", "c"], Target::Any).expect("made");
        assert_eq!(names(&made.graph.inputs), ["a", "b", "c", "a.tangent", "c.tangent"]);
        assert_eq!(names(&made.graph.outputs), ["loss", "count", "loss.tangent"]);
        for name in ["a.tangent", "loss.tangent"] {
            assert_eq!(made.graph.value_type(name), Some(ValueType::new(DataType::Float, ["N"])), "{name}");
        }
        let mut checked = made;
        checked.check().expect("nodes as the standard has them");
        checked.infer_shapes().expect("shapes that agree");
    }

    #[test]
    fn what_is_held_stops_the_tangent_there() {
        let made = of_inputs(&with_held("product"), &["a", "c"], Target::Any).expect("made");
        // The tangent is that of c alone.
        assert_eq!(nodes(&made).iter().filter(|op| **op == "Mul").count(), 1, "{:?}", nodes(&made));
        assert_eq!(names(&made.graph.outputs), ["loss", "count", "loss.tangent"]);
        let made = of_inputs(&with_held(" c , product "), &["a", "b", "c"], Target::Any);
        assert!(made.is_err_and(|e| e.to_string() == "graph `loss`: no output moves with `a`, `b`, `c`"));
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let refused = |model: &Model, moving: &[&str]| match of_inputs(model, moving, Target::Any) {
            Err(error) => error.to_string(),
            Ok(_) => "made".to_owned(),
        };
        assert_eq!(refused(&model(), &["d"]), "graph `loss`: `d` is no input, and cannot move");
        assert_eq!(refused(&model(), &["product"]), "graph `loss`: `product` is no input, and cannot move");
        assert_eq!(refused(&model(), &["a", "a"]), "graph `loss`: it has a value `a.tangent`");
        let misspelt = refused(&with_held("prodct"), &["a"]);
        assert_eq!(misspelt, "graph `loss`: `isal.held` names `prodct`, which no value is called");
        let mut integers = model();
        let rows = ValueType::new(DataType::Int64, ["N"]);
        integers.graph.inputs.push(ValueInfo::new("labels", rows));
        assert_eq!(refused(&integers, &["labels"]), "graph `loss`: `labels` is no input of floats, and cannot move");
        let mut taken = model();
        taken.graph.nodes[1].outputs[0] = "loss.tangent".to_owned();
        taken.graph.outputs.remove(0);
        taken.graph.outputs.push(ValueInfo { name: "loss.tangent".to_owned(), value_type: None });
        assert!(of_inputs(&taken, &["a"], Target::Any).is_ok(), "it is called `loss.tangent.tangent`");
    }
}
