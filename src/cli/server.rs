//! A server that computes in the place of ONNX Runtime here.

use super::BadRequest;
use crate::inference_client::{Address, ServedModel, ServerOptions, Token};
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The token, where no file is named.
const TOKEN: &str = "ISAL_SERVER_TOKEN";

/// Which server, and how it is asked.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Have a server run the file that is given here too: http://HOST:PORT or grpc://HOST:PORT (https, grpcs)
    ///
    /// A server of Triton, KServe or `isal serve`. The influence graph (`--influence`), or for strategies without influence the
    /// model, is served there under the name of --server-model; the file here says what it is. docs/SERVE.md has an example.
    #[arg(long, value_name = "URL", requires = "server_model", help_heading = "Execution", hide_short_help = true)]
    server: Option<Address>,
    /// The model there
    #[arg(
        long,
        value_name = "NAME[:VERSION]",
        requires = "server",
        help_heading = "Execution",
        hide_short_help = true
    )]
    server_model: Option<ServedModel>,
    /// File with a bearer token for the server (default: the environment variable ISAL_SERVER_TOKEN)
    #[arg(long, value_name = "FILE", requires = "server", help_heading = "Execution", hide_short_help = true)]
    server_token_file: Option<PathBuf>,
    /// Certificates that are trusted with https and grpcs, PEM (default: the system's)
    #[arg(long, value_name = "FILE", requires = "server", help_heading = "Execution", hide_short_help = true)]
    server_ca: Option<PathBuf>,
    /// Longest time from a request to the end of its answer, in seconds
    #[arg(long, value_name = "N", default_value_t = 60.0, help_heading = "Execution", hide_short_help = true)]
    server_timeout: f64,
    /// How long a request that may succeed later is tried again, in seconds
    ///
    /// No connection, no answer in time, 408, 429, 502, 503, 504; UNAVAILABLE, RESOURCE_EXHAUSTED and the like. 0: never.
    #[arg(long, value_name = "N", default_value_t = 120.0, help_heading = "Execution", hide_short_help = true)]
    server_retry: f64,
    /// Requests that are under way at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    #[arg(help_heading = "Execution", hide_short_help = true)]
    server_requests: u32,
}

impl ServerArguments {
    /// What they say; `None` where no server is named.
    pub(super) fn options(&self) -> anyhow::Result<Option<ServerOptions>> {
        let (Some(address), Some(model)) = (&self.server, &self.server_model) else { return Ok(None) };
        let seconds = |option: &str, seconds: f64, least: f64| {
            let given = Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds >= least);
            given.ok_or_else(|| BadRequest(format!("`{option}` is {seconds}, expected seconds from {least} on")))
        };
        Ok(Some(ServerOptions {
            address: address.clone(),
            model: model.clone(),
            token: self.token()?,
            authorities: self.server_ca.clone(),
            timeout: seconds("--server-timeout", self.server_timeout, 0.001)?,
            retry: seconds("--server-retry", self.server_retry, 0.0)?,
            requests: self.server_requests as usize,
        }))
    }

    fn token(&self) -> anyhow::Result<Option<Token>> {
        let (text, place) = match &self.server_token_file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
                (text, format!("`{}`", path.display()))
            }
            None => match std::env::var(TOKEN) {
                Ok(text) => (text, TOKEN.to_owned()),
                Err(_) => return Ok(None),
            },
        };
        match Token::new(&text) {
            Some(token) => Ok(Some(token)),
            None => Err(BadRequest(format!("{place} holds no token of printable letters without spaces")).into()),
        }
    }
}
