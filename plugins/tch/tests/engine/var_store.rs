//! What libtorch writes of a `VarStore` is read without libtorch.

use isal_exporters::weights::Tensors;
use tch::nn::{Init, VarStore};
use tch::{Device, Kind, Tensor};

#[test]
fn files_of_a_var_store_hold_its_variables_under_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = VarStore::new(Device::Cpu);
    let layer = &store.root() / "layer1" / 0;
    let mut expected = vec![
        ("layer1.0.weight", layer.var("weight", &[3, 2, 2], Init::Randn { mean: 0.0, stdev: 1.0 })),
        ("layer1.0.running_mean", layer.zeros_no_train("running_mean", &[3])),
        ("fc", store.root().var("fc", &[1], Init::Const(0.5))),
    ];
    expected.sort_by_key(|(name, _)| *name);
    for file in ["weights.ot", "weights.pt", "weights.safetensors"] {
        let path = folder.path().join(file);
        store.save(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        let bytes = std::fs::read(&path).expect("it is there");
        let tensors = Tensors::read(&bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(tensors.len(), expected.len(), "{file}");
        for (name, truth) in &expected {
            let stored = tensors.get(name).unwrap_or_else(|| panic!("{file} lacks `{name}`"));
            let dims: Vec<i64> = stored.dims().iter().map(|dim| *dim as i64).collect();
            let found = Tensor::from_data_size(&stored.bytes(), &dims, Kind::Float);
            assert!(found.equal(truth), "{file}: `{name}`");
        }
    }
}
