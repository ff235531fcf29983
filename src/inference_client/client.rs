//! The client: what the server has, and requests that are sent until they are answered or the time is up.

use super::backoff::Backoff;
use super::error::Failure;
use super::tensor::Output;
use super::waiting::{Told, Waiting, waiting};
use super::wire::{Encoded, Wire};
use super::{ClientError, Input, Metadata, ServedModel, ServerOptions, Wanted};
use crate::observe::Observer;
use ndarray::ArrayD;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Threads that send and receive.
const THREADS: usize = 2;

/// A model of a server that was found to fit.
#[derive(Debug)]
pub struct Client {
    /// Taken away when this is dropped.
    runtime: Option<Runtime>,
    asked: Arc<Asked>,
    description: Description,
}

/// What a server says of itself and of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name and version of the server.
    pub server: String,
    /// The model, with the version that is asked for.
    pub model: ServedModel,
    /// Rows of every request, where the model takes so many and no other.
    pub rows: Option<usize>,
    /// The most rows of a request, where there is a limit.
    pub most: Option<usize>,
    /// Whether the server says what goes in and out.
    pub says_ports: bool,
}

/// What all requests share.
#[derive(Debug)]
struct Asked {
    wire: Wire,
    server: String,
    model: ServedModel,
    timeout: Duration,
    retry: Duration,
    /// Whether tensors may lie behind the JSON.
    binary: bool,
    /// The model as it was when it was found to fit.
    known: Option<Metadata>,
    /// Requests for inference so far.
    requests: AtomicU64,
    /// Whether something has failed since the model was last looked at.
    suspect: AtomicBool,
    /// Whether the observer was told that something fails.
    troubled: AtomicBool,
}

impl Client {
    /// Asks the server for the model and holds it against what is wanted.
    ///
    /// # Errors
    /// [`ClientError`]: no answer in time, no such model, one that does not fit.
    pub fn open(options: &ServerOptions, wanted: &Wanted, observer: &dyn Observer) -> Result<Client, ClientError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("inference-client")
            .enable_all()
            .build()
            .map_err(ClientError::Threads)?;
        let wire = {
            let _entered = runtime.enter();
            Wire::new(&options.address, options.token.as_ref(), options.authorities.as_deref(), options.timeout)?
        };
        let asked = Asked {
            wire,
            server: options.address.to_string(),
            model: options.model.clone(),
            timeout: options.timeout,
            retry: options.retry,
            binary: false,
            known: None,
            requests: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            troubled: AtomicBool::new(false),
        };
        let wanted = wanted.clone();
        let opening = spawn(&runtime, |told| async move { asked.open(&told, &wanted).await });
        match opening.wait(observer) {
            Ok((asked, description)) => Ok(Client { runtime: Some(runtime), asked: Arc::new(asked), description }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// What is asked, in words.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// `digits:1 at http://localhost:8000`
    pub fn place(&self) -> String {
        format!("{} at {}", self.asked.model, self.asked.server)
    }

    /// That the model does not fit, and why.
    pub fn misfit(&self, reason: String) -> ClientError {
        self.asked.misfit(reason)
    }

    /// Sends a batch; the answer is the outputs in the order asked for, each with a row for every row of the input.
    ///
    /// # Errors
    /// An input that the transport has no form for.
    pub fn infer(&self, input: &Input, outputs: &Arc<[String]>) -> Result<Waiting<Vec<ArrayD<f32>>>, ClientError> {
        let Client { runtime: Some(runtime), asked, .. } = self else { return Err(ClientError::Interrupted) };
        // Some servers answer only requests that have one.
        let id = format!("isal-{}", asked.requests.fetch_add(1, Ordering::Relaxed));
        let request = asked.wire.encode((&asked.model, &id), input, outputs, asked.binary);
        let request = request.map_err(|reason| asked.misfit(reason))?;
        let rows = input.shape.first().copied().unwrap_or_default();
        let (asked, outputs) = (Arc::clone(asked), Arc::clone(outputs));
        Ok(spawn(runtime, move |told| async move { asked.infer(&told, &request, rows, &outputs).await }))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Requests that nobody waits for any more are not waited for.
            runtime.shutdown_background();
        }
    }
}

/// Runs work on the client's threads.
fn spawn<T, F>(runtime: &Runtime, work: impl FnOnce(Arc<Told<T>>) -> F) -> Waiting<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ClientError>> + Send + 'static,
{
    let (told, waiting) = waiting();
    let told = Arc::new(told);
    let working = work(Arc::clone(&told));
    runtime.spawn(async move { told.end(working.await) });
    waiting
}

impl Asked {
    /// Looks at the server and the model, and settles what is asked from here on.
    async fn open<T>(mut self, told: &Told<T>, wanted: &Wanted) -> Result<(Asked, Description), ClientError> {
        let about = self.persist(told, "a description of itself", || self.wire.about()).await?;
        let request = format!("a description of model `{}`", self.model);
        let metadata = match self.persist(told, &request, || self.wire.metadata(&self.model)).await {
            Ok(metadata) => metadata,
            Err(refused @ ClientError::Refused { .. }) => return Err(self.absent(refused).await),
            Err(other) => return Err(other),
        };
        let rows = wanted.check(&metadata).map_err(|reason| self.misfit(reason))?;
        // The newest version from here on, also when a newer one appears.
        let newest = metadata.versions.iter().filter_map(|version| version.parse::<u64>().ok()).max();
        self.model.version = self.model.version.take().or_else(|| newest.map(|version| version.to_string()));
        self.binary = about.extensions.iter().any(|known| known == "binary_tensor_data");
        let request = format!("the configuration of model `{}`", self.model);
        let most = self.persist(told, &request, || self.wire.largest_batch(&self.model, &about)).await?;
        let server = match (about.name.as_str(), about.version.as_str()) {
            ("", _) => "a server that does not say its name".to_owned(),
            (name, "") => name.to_owned(),
            (name, version) => format!("{name} {version}"),
        };
        let description = Description {
            server,
            model: self.model.clone(),
            rows,
            // 0: no batches are made of requests there, which may have any size.
            most: most.filter(|most| *most > 0),
            says_ports: !metadata.inputs.is_empty() && !metadata.outputs.is_empty(),
        };
        self.known = Some(Metadata { versions: Vec::new(), ..metadata });
        Ok((self, description))
    }

