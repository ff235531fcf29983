//! `ModelProto`.

use super::{graph, node, value};
use crate::{Error, Model, Result, ValueInfo, ValueType};
use onnx_protobuf::{ModelProto, OperatorSetIdProto, StringStringEntryProto, ValueInfoProto};

/// First IR version in which initializers need not be listed among the inputs.
const IR_INITIALIZERS_APART: i64 = 4;

/// Takes `proto` apart. Nodes stay in the order of the file.
///
/// # Errors
/// [`Error::Malformed`] without a graph or with a domain imported twice; whatever decoding the graph gives.
pub(crate) fn decode(mut proto: ModelProto) -> Result<Model> {
    let graph = proto.graph.take().ok_or_else(|| Error::Malformed { reason: "there is no graph in it".to_owned() })?;
    let mut model = Model { ir_version: std::mem::take(&mut proto.ir_version), ..Model::default() };
    for opset in std::mem::take(&mut proto.opset_import) {
        let domain = node::domain(opset.domain);
        if model.opsets.insert(domain.clone(), opset.version).is_some_and(|version| version != opset.version) {
            return Err(Error::Malformed { reason: format!("operator domain `{domain}` is imported in two versions") });
        }
    }
    if model.opsets.is_empty() {
        // Files older than IR version 3 mean the first operator set.
        model.opsets.insert(String::new(), 1);
    }
    for entry in std::mem::take(&mut proto.metadata_props) {
        model.metadata.insert(entry.key, entry.value);
    }
    model.graph = graph::decode(graph)?;
    model.rest = proto;
    Ok(model)
}

/// A message for `model`, its initializers' data given to `sink`.
pub(crate) fn encode(model: &Model, sink: &mut dyn graph::DataSink) -> ModelProto {
    let mut proto = model.rest.clone();
    proto.ir_version = model.ir_version;
    proto.opset_import = model
        .opsets
        .iter()
        .map(|(domain, version)| OperatorSetIdProto { domain: domain.clone(), version: *version, ..Default::default() })
        .collect();
    proto.metadata_props = model
        .metadata
        .iter()
        .map(|(key, value)| StringStringEntryProto { key: key.clone(), value: value.clone(), ..Default::default() })
        .collect();
    let mut graph = graph::encode(&model.graph, sink);
    if model.ir_version < IR_INITIALIZERS_APART {
        let listed: Vec<ValueInfoProto> = model
            .graph
            .initializers
            .iter()
            .filter(|(name, _)| !graph.input.iter().any(|v| v.name == **name))
            .map(|(name, t)| {
                let t = ValueType::new(t.data_type(), t.dims().iter().copied());
                value::encode(&ValueInfo::new(name.clone(), t), None)
            })
            .collect();
        graph.input.extend(listed);
    }
    proto.graph = Some(graph).into();
    proto
}
