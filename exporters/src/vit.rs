//! A vision transformer (Dosovitskiy et al., arXiv 2010.11929) of the size that DeiT (arXiv 2012.12877) calls tiny.
//!
//! Patches of 16x16 become tokens of 192 features, a class token goes before them, and positions are added. Each of twelve
//! layers normalises, attends with three heads and adds, then normalises, goes through a dense layer of 768 with
//! GELU and one back, and adds. The class token, normalised, goes through the dense head. Names are torchvision's
//! (`VisionTransformer`), the sizes and the epsilon of LayerNormalization (1e-6) timm's as well.
//!
//! Dense layers are a product with the transposed weight: the weight stays in PyTorch's layout, `[out, in]`.

use crate::Result;
use crate::network::{Feature, Network};
use isal_onnx::{Node, Tensor};

const PATCH: usize = 16;
const WIDTH: usize = 192;
const DEPTH: usize = 12;
const HEADS: usize = 3;
const HIDDEN: usize = 768;

pub(crate) fn layers(network: &mut Network, images: Feature) -> Result<Feature> {
    network.since(17, "`LayerNormalization`")?;
    let [channels, height, width] = images.shape[..] else { return Err(network.unsuited("images")) };
    if height < PATCH || width < PATCH || height % PATCH != 0 || width % PATCH != 0 {
        return Err(network.unsuited("height and width of whole patches of 16"));
    }
    let patches = (height / PATCH) * (width / PATCH);
    let tokens = patches + 1;
    constants(network);

    // A convolution over patches that do not overlap: as PyTorch starts it, the deviation of its inputs.
    let std = (1.0 / (channels * PATCH * PATCH) as f32).sqrt();
    network.normal("conv_proj.weight", &[WIDTH, channels, PATCH, PATCH], std);
    network.constant("conv_proj.bias", WIDTH, 0.0);
    network.push(
        Node::new("Conv", "conv_proj", ["images", "conv_proj.weight", "conv_proj.bias"], ["conv_proj.patches"])
            .with("kernel_shape", vec![PATCH as i64; 2])
            .with("strides", vec![PATCH as i64; 2])
            .with("pads", vec![0i64; 4])
            .with("dilations", vec![1i64; 2])
            .with("group", 1),
    );
    let x = network.node("Reshape", "flatten", &["conv_proj.patches", "rows"], &[], &[WIDTH, patches]);
    let x = transpose(network, &x, "tokens", [0, 2, 1].to_vec(), &[patches, WIDTH]);

    network.normal("class_token", &[1, 1, WIDTH], 0.02);
    network.push(Node::new("Shape", "batch", ["images"], ["batch.size"]).with("start", 0).with("end", 1));
    network.push(Node::new("Concat", "batch.dims", ["batch.size", "ones"], ["batch.expanded"]).with("axis", 0));
    let class = network.node("Expand", "class", &["class_token", "batch.expanded"], &[], &[1, WIDTH]);
    let x = network.node("Concat", "with_class", &[&class.name, &x.name], &[("axis", 1)], &[tokens, WIDTH]);
    network.normal("encoder.pos_embedding", &[1, tokens, WIDTH], 0.02);
    let mut x = network.node("Add", "positions", &[&x.name, "encoder.pos_embedding"], &[], &[tokens, WIDTH]);

    for layer in 0..DEPTH {
        let name = format!("encoder.layers.encoder_layer_{layer}");
        let at = |part: &str| format!("{name}.{part}");
        let y = layer_norm(network, &x, &at("ln_1"));
        let y = attention(network, &y, &at("self_attention"));
        let after = network.sum(&x, &y, &at("add_1"));
        let y = layer_norm(network, &after, &at("ln_2"));
        let y = dense(network, &y, &at("mlp.0.weight"), &at("mlp.0.bias"), HIDDEN);
        let y = gelu(network, &y, &at("mlp.1"));
        let y = dense(network, &y, &at("mlp.3.weight"), &at("mlp.3.bias"), WIDTH);
        x = network.sum(&after, &y, &at("add_2"));
    }
    let x = layer_norm(network, &x, "encoder.ln");
    let class = network.node("Gather", "class_feature", &[&x.name, "first"], &[("axis", 1)], &[WIDTH]);
    let classes = network.classes();
    Ok(network.linear(&class, "heads.head", classes, 0.01))
}

/// What shapes and formulas of all layers share.
fn constants(network: &mut Network) {
    let heads = [0, 0, HEADS as i64, (WIDTH / HEADS) as i64];
    network.fixed("rows", Tensor::new([3], &[0, WIDTH as i64, -1]));
    network.fixed("ones", Tensor::new([2], &[1i64, 1]));
    network.fixed("first", Tensor::scalar(0i64));
    network.fixed("thirds", Tensor::new([3], &[WIDTH as i64; 3]));
    network.fixed("heads_apart", Tensor::new([4], &heads));
    network.fixed("heads_together", Tensor::new([3], &[0, 0, WIDTH as i64]));
    network.fixed("scale", Tensor::scalar(1.0 / ((WIDTH / HEADS) as f32).sqrt()));
    network.fixed("gelu.root", Tensor::scalar(std::f32::consts::SQRT_2));
    network.fixed("gelu.one", Tensor::scalar(1.0f32));
    network.fixed("gelu.half", Tensor::scalar(0.5f32));
}

