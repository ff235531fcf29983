//! What is there for each ONNX operator: its row in the table, the plugin's forward, its tangent.

use isal_onnx::ops;
use isal_onnx::tangent::Tangent;

/// The plugin's own list, which its tests hold to what it computes: `NAME forward` or `NAME gap: REASON`.
const PLUGIN: &str = include_str!("../plugins/tch/ops.txt");

/// One operator of the standard domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Operator {
    /// Name, as ONNX spells it.
    pub name: &'static str,
    /// First operator set that has it.
    pub since: i64,
    /// Whether the libtorch plugin computes it, hence differentiates it.
    pub tch: bool,
    /// Why the plugin does not.
    pub tch_gap: Option<&'static str>,
    /// How a tangent passes through it: a word for the kind of its rule.
    pub tangent: &'static str,
    /// Why there is no rule.
    pub tangent_gap: Option<&'static str>,
}

/// Every operator of the table, by name.
pub fn operators() -> Vec<Operator> {
    let listed: std::collections::HashMap<&str, &str> =
        PLUGIN.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut all: Vec<Operator> = ops::all()
        .map(|spec| {
            let plugin = listed.get(spec.name).copied();
            let tch = plugin == Some("forward");
            let gap = plugin.map_or("not in the plugin's list", |text| text.strip_prefix("gap: ").unwrap_or(text));
            Operator {
                name: spec.name,
                since: spec.since,
                tch,
                tch_gap: (!tch).then_some(gap),
                tangent: spec.tangent.kind(),
                tangent_gap: match spec.tangent {
                    Tangent::Refused(why) => Some(why),
                    _ => None,
                },
            }
        })
        .collect();
    all.sort_by_key(|operator| operator.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_join_the_table_with_the_plugins_list() {
        let all = operators();
        assert_eq!(all.len(), ops::all().count());
        assert!(all.windows(2).all(|two| two[0].name < two[1].name), "sorted, each once");
        let find = |name: &str| all.iter().find(|o| o.name == name).copied().expect("an operator");
        let gemm = find("Gemm");
        assert_eq!((gemm.tch, gemm.tch_gap, gemm.tangent_gap), (true, None, None));
        let random = find("Bernoulli");
        assert!(!random.tch && random.tch_gap.is_some_and(|why| why.starts_with("draws random numbers")));
        let branch = find("If");
        assert_eq!((branch.tangent, branch.tangent_gap.is_some()), ("refused", true));
        // A row says one or the other.
        assert!(all.iter().all(|o| o.tch == o.tch_gap.is_none()));
        assert!(all.iter().all(|o| (o.tangent == "refused") == o.tangent_gap.is_some()));
    }
}
