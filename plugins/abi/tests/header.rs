//! The C header and the Rust types describe the same memory.
//!
//! A C program built from the header prints what its compiler makes of it; each line is compared with the
//! Rust side. A field that is in one of the two alone makes a line without a partner, which fails.

use isal_plugin_abi::*;
use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

/// What both sides say, by `type.field`.
type Layout = BTreeMap<String, i64>;

macro_rules! rust_layout {
    ($map:ident; $($c:literal = $rust:ident { $($field:ident),* $(,)? })*) => {
        $(
            $map.insert(concat!("sizeof ", $c).to_owned(), size_of::<$rust>() as i64);
            $( $map.insert(concat!($c, ".", stringify!($field)).to_owned(), offset_of!($rust, $field) as i64); )*
            // A field that the list leaves out does not compile here.
            let _ = |value: $rust| { let $rust { $($field: _),* } = value; };
        )*
    };
}

fn rust_layout() -> Layout {
    let mut map = Layout::new();
    rust_layout! { map;
        "isal_bytes" = Bytes { data, len }
        "isal_message" = Message { data, capacity, len }
        "isal_array" = Array { data, len, dims, rank, kind, reserved }
        "isal_named_array" = NamedArray { name, array, role, reserved }
        "isal_description" = Description { name, version, backend, devices, device_count, ops, op_count, threads }
        "isal_value" = Value { name, dims, rank, ranked, kind }
        "isal_model_info" = ModelInfo {
            parameters, parameter_count, outputs, output_count, bound, bound_count, annotations, annotation_count,
            input, dimension,
        }
        "isal_binding" = Binding { input, value }
        "isal_load" = Load {
            model, folder, parameters, parameter_count, loss, bindings, binding_count, device, kind, threads,
        }
        "isal_train_step" = TrainStep { learning_rate, momentum, weight_decay, clip_norm, bias_rate, seed, decay, nesterov }
        "isal_plugin_table_v2" = Table {
            abi_version, reserved, table_size, describe, load, model_free, model_info, forward, losses, gradient,
            curvature_product, jvp, vector_zeros, vector_copy, vector_dot, vector_axpy, vector_scale,
            vector_download, vector_upload, vector_free, train_step, state_get, state_set, arrays_count,
            arrays_get, arrays_free,
        }
    }
    for (name, size) in [
        ("isal_model", size_of::<Model>()),
        ("isal_vector", size_of::<Vector>()),
        ("isal_arrays", size_of::<Arrays>()),
        ("isal_status", size_of::<Status>()),
        ("isal_kind", size_of::<ElementKind>()),
        ("isal_role", size_of::<Role>()),
        ("isal_curvature", size_of::<Curvature>()),
        ("isal_decay", size_of::<Decay>()),
    ] {
        map.insert(format!("sizeof {name}"), size as i64);
    }
    for (name, value) in [
        ("ISAL_PLUGIN_ABI_VERSION", ISAL_PLUGIN_ABI_VERSION as i32),
        ("ISAL_F32", ElementKind::F32.0),
        ("ISAL_I64", ElementKind::I64.0),
        ("ISAL_BOOL", ElementKind::BOOL.0),
        ("ISAL_F64", ElementKind::F64.0),
        ("ISAL_OUTPUT", Role::OUTPUT.0),
        ("ISAL_PARAMETER", Role::PARAMETER.0),
        ("ISAL_STATISTIC", Role::STATISTIC.0),
        ("ISAL_MOMENTUM", Role::MOMENTUM.0),
        ("ISAL_TANGENT", Role::TANGENT.0),
        ("ISAL_LOSS", Role::LOSS.0),
        ("ISAL_LOSS_TANGENT", Role::LOSS_TANGENT.0),
        ("ISAL_INPUT", Role::INPUT.0),
        ("ISAL_HESSIAN", Curvature::HESSIAN.0),
        ("ISAL_GAUSS_NEWTON", Curvature::GAUSS_NEWTON.0),
        ("ISAL_EMPIRICAL_FISHER", Curvature::EMPIRICAL_FISHER.0),
        ("ISAL_DECAY_MATRICES", Decay::MATRICES.0),
        ("ISAL_DECAY_ALL", Decay::ALL.0),
    ]
    .into_iter()
    .chain(Status::ALL.map(|(name, status)| (name, status.0)))
    {
        map.insert(name.to_owned(), i64::from(value));
    }
    map
}

