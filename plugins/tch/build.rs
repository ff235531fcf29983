//! Builds the few lines of C++ that `tch` has no door to, and tells the linker where libtorch lies.

use std::env;
use std::path::PathBuf;

fn main() {
    // What torch-sys found, whichever of its variables led it there.
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rerun-if-changed=src/torch.cpp");
    let lib =
        PathBuf::from(env::var_os("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch's libraries lie"));
    let root = match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root),
        None => lib.parent().expect("libtorch's `lib` folder lies in a folder").to_owned(),
    };
    let include = root.join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .file("src/torch.cpp")
        .compile("isal_torch");
    // The plugin, and every test executable, finds libtorch without LD_LIBRARY_PATH.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
