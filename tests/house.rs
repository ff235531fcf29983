//! The house's rules, read off the tree: which crate may know which, and who may print.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names of the dependencies (build and development ones too) of the manifest in `folder`.
fn dependencies(folder: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("valid TOML");
    ["dependencies", "build-dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    rust_files(&root().join(folder), &mut files);
    assert!(!files.is_empty(), "`{folder}` has sources");
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).expect("a readable file"))).collect()
}

#[test]
fn dependencies_point_one_way() {
    // (crate folder, what it must not know)
    let rules: &[(&str, &[&str])] = &[
        (".", &["tch", "torch-sys", "isal-plugin-tch"]),
        ("onnx", &["tch", "ort", "image", "isal", "isal-exporters", "isal-plugin-abi", "isal-plugin-tch"]),
        ("exporters", &["tch", "ort", "image", "isal", "isal-plugin-abi", "isal-plugin-tch"]),
        ("plugins/abi", &["tch", "ort", "isal", "isal-onnx", "isal-exporters", "isal-plugin-tch"]),
        ("plugins/tch", &["ort", "isal"]),
    ];
    for (folder, forbidden) in rules {
        let found: Vec<_> = dependencies(folder).into_iter().filter(|d| forbidden.contains(&d.as_str())).collect();
        assert!(found.is_empty(), "`{folder}/Cargo.toml` must not depend on {found:?}");
    }
    assert_eq!(
        dependencies("plugins/abi").iter().filter(|d| !["cc", "tempfile"].contains(&d.as_str())).count(),
        0,
        "the ABI crate has no run-time dependency"
    );
}

#[test]
fn only_the_command_line_prints_or_ends_the_process() {
    let marks = ["println!(", "eprintln!(", "print!(", "process::exit("];
    for (path, text) in sources("src") {
        let relative = path.strip_prefix(root()).expect("inside the tree");
        if relative.starts_with("src/cli") || relative == Path::new("src/main.rs") {
            continue;
        }
        // Test modules stand at the end of a file and may print.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.trim_start();
            let printing = marks.iter().any(|mark| line.starts_with(mark));
            assert!(!printing, "{}:{}: only src/cli prints", relative.display(), number + 1);
        }
    }
}

#[test]
fn unsafe_code_stands_at_the_plugin_boundary_alone() {
    for folder in ["src", "onnx/src", "exporters/src"] {
        for (path, text) in sources(folder) {
            let relative = path.strip_prefix(root()).expect("inside the tree");
            if relative.starts_with("src/plugin") {
                continue;
            }
            let found = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe {"));
            assert!(!found, "{}: `unsafe` belongs in src/plugin and plugins/", relative.display());
        }
    }
}

#[test]
fn no_file_is_named_after_a_drawer() {
    let drawers = ["utils", "util", "common", "helpers", "helper", "types", "misc"];
    for folder in ["src", "onnx/src", "exporters/src", "plugins"] {
        for (path, _) in sources(folder) {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let parent = path.parent().and_then(|p| p.file_name()).and_then(|s| s.to_str()).unwrap_or_default();
            assert!(!drawers.contains(&stem) && !drawers.contains(&parent), "{}", path.display());
        }
    }
}
