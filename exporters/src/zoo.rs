//! The models there are, their defaults, and how one is built.

use crate::network::{Feature, Network};
use crate::{Error, Result, detection, lenet, mobilenet, resnet, vit};
use isal_onnx::Model;

/// What can be chosen about a model of the zoo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOptions {
    /// Channels, height and width of one image.
    pub input: [usize; 3],
    /// Number of classes, the width of `logits`.
    pub classes: usize,
    /// Seed of the weights. The same seed and options give the same bytes.
    pub seed: u64,
    /// Version of the standard operator set, from [`ModelOptions::OPSETS`].
    pub opset: i64,
    /// Whether every convolution is followed by a BatchNormalization node. Without, it has a bias instead.
    /// LeNet and the vision transformers have none either way.
    pub batch_norm: bool,
}

impl ModelOptions {
    /// Opsets a model can be written at: every operator used means the same in all of them. Two models need a newer one
    /// than the first of these: `mobilenetv2` 11, `vit-tiny` 17.
    pub const OPSETS: std::ops::RangeInclusive<i64> = 9..=23;

    /// The opset that models and losses are written at unless something else is asked for.
    pub const DEFAULT_OPSET: i64 = 17;

    pub(crate) const fn images(input: [usize; 3], batch_norm: bool) -> Self {
        ModelOptions { input, classes: 10, seed: 0, opset: ModelOptions::DEFAULT_OPSET, batch_norm }
    }

    /// Photographs of ImageNet's classes, as pretrained weights have them.
    const fn photographs(batch_norm: bool) -> Self {
        ModelOptions { classes: 1000, ..ModelOptions::images([3, 224, 224], batch_norm) }
    }
}

/// A model of the zoo.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name, as [`build`] takes it.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// Options to start from.
    pub defaults: ModelOptions,
    layers: fn(&mut Network, Feature) -> Result<Feature>,
}

const ZOO: &[Entry] = &[
    Entry {
        name: "lenet",
        description: "LeNet-5 with ReLU and max-pooling: two convolutions, three dense layers",
        defaults: ModelOptions::images([1, 28, 28], false),
        layers: lenet::layers,
    },
    Entry {
        name: "resnet8",
        description: "CIFAR ResNet of 8 layers: one basic block a stage, widths 16, 32, 64",
        defaults: ModelOptions::images([3, 32, 32], true),
        layers: |network, x| resnet::layers(network, x, &resnet::CIFAR_8),
    },
    Entry {
        name: "resnet20",
        description: "CIFAR ResNet of 20 layers: three basic blocks a stage, widths 16, 32, 64",
        defaults: ModelOptions::images([3, 32, 32], true),
        layers: |network, x| resnet::layers(network, x, &resnet::CIFAR_20),
    },
    Entry {
        name: "resnet56",
        description: "CIFAR ResNet of 56 layers: nine basic blocks a stage, widths 16, 32, 64",
        defaults: ModelOptions::images([3, 32, 32], true),
        layers: |network, x| resnet::layers(network, x, &resnet::CIFAR_56),
    },
    Entry {
        name: "resnet18",
        description: "ResNet-18 in its CIFAR form: 3x3 stem without max-pooling, widths 64 to 512",
        defaults: ModelOptions::images([3, 32, 32], true),
        layers: |network, x| resnet::layers(network, x, &resnet::CIFAR_WIDE_18),
    },
    Entry {
        name: "resnet18-imagenet",
        description: "ResNet-18 for photographs: torchvision's resnet18",
        defaults: ModelOptions::photographs(true),
        layers: |network, x| resnet::layers(network, x, &resnet::IMAGENET_18),
    },
    Entry {
        name: "resnet34-imagenet",
        description: "ResNet-34 for photographs: torchvision's resnet34",
        defaults: ModelOptions::photographs(true),
        layers: |network, x| resnet::layers(network, x, &resnet::IMAGENET_34),
    },
    Entry {
        name: "resnet50-imagenet",
        description: "ResNet-50 for photographs, stride in the 3x3 convolutions: torchvision's resnet50",
        defaults: ModelOptions::photographs(true),
        layers: |network, x| resnet::layers(network, x, &resnet::IMAGENET_50),
    },
    Entry {
        name: "mobilenetv2",
        description: "MobileNetV2 for photographs: torchvision's mobilenet_v2",
        defaults: ModelOptions::photographs(true),
        layers: mobilenet::layers,
    },
    Entry {
        name: "vit-tiny",
        description: "Vision transformer of 12 layers, 192 wide, on patches of 16x16: timm's vit_tiny_patch16_224",
        defaults: ModelOptions::photographs(false),
        layers: vit::layers,
    },
];

/// Every classifier of the zoo.
pub fn zoo() -> &'static [Entry] {
    ZOO
}

/// Name, description and default options of every model that [`build`] makes, classifiers first.
pub fn models() -> impl Iterator<Item = (&'static str, &'static str, &'static ModelOptions)> {
    let classifiers = ZOO.iter().map(|e| (e.name, e.description, &e.defaults));
    classifiers.chain(detection::detectors().iter().map(|e| (e.name, e.description, &e.defaults)))
}

/// Builds a model with freshly drawn weights.
///
/// The graph takes `images`, `[N, channels, height, width]` with a symbolic batch `N`, and gives `logits`,
/// `[N, classes]`, without a softmax; a detector its raw heads ([`detection`]). The metadata hold `isal.zoo` (the name), `isal.zoo.parameters` (how many
/// numbers training changes; running statistics not counted) and `isal.zoo.seed`.
///
/// # Errors
/// [`Error::UnknownModel`]; [`Error::Option`] when the options do not suit the model.
pub fn build(name: &str, options: &ModelOptions) -> Result<Model> {
    if let Some(entry) = detection::detectors().iter().find(|e| e.name == name) {
        return detection::build(entry, options);
    }
    let known = || models().map(|(name, ..)| name).collect();
    let entry = ZOO
        .iter()
        .find(|e| e.name == name)
        .ok_or_else(|| Error::UnknownModel { name: name.to_owned(), known: known() })?;
    let (mut network, images) = Network::new(entry.name, options)?;
    let logits = (entry.layers)(&mut network, images)?;
    Ok(network.finish([("logits", logits)]))
}
