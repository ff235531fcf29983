//! How others name the weights of the zoo's networks, as tables of rules that give the zoo's names: those of torchvision.

use std::collections::HashSet;
use std::str::FromStr;

/// Whose names a file of weights has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Naming {
    /// Those of the following under which most names are the model's; of equals the first.
    #[default]
    Auto,
    /// torchvision's: the zoo's own, and those of its older vision transformers.
    Torchvision,
    /// timm's ResNets, `mobilenetv2_100` and vision transformers.
    Timm,
    /// pycls's ResNets, of any version.
    Pycls,
}

impl Naming {
    /// Every one by its name.
    pub const ALL: [(&str, Naming); 4] = [
        ("auto", Naming::Auto),
        ("torchvision", Naming::Torchvision),
        ("timm", Naming::Timm),
        ("pycls", Naming::Pycls),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Naming::ALL.iter().find(|(_, naming)| *naming == self).map_or("auto", |(name, _)| name)
    }
}

impl FromStr for Naming {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Naming::ALL.iter().find(|(name, _)| *name == text).map(|(_, naming)| *naming);
        found.ok_or_else(|| format!("expected auto, torchvision, timm or pycls, found `{text}`"))
    }
}

/// A name that begins with the first text begins with the second instead. `#` stands for a whole number, and the third part
/// has what is added to each.
struct Rule(&'static str, &'static str, &'static [i64]);

/// Rules of one form of one naming, taken one after the other.
struct Table(Naming, &'static [Rule]);

const TABLES: [Table; 7] = [
    Table(Naming::Torchvision, &[]),
    // torchvision before 0.13, in which its published vision transformers were saved.
    Table(
        Naming::Torchvision,
        &[
            Rule("encoder.layers.encoder_layer_#.mlp.linear_1.", "encoder.layers.encoder_layer_#.mlp.0.", &[0]),
            Rule("encoder.layers.encoder_layer_#.mlp.linear_2.", "encoder.layers.encoder_layer_#.mlp.3.", &[0]),
        ],
    ),
    // torchvision before 0.13, in which its published detectors with a feature pyramid were saved.
    Table(
        Naming::Torchvision,
        &[
            Rule("backbone.fpn.inner_blocks.#.weight", "backbone.fpn.inner_blocks.#.0.weight", &[0]),
            Rule("backbone.fpn.inner_blocks.#.bias", "backbone.fpn.inner_blocks.#.0.bias", &[0]),
            Rule("backbone.fpn.layer_blocks.#.weight", "backbone.fpn.layer_blocks.#.0.weight", &[0]),
            Rule("backbone.fpn.layer_blocks.#.bias", "backbone.fpn.layer_blocks.#.0.bias", &[0]),
            Rule("rpn.head.conv.weight", "rpn.head.conv.0.0.weight", &[]),
            Rule("rpn.head.conv.bias", "rpn.head.conv.0.0.bias", &[]),
        ],
    ),
    // timm's ResNets are named as torchvision's.
    Table(
        Naming::Timm,
        &[
            Rule("cls_token", "class_token", &[]),
            Rule("pos_embed", "encoder.pos_embedding", &[]),
            Rule("patch_embed.proj.", "conv_proj.", &[]),
            Rule("blocks.#.norm1.", "encoder.layers.encoder_layer_#.ln_1.", &[0]),
            Rule("blocks.#.attn.qkv.weight", "encoder.layers.encoder_layer_#.self_attention.in_proj_weight", &[0]),
            Rule("blocks.#.attn.qkv.bias", "encoder.layers.encoder_layer_#.self_attention.in_proj_bias", &[0]),
            Rule("blocks.#.attn.proj.", "encoder.layers.encoder_layer_#.self_attention.out_proj.", &[0]),
            Rule("blocks.#.norm2.", "encoder.layers.encoder_layer_#.ln_2.", &[0]),
            Rule("blocks.#.mlp.fc1.", "encoder.layers.encoder_layer_#.mlp.0.", &[0]),
            Rule("blocks.#.mlp.fc2.", "encoder.layers.encoder_layer_#.mlp.3.", &[0]),
            Rule("norm.", "encoder.ln.", &[]),
            Rule("head.", "heads.head.", &[]),
        ],
    ),
    Table(
        Naming::Timm,
        &[
            Rule("conv_stem.", "features.0.0.", &[]),
            Rule("bn1.", "features.0.1.", &[]),
            Rule("conv_head.", "features.18.0.", &[]),
            Rule("bn2.", "features.18.1.", &[]),
            Rule("classifier.", "classifier.1.", &[]),
            // The first block has no convolution before its depthwise one.
            Rule("blocks.0.0.conv_dw.", "features.1.conv.0.0.", &[]),
            Rule("blocks.0.0.bn1.", "features.1.conv.0.1.", &[]),
            Rule("blocks.0.0.conv_pw.", "features.1.conv.1.", &[]),
            Rule("blocks.0.0.bn2.", "features.1.conv.2.", &[]),
            // Blocks are counted anew in each stage there, and through all of them here.
            Rule("blocks.1.#.", "features.#.", &[2]),
            Rule("blocks.2.#.", "features.#.", &[4]),
            Rule("blocks.3.#.", "features.#.", &[7]),
            Rule("blocks.4.#.", "features.#.", &[11]),
            Rule("blocks.5.#.", "features.#.", &[14]),
            Rule("blocks.6.#.", "features.#.", &[17]),
            Rule("features.#.conv_pw.", "features.#.conv.0.0.", &[0]),
            Rule("features.#.bn1.", "features.#.conv.0.1.", &[0]),
            Rule("features.#.conv_dw.", "features.#.conv.1.0.", &[0]),
            Rule("features.#.bn2.", "features.#.conv.1.1.", &[0]),
            Rule("features.#.conv_pwl.", "features.#.conv.2.", &[0]),
            Rule("features.#.bn3.", "features.#.conv.3.", &[0]),
        ],
    ),
    Table(
        Naming::Pycls,
        &[
            Rule("stem.conv.", "conv1.", &[]),
            Rule("stem.bn.", "bn1.", &[]),
            Rule("head.fc.", "fc.", &[]),
            Rule("s#.b#.proj.", "layer#.#.downsample.0.", &[0, -1]),
            Rule("s#.b#.bn.", "layer#.#.downsample.1.", &[0, -1]),
            Rule("s#.b#.f.a.", "layer#.#.conv1.", &[0, -1]),
            Rule("s#.b#.f.a_bn.", "layer#.#.bn1.", &[0, -1]),
            Rule("s#.b#.f.b.", "layer#.#.conv2.", &[0, -1]),
            Rule("s#.b#.f.b_bn.", "layer#.#.bn2.", &[0, -1]),
            Rule("s#.b#.f.c.", "layer#.#.conv3.", &[0, -1]),
            Rule("s#.b#.f.c_bn.", "layer#.#.bn3.", &[0, -1]),
        ],
    ),
    // Its first versions, whose stage 1 is the stem.
    Table(
        Naming::Pycls,
        &[
            Rule("s1.conv.", "conv1.", &[]),
            Rule("s1.bn.", "bn1.", &[]),
            Rule("head.fc.", "fc.", &[]),
            Rule("s#.b#.proj.", "layer#.#.downsample.0.", &[-1, -1]),
            Rule("s#.b#.bn.", "layer#.#.downsample.1.", &[-1, -1]),
            Rule("s#.b#.f.a.", "layer#.#.conv1.", &[-1, -1]),
            Rule("s#.b#.f.a_bn.", "layer#.#.bn1.", &[-1, -1]),
            Rule("s#.b#.f.b.", "layer#.#.conv2.", &[-1, -1]),
            Rule("s#.b#.f.b_bn.", "layer#.#.bn2.", &[-1, -1]),
            Rule("s#.b#.f.c.", "layer#.#.conv3.", &[-1, -1]),
            Rule("s#.b#.f.c_bn.", "layer#.#.bn3.", &[-1, -1]),
        ],
    ),
];

/// What wrappers put before every name: DataParallel, `torch.compile`, Lightning.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// The naming under which most of `names` are names of the model, and each name in the model's terms.
pub(super) fn renamed(names: &[&str], of_model: &HashSet<&str>, naming: Naming) -> (Naming, Vec<String>) {
    let bare = unwrapped(names);
    let mut best: Option<(usize, Naming, Vec<String>)> = None;
    for Table(whose, rules) in TABLES.iter().filter(|Table(whose, _)| naming == Naming::Auto || naming == *whose) {
        let new: Vec<String> = bare.iter().map(|name| through(rules, name)).collect();
        let known = new.iter().filter(|name| of_model.contains(name.as_str())).count();
        if best.as_ref().is_none_or(|(most, ..)| known > *most) {
            best = Some((known, *whose, new));
        }
    }
    // timm's ResNets have the names of torchvision's, which no table of timm's is needed for.
    match best {
        Some((known, _, _)) if naming == Naming::Timm && known < same(&bare, of_model) => (naming, owned(&bare)),
        Some((_, whose, new)) => (whose, new),
        None => (naming, owned(&bare)),
    }
}

fn same(names: &[&str], of_model: &HashSet<&str>) -> usize {
    names.iter().filter(|name| of_model.contains(**name)).count()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The names without what stands before each of them.
fn unwrapped<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut bare = names.to_vec();
    while !bare.is_empty() {
        let Some(wrapper) = WRAPPERS.iter().find(|w| bare.iter().all(|name| name.starts_with(**w))) else { break };
        bare = bare.iter().map(|name| name.get(wrapper.len()..).unwrap_or_default()).collect();
    }
    bare
}

fn through(rules: &[Rule], name: &str) -> String {
    rules.iter().fold(name.to_owned(), |name, rule| rule.apply(&name).unwrap_or(name))
}

impl Rule {
    /// The new name, where the rule is for this one.
    fn apply(&self, name: &str) -> Option<String> {
        let Rule(from, to, shifts) = self;
        let (mut rest, mut numbers) = (name, Vec::new());
        for (i, literal) in from.split('#').enumerate() {
            if i > 0 {
                let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let (number, behind) = rest.split_at(digits);
                let number = number.parse::<i64>().ok()?.checked_add(*shifts.get(i - 1)?)?;
                numbers.push(Some(number).filter(|number| *number >= 0)?);
                rest = behind;
            }
            rest = rest.strip_prefix(literal)?;
        }
        let mut numbers = numbers.into_iter();
        let mut new = String::new();
        for (i, literal) in to.split('#').enumerate() {
            if i > 0 {
                new += &numbers.next()?.to_string();
            }
            new += literal;
        }
        Some(new + rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_moves_numbers_and_keeps_what_follows() {
        let rule = Rule("s#.b#.f.a_bn.", "layer#.#.bn1.", &[0, -1]);
        assert_eq!(rule.apply("s3.b12.f.a_bn.running_mean"), Some("layer3.11.bn1.running_mean".to_owned()));
        for other in [
            "s3.b12.f.a.weight",
            "s.b1.f.a_bn.weight",
            "s1.b0.f.a_bn.weight",
            "s1",
            "s99999999999999999999.b1.f.a_bn.x",
        ] {
            assert_eq!(rule.apply(other), None, "{other}");
        }
    }

    #[test]
    fn wrappers_are_taken_off_only_where_all_names_have_them() {
        assert_eq!(unwrapped(&["module._orig_mod.a", "module._orig_mod.b"]), ["a", "b"]);
        assert_eq!(unwrapped(&["module.a", "b"]), ["module.a", "b"]);
        assert_eq!(unwrapped(&[]), [""; 0]);
    }

    #[test]
    fn the_naming_with_most_of_the_models_names_is_taken() {
        let of_model = HashSet::from(["conv1.weight", "layer1.0.conv2.weight", "fc.weight"]);
        let names = |names: &[&str], naming| renamed(names, &of_model, naming);
        let (naming, new) = names(&["stem.conv.weight", "s1.b1.f.b.weight", "head.fc.weight"], Naming::Auto);
        assert_eq!((naming, new.iter().all(|name| of_model.contains(name.as_str()))), (Naming::Pycls, true));
        let (naming, new) = names(&["s1.conv.weight", "s2.b1.f.b.weight", "head.fc.weight"], Naming::Auto);
        assert_eq!((naming, new.iter().all(|name| of_model.contains(name.as_str()))), (Naming::Pycls, true));
        let own = ["conv1.weight", "layer1.0.conv2.weight", "fc.weight"];
        assert_eq!(names(&own, Naming::Auto), (Naming::Torchvision, own.map(str::to_owned).to_vec()));
        assert_eq!(names(&own, Naming::Timm), (Naming::Timm, own.map(str::to_owned).to_vec()));
        let (_, new) = names(&["stem.conv.weight"], Naming::Torchvision);
        assert_eq!(new, ["stem.conv.weight"], "asked for by name, a naming is not left");
    }

    #[test]
    fn names_of_older_detectors_become_those_of_today() {
        let today =
            ["backbone.fpn.inner_blocks.1.0.weight", "backbone.fpn.layer_blocks.0.0.bias", "rpn.head.conv.0.0.bias"];
        let of_model = HashSet::from(today);
        let older = ["backbone.fpn.inner_blocks.1.weight", "backbone.fpn.layer_blocks.0.bias", "rpn.head.conv.bias"];
        for given in [older, today] {
            let (naming, new) = renamed(&given, &of_model, Naming::Auto);
            assert_eq!((naming, new), (Naming::Torchvision, today.map(str::to_owned).to_vec()));
        }
    }
}
