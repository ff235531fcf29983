//! Compiles the inference protocol (`src/serve/proto`) without `protoc`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = "src/serve/proto";
    println!("cargo:rerun-if-changed={folder}");
    let mut compiler = protox::Compiler::new([folder])?;
    compiler.include_imports(true).open_file("grpc_service.proto")?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // `config.pbtxt` is read by these descriptors.
    std::fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        // Tensors stay in the buffer that they arrived in.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        .bytes(".inference.InferTensorContents.bytes_contents")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
