//! `isal view`: pages in the browser over a run or a sweep.

use super::{Context, Outcome};
use crate::observe::Observer as _;
use crate::view::{Options as ViewOptions, view};
use anyhow::Context as _;
use clap::Args;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const AFTER: &str = "\
Images by influence with filters, each with what the model believes and why it was chosen; the curve of a run; and labels by \
keyboard, which are in DIR/view/ at once, a list that `isal label import` takes. Ctrl-C ends it.

Examples:
  isal view runs/birds
  isal view selected --pool digits/pool --port 8091";

/// What to look at, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Options {
    /// The folder of `isal run -o`, or of `isal score pool -o`
    #[arg(value_name = "DIR", help_heading = "Run")]
    folder: PathBuf,
    /// The pool (default: where it was when it was scored)
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    pool: Option<PathBuf>,
    /// Address to listen at
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", help_heading = "Run")]
    address: IpAddr,
    /// Port; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8090, help_heading = "Run")]
    port: u16,
}

/// How often the interrupt flag is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let threads = match context.global.threads {
        0 => num_cpus::get(),
        threads => threads,
    };
    let options = ViewOptions {
        folder: given.folder.clone(),
        pool: given.pool.clone(),
        address: SocketAddr::new(given.address, given.port),
        threads,
        onnxruntime: context.global.onnxruntime.clone(),
    };
    // What Kubernetes and systemd send; Ctrl-C is every command's.
    let terminated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&terminated))
        .context("cannot listen for SIGTERM")?;
    let server = view(options).with_context(|| format!("cannot show `{}`", given.folder.display()))?;
    for notice in server.notices() {
        context.progress.say(notice);
    }
    if !given.address.is_loopback() {
        context.progress.say("warning: others can reach this address; what is sent is not encrypted, and whoever has the token may label");
    }
    let value = serde_json::json!({
        "schema": "isal-view/1",
        "url": server.url(),
        "images": server.images(),
        "notices": server.notices(),
    });
    context.print(&format!("open {}", server.url()), &value)?;
    while !context.progress.interrupted() && !terminated.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
    }
    server.stop();
    Ok(Outcome::Done)
}
