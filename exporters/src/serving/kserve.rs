//! KServe's `InferenceService`: a manifest that has a cluster serve a model repository with Triton.
//!
//! YAML is written as text: every value is quoted by JSON's rules, which are YAML's for such strings.

use super::ServingError;
use std::fmt;

const EXPECTED: &str = "1 to 63 lower-case letters, digits and `-`, beginning with a letter and not ending with `-`";

/// What the pod of a service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    /// Processors, as Kubernetes writes them: `2`, `500m`.
    pub cpu: Option<String>,
    /// Memory: `4Gi`.
    pub memory: Option<String>,
    /// GPUs of NVIDIA.
    pub gpus: usize,
}

/// A service over a model repository. Its `Display` is the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceService {
    name: String,
    namespace: Option<String>,
    storage: String,
    requests: Requests,
}

impl InferenceService {
    /// A service called `name` that serves the repository at `storage` (`s3://`, `gs://`, `pvc://`, ...).
    ///
    /// # Errors
    /// [`ServingError`]: a name that no Kubernetes object can have, a storage without a scheme.
    pub fn new(
        name: &str,
        namespace: Option<&str>,
        storage: &str,
        requests: Requests,
    ) -> Result<InferenceService, ServingError> {
        for name in std::iter::once(name).chain(namespace) {
            check_label(name)?;
        }
        let scheme = storage.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        if !scheme || storage.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let expected =
                "where the cluster finds the repository, such as `s3://bucket/repository` or `pvc://claim/path`";
            return Err(ServingError::Option { option: "storage-uri", found: format!("`{storage}`"), expected });
        }
        let (name, namespace) = (name.to_owned(), namespace.map(str::to_owned));
        Ok(InferenceService { name, namespace, storage: storage.to_owned(), requests })
    }
}

/// Names of Kubernetes objects that become part of a host's name (RFC 1035).
fn check_label(name: &str) -> Result<(), ServingError> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let edges = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if plain && edges && name.len() <= 63 {
        return Ok(());
    }
    Err(ServingError::Name { name: name.to_owned(), expected: EXPECTED })
}

/// A YAML scalar in double quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for InferenceService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:")?;
        writeln!(f, "  name: {}", Quoted(&self.name))?;
        if let Some(namespace) = &self.namespace {
            writeln!(f, "  namespace: {}", Quoted(namespace))?;
        }
        writeln!(f, "spec:\n  predictor:\n    model:")?;
        // The repository is Triton's; its runtime is named, for others take ONNX files as well.
        writeln!(
            f,
            "      modelFormat:\n        name: onnx\n      protocolVersion: v2\n      runtime: kserve-tritonserver"
        )?;
        writeln!(f, "      storageUri: {}", Quoted(&self.storage))?;
        let Requests { cpu, memory, gpus } = &self.requests;
        let gpus = (*gpus > 0).then(|| gpus.to_string());
        let given = [("cpu", cpu), ("memory", memory), ("nvidia.com/gpu", &gpus)];
        let mut given = given.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).peekable();
        if given.peek().is_some() {
            let lines: String = given.map(|(key, value)| format!("          {key}: {}\n", Quoted(value))).collect();
            write!(f, "      resources:\n        requests:\n{lines}        limits:\n{lines}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_the_runtime_and_the_protocol() {
        let requests = Requests { cpu: Some("2".to_owned()), memory: None, gpus: 1 };
        let service = InferenceService::new("digits", Some("ml"), "s3://models/digits", requests).unwrap();
        insta::assert_snapshot!(service.to_string(), @r#"
        apiVersion: serving.kserve.io/v1beta1
        kind: InferenceService
        metadata:
          name: "digits"
          namespace: "ml"
        spec:
          predictor:
            model:
              modelFormat:
                name: onnx
              protocolVersion: v2
              runtime: kserve-tritonserver
              storageUri: "s3://models/digits"
              resources:
                requests:
                  cpu: "2"
                  nvidia.com/gpu: "1"
                limits:
                  cpu: "2"
                  nvidia.com/gpu: "1"
        "#);
    }

    #[test]
    fn names_and_places_that_no_cluster_takes_are_refused() {
        for name in ["", "Digits", "1a", "a_b", "a-", "a.b", &"a".repeat(64)] {
            assert!(InferenceService::new(name, None, "s3://a", Requests::default()).is_err(), "{name}");
        }
        for storage in ["", "models/", "://x", "s3://", "s3://a b", "s3://a\nb"] {
            assert!(InferenceService::new("a", None, storage, Requests::default()).is_err(), "{storage}");
        }
    }
}