    /// Names the models that are there, where the one that was asked for is not.
    async fn absent(&self, refused: ClientError) -> ClientError {
        let there = tokio::time::timeout(self.timeout, self.wire.models()).await;
        let Ok(Ok(mut there)) = there else { return refused };
        there.dedup();
        match there.contains(&self.model.name) {
            true => refused,
            false => ClientError::NoModel { server: self.server.clone(), model: self.model.to_string(), there },
        }
    }

    async fn infer<T>(
        &self,
        told: &Told<T>,
        request: &Encoded,
        rows: usize,
        outputs: &[String],
    ) -> Result<Vec<ArrayD<f32>>, ClientError> {
        let what = format!("inference by model `{}`", self.model);
        let answer = self.persist(told, &what, || self.wire.infer(&self.model, request)).await?;
        arrays(&answer, outputs, rows).map_err(|reason| ClientError::Answer {
            server: self.server.clone(),
            request: what,
            reason,
        })
    }

    /// Tries until there is an answer, or until what may pass has not passed in time.
    async fn persist<T, U, F>(&self, told: &Told<U>, request: &str, attempt: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut backoff = Backoff::new();
        let (mut attempts, mut since) = (0, None);
        loop {
            attempts += 1;
            let (reason, after) = match self.once(&attempt).await {
                Ok(answer) => {
                    if self.troubled.swap(false, Ordering::Relaxed) {
                        told.say(format!("{} answers again", self.server));
                    }
                    return Ok(answer);
                }
                Err(Attempt::Passing { reason, after }) => (reason, after),
                Err(Attempt::Final(error)) => return Err(self.worded(error, request)),
            };
            let pause = backoff.next(after);
            let began = *since.get_or_insert_with(Instant::now);
            if began.elapsed() + pause > self.retry {
                let (server, seconds) = (self.server.clone(), began.elapsed());
                return Err(ClientError::GaveUp { server, seconds, attempts, reason });
            }
            if !self.troubled.swap(true, Ordering::Relaxed) {
                let (server, seconds) = (&self.server, self.retry.as_secs_f64());
                told.say(format!("{server} does not answer ({reason}); trying again for up to {seconds:.0} s"));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt within its time. After a failure the model is looked at first.
    async fn once<T, F>(&self, attempt: &impl Fn() -> F) -> Result<T, Attempt>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let within = async {
            if self.suspect.load(Ordering::Relaxed) {
                self.verify().await?;
                self.suspect.store(false, Ordering::Relaxed);
            }
            match attempt().await {
                Ok(answer) => Ok(answer),
                // A server that has just come back may not have its models yet.
                Err(failure @ Failure::Refused { .. }) if self.known.is_some() => {
                    match self.wire.is_ready(&self.model).await {
                        Ok(true) => Err(failure.into()),
                        Ok(false) => Err(Attempt::passing(format!("model `{}` is not ready", self.model))),
                        Err(other) => Err(other.into()),
                    }
                }
                Err(failure) => Err(failure.into()),
            }
        };
        let tried = tokio::time::timeout(self.timeout, within).await;
        let tried = tried
            .unwrap_or_else(|_| Err(Attempt::passing(format!("no answer within {:.0} s", self.timeout.as_secs_f64()))));
        if matches!(tried, Err(Attempt::Passing { .. })) {
            self.suspect.store(true, Ordering::Relaxed);
        }
        tried
    }

    /// Whether the model is the one that was found at first.
    async fn verify(&self) -> Result<(), Attempt> {
        let Some(known) = &self.known else { return Ok(()) };
        let not_ready = || Attempt::passing(format!("model `{}` is not ready", self.model));
        if !self.wire.is_ready(&self.model).await? {
            return Err(not_ready());
        }
        let found = match self.wire.metadata(&self.model).await {
            Err(Failure::Refused { absent: true, .. }) => return Err(not_ready()),
            other => other?,
        };
        let found = Metadata { versions: Vec::new(), ..found };
        if found == *known {
            return Ok(());
        }
        let reason = if found.properties == known.properties {
            "its inputs or outputs changed".to_owned()
        } else {
            "the properties of its influence changed".to_owned()
        };
        let (server, model) = (self.server.clone(), self.model.to_string());
        Err(Attempt::Final(Final::Error(ClientError::Changed { server, model, reason })))
    }

    fn worded(&self, error: Final, request: &str) -> ClientError {
        let (server, request) = (self.server.clone(), request.to_owned());
        match error {
            Final::Error(error) => error,
            Final::Refused { status, said } => ClientError::Refused { server, request, status, said },
            Final::Answer(reason) => ClientError::Answer { server, request, reason },
        }
    }

    fn misfit(&self, reason: String) -> ClientError {
        ClientError::Misfit { server: self.server.clone(), model: self.model.to_string(), reason }
    }
}

/// How one attempt failed.
enum Attempt {
    Passing { reason: String, after: Option<Duration> },
    Final(Final),
}

/// What no other attempt changes.
enum Final {
    Error(ClientError),
    Refused { status: String, said: String },
    Answer(String),
}

impl Attempt {
    fn passing(reason: String) -> Attempt {
        Attempt::Passing { reason, after: None }
    }
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Attempt {
        match failure {
            Failure::Passing { reason, after } => Attempt::Passing { reason, after },
            Failure::Refused { status, said, .. } => Attempt::Final(Final::Refused { status, said }),
            Failure::Answer(reason) => Attempt::Final(Final::Answer(reason)),
        }
    }
}

/// The outputs asked for, in that order, each with so many rows.
fn arrays(answer: &[Output], wanted: &[String], rows: usize) -> Result<Vec<ArrayD<f32>>, String> {
    let each = wanted.iter().map(|name| {
        let mut named = answer.iter().filter(|output| output.name == *name);
        let (Some(output), None) = (named.next(), named.next()) else {
            let names: Vec<&str> = answer.iter().map(|output| output.name.as_str()).collect();
            return Err(format!("output `{name}` is not there once; there are {names:?}"));
        };
        let array = output.floats()?;
        match array.shape().first() {
            Some(found) if *found == rows => Ok(array),
            _ => Err(format!("output `{name}` has the shape {:?} for {rows} images", array.shape())),
        }
    });
    each.collect()
}
