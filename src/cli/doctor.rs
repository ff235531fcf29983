//! `isal doctor`: what there is to run on, and what to do about what is missing.

use super::failure::starting_hint;
use super::{Context, Outcome};
use crate::error_chain::in_one_line;
use crate::plugin::Plugin;
use crate::runtime::{ExecutionProvider, Library, RuntimeError, SUPPORTED, threads_for};
use clap::{Args, ValueEnum as _};
use std::fmt::Write as _;

/// Takes no options of its own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  isal doctor\n  isal doctor --json")]
pub struct Options {}

/// One thing that was looked for.
#[derive(Debug, serde::Serialize)]
struct Finding {
    name: String,
    /// Version and place, or why it is not there.
    found: String,
    ok: bool,
    /// Whether the main job cannot run without it.
    needed: bool,
    /// What to do, where something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

pub(super) fn run(_options: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let mut findings = runtime(context);
    findings.extend(plugin(context));
    let (threads, sessions) = (std::thread::available_parallelism().map_or(1, usize::from), threads_for(0));
    findings.push(Finding {
        name: "threads".to_owned(),
        found: match context.global.threads {
            0 if sessions < threads => format!("{threads}, of which {sessions} run a model: one a core"),
            0 => format!("{threads}"),
            limit => format!("{limit} of {threads} (--threads)"),
        },
        ok: true,
        needed: false,
        cure: None,
    });
    findings.push(Finding {
        name: "waiting threads".to_owned(),
        found: match std::env::var("OMP_WAIT_POLICY") {
            Ok(policy) if policy.eq_ignore_ascii_case("passive") => "sleep".to_owned(),
            Ok(policy) => format!("as OMP_WAIT_POLICY={policy} says in libtorch, sleep in ONNX Runtime"),
            Err(_) => "as OpenMP does by itself in libtorch, sleep in ONNX Runtime".to_owned(),
        },
        ok: true,
        needed: false,
        cure: None,
    });
    let ready = findings.iter().all(|f| f.ok || !f.needed);
    let mut text = String::new();
    for finding in &findings {
        let mark = match (finding.ok, finding.needed) {
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) => "none",
        };
        writeln!(text, "{:<20} {mark:<8} {}", finding.name, finding.found)?;
        if let Some(cure) = &finding.cure {
            writeln!(text, "{:<29} -> {cure}", "")?;
        }
    }
    let verdict = if ready { "the main job can run" } else { "the main job cannot run" };
    writeln!(text, "{verdict}")?;
    context.print(
        &text,
        &serde_json::json!({"version": env!("CARGO_PKG_VERSION"), "ready": ready, "findings": findings}),
    )?;
    Ok(if ready { Outcome::Done } else { Outcome::No })
}

fn runtime(context: &Context) -> Vec<Finding> {
    let library = match Library::load(context.global.onnxruntime.as_deref()) {
        Ok(library) => library,
        Err(error) => {
            let cure = format!("run `make setup`, or set ORT_DYLIB_PATH to a library of version {SUPPORTED}");
            return vec![Finding {
                name: "ONNX Runtime".to_owned(),
                found: error.to_string(),
                ok: false,
                needed: true,
                cure: Some(cure),
            }];
        }
    };
    let (found, ok) = match ExecutionProvider::built_in(&library) {
        Ok(names) => (names.join(", "), true),
        Err(error) => (error.to_string(), false),
    };
    let mut findings = vec![
        Finding {
            name: "ONNX Runtime".to_owned(),
            found: format!("{} at {}", library.version(), library.path().display()),
            ok: true,
            needed: true,
            cure: None,
        },
        Finding { name: "execution providers".to_owned(), found, ok, needed: true, cure: None },
    ];
    findings.extend(ExecutionProvider::value_variants().iter().filter_map(|provider| accelerator(*provider, &library)));
    findings
}

/// Whether an execution provider of this build computes; nothing for the CPU, which always does.
fn accelerator(provider: ExecutionProvider, library: &Library) -> Option<Finding> {
    if matches!(provider, ExecutionProvider::Auto | ExecutionProvider::Cpu) || !provider.is_built_in(library).ok()? {
        return None;
    }
    let (ok, found) = match provider.start(library) {
        Ok(()) => (true, "computes".to_owned()),
        Err(RuntimeError::Provider { reason, .. }) => (false, reason),
        Err(other) => (false, other.to_string()),
    };
    let cure = (!ok).then(|| starting_hint(provider));
    Some(Finding { name: provider.to_string(), found, ok, needed: false, cure })
}

fn plugin(context: &Context) -> Vec<Finding> {
    let plugin = Plugin::find(context.global.plugin.as_deref());
    match plugin.and_then(|plugin| Ok((plugin.describe()?, plugin))) {
        Ok((described, plugin)) => vec![
            Finding {
                name: "gradient plugin".to_owned(),
                found: format!("{} {} at {}", described.name, described.version, plugin.path().display()),
                ok: true,
                needed: true,
                cure: None,
            },
            Finding { name: "plugin backend".to_owned(), found: described.backend, ok: true, needed: true, cure: None },
            Finding {
                name: "plugin devices".to_owned(),
                found: described.devices.join(", "),
                ok: true,
                needed: true,
                cure: None,
            },
            Finding {
                name: "plugin operators".to_owned(),
                found: described.ops.len().to_string(),
                ok: true,
                needed: true,
                cure: None,
            },
        ],
        Err(error) => vec![Finding {
            name: "gradient plugin".to_owned(),
            found: in_one_line(&error),
            ok: false,
            needed: true,
            cure: Some("run `make plugin`, or name one with `--plugin` or ISAL_PLUGIN".to_owned()),
        }],
    }
}