/// softmax(Q K^T / sqrt(d)) V for each head; queries, keys and values come from one dense layer, in this order.
fn attention(network: &mut Network, x: &Feature, name: &str) -> Feature {
    let at = |part: &str| format!("{name}.{part}");
    let tokens = x.shape[0];
    let size = WIDTH / HEADS;
    let all = dense(network, x, &at("in_proj_weight"), &at("in_proj_bias"), 3 * WIDTH);
    let parts = ["query", "key", "value"].map(at);
    network.push(Node::new("Split", at("split"), [all.name.as_str(), "thirds"], parts.clone()).with("axis", 2));
    let mut heads = |part: &str, axes: [i64; 4], shape: &[usize]| {
        let apart = format!("{part}.heads");
        let x = network.node("Reshape", &apart, &[part, "heads_apart"], &[], &[tokens, HEADS, size]);
        transpose(network, &x, &format!("{part}.first"), axes.to_vec(), shape)
    };
    let [query, key, value] = &parts;
    let query = heads(query, [0, 2, 1, 3], &[HEADS, tokens, size]);
    let key = heads(key, [0, 2, 3, 1], &[HEADS, size, tokens]);
    let value = heads(value, [0, 2, 1, 3], &[HEADS, tokens, size]);
    let query = network.node("Mul", &at("scaled"), &[&query.name, "scale"], &[], &query.shape);
    let square = [HEADS, tokens, tokens];
    let scores = network.node("MatMul", &at("scores"), &[&query.name, &key.name], &[], &square);
    let weights = network.node("Softmax", &at("softmax"), &[&scores.name], &[("axis", -1)], &square);
    let mixed = network.node("MatMul", &at("mixed"), &[&weights.name, &value.name], &[], &value.shape);
    let mixed = transpose(network, &mixed, &at("mixed.tokens"), vec![0, 2, 1, 3], &[tokens, HEADS, size]);
    let together = [mixed.name.as_str(), "heads_together"];
    let mixed = network.node("Reshape", &at("together"), &together, &[], &[tokens, WIDTH]);
    dense(network, &mixed, &at("out_proj.weight"), &at("out_proj.bias"), WIDTH)
}

/// A dense layer over the features of each token: deviation of Glorot initialisation, as torchvision has it.
fn dense(network: &mut Network, x: &Feature, weight: &str, bias: &str, features: usize) -> Feature {
    let [tokens, inputs] = x.shape[..] else { unreachable!("tokens by features") };
    network.normal(weight, &[features, inputs], (2.0 / (inputs + features) as f32).sqrt());
    network.constant(bias, features, 0.0);
    let turned = format!("{weight}.turned");
    network.push(Node::new("Transpose", turned.clone(), [weight], [turned.clone()]).with("perm", vec![1i64, 0]));
    let shape = [tokens, features];
    let y = network.node("MatMul", &format!("{weight}.product"), &[&x.name, &turned], &[], &shape);
    network.node("Add", &format!("{bias}.sum"), &[&y.name, bias], &[], &shape)
}

fn layer_norm(network: &mut Network, x: &Feature, name: &str) -> Feature {
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    network.constant(&weight, WIDTH, 1.0);
    network.constant(&bias, WIDTH, 0.0);
    let output = format!("{name}.output");
    network.push(
        Node::new("LayerNormalization", name, [x.name.as_str(), &weight, &bias], [output.clone()])
            .with("axis", -1)
            .with("epsilon", 1e-6),
    );
    Feature { name: output, shape: x.shape.clone() }
}

/// x (1 + erf(x / sqrt(2))) / 2, the exact form.
fn gelu(network: &mut Network, x: &Feature, name: &str) -> Feature {
    let mut step =
        |op: &str, part: &str, inputs: &[&str]| network.node(op, &format!("{name}.{part}"), inputs, &[], &x.shape).name;
    let y = step("Div", "scaled", &[&x.name, "gelu.root"]);
    let y = step("Erf", "erf", &[&y]);
    let y = step("Add", "raised", &[&y, "gelu.one"]);
    let y = step("Mul", "gated", &[&x.name, &y]);
    let name = step("Mul", "halved", &[&y, "gelu.half"]);
    Feature { name, shape: x.shape.clone() }
}

fn transpose(network: &mut Network, x: &Feature, name: &str, axes: Vec<i64>, shape: &[usize]) -> Feature {
    let output = format!("{name}.output");
    network.push(Node::new("Transpose", name, [x.name.as_str()], [output.clone()]).with("perm", axes));
    Feature { name: output, shape: shape.to_vec() }
}
