//! LeNet-5 (LeCun et al. 1998) as it is used today: ReLU for the sigmoids, max-pooling for the subsampling.
//!
//! Two 5x5 convolutions (6 and 16 channels; the first keeps the size, the second has no padding), each
//! followed by 2x2 max-pooling, then dense layers of 120, 84 and as many features as there are classes.
//! For one 28x28 channel and ten classes that is 61,706 parameters.

use crate::Result;
use crate::network::{Conv, Feature, Network};

pub(crate) fn layers(network: &mut Network, images: Feature) -> Result<Feature> {
    // Height and width go n -> n/2 -> n/2 - 4 -> (n/2 - 4)/2, which is at least 1 from 12 on.
    if images.shape[1] < 12 || images.shape[2] < 12 {
        return Err(network.unsuited("height and width of at least 12"));
    }
    let conv = Conv { channels: 6, kernel: 5, stride: 1, padding: 2, groups: 1, bias: true, gain: 1.0 };
    let x = network.conv(&images, "conv1", conv);
    let x = network.relu(&x, "relu1");
    let x = network.max_pool(&x, "pool1", 2, 0);
    let x = network.conv(&x, "conv2", Conv { channels: 16, padding: 0, ..conv });
    let x = network.relu(&x, "relu2");
    let x = network.max_pool(&x, "pool2", 2, 0);
    let x = network.flatten(&x, "flatten");
    let x = dense(network, &x, "fc1", 120);
    let x = network.relu(&x, "relu3");
    let x = dense(network, &x, "fc2", 84);
    let x = network.relu(&x, "relu4");
    let classes = network.classes();
    Ok(dense(network, &x, "fc3", classes))
}

/// He initialisation over the inputs: the scale of the features stays as it is through ReLU.
fn dense(network: &mut Network, x: &Feature, name: &str, features: usize) -> Feature {
    network.linear(x, name, features, (2.0 / x.shape[0] as f32).sqrt())
}
