//! Devices by name: `cpu`, `cuda`, `cuda:N`.

use crate::Failure;
use std::sync::OnceLock;
use tch::{Cuda, Device};

/// Why no CUDA device can be used, or how many there are.
///
/// libtorch's CUDA half is a library of its own that refuses to load where its own dependencies are not
/// installed. The plugin is linked without it and opens it here, once, before libtorch is asked for devices: so
/// one build works on both kinds of host.
fn cuda() -> &'static Result<usize, String> {
    static CUDA: OnceLock<Result<usize, String>> = OnceLock::new();
    CUDA.get_or_init(|| {
        open("libcuda.so.1").map_err(|e| format!("no NVIDIA driver ({e})"))?;
        open("libtorch_cuda.so").map_err(|e| format!("libtorch's CUDA half does not load ({e})"))?;
        if !Cuda::is_available() {
            return Err("libtorch finds no usable CUDA device".to_owned());
        }
        usize::try_from(Cuda::device_count()).map_err(|e| e.to_string())
    })
}

/// Opens a library for good, its symbols visible to those opened later.
fn open(name: &str) -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: both names are libraries that libtorch itself opens; their initialisers are meant to run at any
    // time before first use. The handle is kept open for the life of the process, so no code is unmapped.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }?;
    std::mem::forget(library);
    Ok(())
}

/// The devices there are.
pub fn found() -> Vec<String> {
    let mut names = vec!["cpu".to_owned()];
    names.extend((0..cuda().as_ref().copied().unwrap_or(0)).map(|i| format!("cuda:{i}")));
    names
}

/// The device of this name.
///
/// # Errors
/// [`Failure::Argument`] for a name of another form, [`Failure::Device`] for a device that is not there.
pub fn parse(name: &str) -> Result<Device, Failure> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|i| i.parse::<usize>().ok()),
    };
    let Some(index) = index else {
        let reason = format!("expected `cpu`, `cuda` or `cuda:N`, found `{name}`");
        return Err(Failure::Argument { what: "device", reason });
    };
    match cuda() {
        Ok(count) if index < *count => Ok(Device::Cuda(index)),
        Ok(_) => Err(Failure::Device { asked: name.to_owned(), found: found(), reason: None }),
        Err(reason) => Err(Failure::Device { asked: name.to_owned(), found: found(), reason: Some(reason.clone()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_always_there() {
        assert!(matches!(parse("cpu"), Ok(Device::Cpu)));
        assert_eq!(found().first().map(String::as_str), Some("cpu"));
    }

    #[test]
    fn a_device_of_another_form_is_an_argument_error() {
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(matches!(parse(name), Err(Failure::Argument { what: "device", .. })), "{name}");
        }
    }

    #[test]
    fn a_device_past_the_last_is_named_with_those_there_are() {
        let error = parse("cuda:4096").expect_err("no host has that many");
        let Failure::Device { asked, found, .. } = &error else { panic!("{error}") };
        assert_eq!(asked, "cuda:4096");
        assert!(found.contains(&"cpu".to_owned()));
        assert!(error.to_string().starts_with("device `cuda:4096` is not there (found: cpu"), "{error}");
    }
}