/// The names the header itself declares, so that none can be missing from the list above.
fn declared(header: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in header.lines() {
        let line = line.split("/*").next().unwrap_or_default();
        if line.starts_with("#define ISAL_PLUGIN_ABI_VERSION") {
            names.push("ISAL_PLUGIN_ABI_VERSION".to_owned());
        } else if !line.starts_with('#') && !line.starts_with(" *") {
            let constants = line.split(['{', ',', '}']).filter_map(|part| part.split_once('='));
            names.extend(constants.map(|(name, _)| name.trim().to_owned()));
        }
        if let Some(name) = line.strip_prefix("typedef ").and_then(|l| l.trim().strip_suffix(';')) {
            names.extend(name.split_whitespace().last().map(|n| format!("sizeof {n}")));
        }
        if let Some(name) = line.strip_prefix("} ").and_then(|l| l.trim().strip_suffix(';')) {
            names.push(format!("sizeof {name}"));
        }
    }
    names
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the program prints ASCII")
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn c_compiler_lays_the_header_out_as_rust_does() {
    let rust = rust_layout();
    let mut program =
        "#include <stdio.h>\n#include \"isal_plugin.h\"\n#define P(n, v) printf(\"%s=%lld\\n\", n, (long long)(v));\n\
         int main(void) {\n"
            .to_owned();
    for name in rust.keys() {
        let value = match (name.strip_prefix("sizeof "), name.split_once('.')) {
            (Some(of), _) => format!("sizeof({of})"),
            (None, Some((of, field))) => format!("offsetof({of}, {field})"),
            (None, None) => name.clone(),
        };
        program.push_str(&format!("P(\"{name}\", {value})\n"));
    }
    program.push_str("return 0; }\n");

    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (source, binary) = (scratch.path().join("layout.c"), scratch.path().join("layout"));
    std::fs::write(&source, program).expect("the program is written");
    run(Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(folder())
        .arg(&source)
        .arg("-o")
        .arg(&binary));
    let c: Layout = run(&mut Command::new(binary))
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect();
    assert_eq!(c, rust);
}

#[test]
fn every_type_and_constant_of_the_header_is_compared() {
    let header = std::fs::read_to_string(folder().join("isal_plugin.h")).expect("the header is there");
    let rust = rust_layout();
    let names = declared(&header);
    let missing: Vec<_> = names.iter().filter(|n| !rust.contains_key(*n)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let compared = rust.keys().filter(|k| !k.contains('.')).count();
    assert_eq!(names.len(), compared, "the header declares {names:?}");
}

#[test]
fn header_compiles_as_cpp() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let source = scratch.path().join("entry.cpp");
    let program = "#include \"isal_plugin.h\"\nextern \"C\" const isal_plugin_table_v2 *isal_plugin_table(void) { return nullptr; }\n";
    std::fs::write(&source, program).expect("the program is written");
    run(Command::new("c++")
        .args(["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
        .arg(folder())
        .arg(&source));
}

#[test]
fn null_with_a_length_is_no_slice() {
    let null = Bytes { data: std::ptr::null(), len: 3 };
    // SAFETY: a null pointer is what the function promises to answer with `None`.
    assert_eq!(unsafe { null.as_slice() }, None);
    // SAFETY: an empty view reads nothing.
    assert_eq!(unsafe { Bytes::EMPTY.as_slice() }, Some(&[][..]));
    let huge = Bytes { data: std::ptr::dangling(), len: usize::MAX };
    // SAFETY: an impossible length is what the function promises to answer with `None`.
    assert_eq!(unsafe { huge.as_slice() }, None);
    let bad = [0xff, 0xfe];
    // SAFETY: `bad` outlives the view.
    assert_eq!(unsafe { Bytes::new(&bad).as_str() }, None);
}
