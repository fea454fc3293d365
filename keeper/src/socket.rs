//! The daemon's Unix socket: one JSON request a connection, JSON replies a line each until the request is over.
//!
//! The socket has mode 0600: who may open it may spend what the session key may spend.

use std::{
    io,
    ops::ControlFlow,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::B256;
use contracts::{classes::HardwareClass, ids::AgreementId, units::Amount};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    event::Event,
    intake::{self, Intake},
    job::{JobId, Priority},
    spec::TaskType,
};

/// File name of the socket inside the data folder.
pub const SOCKET_NAME: &str = "keeper.sock";
/// Longest request, bytes.
const MAX_REQUEST_BYTES: u64 = 1 << 20;
/// Clients served at once.
const MAX_CLIENTS: usize = 64;
/// A client must have asked within this time.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client may ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Where everything stands.
    Status,
    /// The newest intents.
    Journal {
        /// How many.
        limit: usize,
    },
    /// Rent for one task or several.
    Rent(RentRequest),
    /// Follow a job to its end.
    Follow {
        /// Which.
        job: JobId,
    },
    /// No new bids and matches; what runs goes on.
    Pause,
    /// Bids and matches again.
    Resume,
    /// End the daemon; containers go on and are adopted at the next start.
    Stop,
    /// A document about something.
    Show(Question),
    /// Something to be done at once.
    Order(Order),
    /// Measure this provider's node and publish its score.
    Measure,
}

/// What a document can be about; each is one snapshot of the index, and names its block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Question {
    /// Every hardware class: prices, queues, free slots.
    Market,
    /// What a bid would be priced at now, and whether the limits allow it.
    Quote(QuoteRequest),
    /// The agent's wallet: limits, what is spent, reserved and left, keys.
    Wallet,
    /// This provider's offers.
    Offers,
    /// One job with its bids and rentals.
    Job {
        /// Which.
        job: JobId,
    },
    /// One intent of the journal.
    Record {
        /// Its key.
        key: String,
    },
}

/// A rental to price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteRequest {
    /// Hardware class; the one that suits the priority if absent.
    pub class: Option<HardwareClass>,
    /// Highest price per hour.
    pub max_price_per_hour: Option<Amount>,
    /// How much it matters.
    pub priority: Priority,
    /// Longest rental, seconds.
    pub max_duration_s: u32,
}

/// What an operator can have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Order {
    /// Try a failed intent again now instead of later, if it is still wanted.
    Retry {
        /// Its key.
        key: String,
    },
    /// Never try a failed intent again, until `Retry`.
    Abandon {
        /// Its key.
        key: String,
    },
    /// Call a job off, and cancel what it has on chain as soon as the market allows.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// Change an offer's lowest price and validity.
    UpdateOffer {
        /// Its number.
        offer: u64,
        /// Lowest price per hour; as it is if absent.
        reserve_per_hour: Option<Amount>,
        /// Seconds from now; as it is if absent.
        valid_for_s: Option<u64>,
    },
    /// End an offer, and list no other until `Resume`.
    CloseOffer {
        /// Its number.
        offer: u64,
    },
}

/// One task to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Kind of work.
    #[serde(rename = "task")]
    pub task_type: TaskType,
    /// Absolute paths of its inputs.
    pub inputs: Vec<PathBuf>,
    /// Knobs of the task type.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// What to rent for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RentRequest {
    /// Done one after the other in one rental.
    pub tasks: Vec<TaskRequest>,
    /// The rental is kept so long after its last task for jobs that come later, seconds.
    pub keep_warm_s: u32,
    /// Hardware class; the one that suits the priority if absent.
    pub class: Option<HardwareClass>,
    /// Highest price per hour.
    pub max_price_per_hour: Option<Amount>,
    /// How much it matters.
    pub priority: Priority,
    /// Longest rental, seconds.
    pub max_duration_s: u32,
    /// Absolute folder for the result.
    pub out_dir: PathBuf,
}

/// What a client is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Reply {
    /// A job was taken.
    Accepted {
        /// Its number.
        job: JobId,
    },
    /// Where it stands.
    Progress {
        /// Which job.
        job: JobId,
        /// One line.
        text: String,
    },
    /// Its result is here.
    Finished {
        /// Which job.
        job: JobId,
        /// The rental that made it.
        rental: AgreementId,
        /// Folder of the files.
        folder: PathBuf,
        /// Paths in it, with their hashes.
        files: Vec<(String, B256)>,
    },
    /// A document.
    Document {
        /// JSON.
        body: serde_json::Value,
    },
    /// Done.
    Ok {
        /// One line.
        text: String,
    },
    /// It did not work.
    Error {
        /// What happened and what to do next.
        text: String,
    },
}

impl Reply {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Accepted { .. } | Self::Progress { .. })
    }
}

/// A request as the loop gets it; dropping `reply` ends the conversation.
#[derive(Debug)]
pub struct Call {
    /// What is wanted.
    pub ask: Ask,
    /// Where replies go.
    pub reply: mpsc::Sender<Reply>,
}

/// A request whose files have been read.
#[derive(Debug)]
pub enum Ask {
    /// As in [`Request`].
    Status,
    /// As in [`Request`].
    Journal {
        /// How many.
        limit: usize,
    },
    /// A job whose inputs are stored.
    Rent(Box<Intake>),
    /// As in [`Request`].
    Follow {
        /// Which.
        job: JobId,
    },
    /// As in [`Request`].
    Pause,
    /// As in [`Request`].
    Resume,
    /// As in [`Request`].
    Stop,
    /// As in [`Request`].
    Show(Question),
    /// As in [`Request`].
    Order(Order),
    /// As in [`Request`].
    Measure,
}

/// Binds the socket of a data folder whose lock is held: a file that is left over is from a keeper that is gone.
///
/// # Errors
/// When the path cannot be bound; paths of sockets are short (about 100 bytes).
pub fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let path = data_dir.join(SOCKET_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("socket {}: {error}", path.display())))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves clients until `stop`.
pub async fn serve(listener: UnixListener, jobs_dir: PathBuf, events: mpsc::Sender<Event>, stop: CancellationToken) {
    let places = std::sync::Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            let text = format!("{MAX_CLIENTS} clients are served already; end some, or try again shortly");
            let mut stream = stream;
            // A new socket's buffer takes a line at once; who cannot even take that is let go.
            let _ = tokio::time::timeout(Duration::from_secs(1), say(&mut stream, &Reply::Error { text })).await;
            continue;
        };
        let (events, jobs_dir, stop) = (events.clone(), jobs_dir.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                served = converse(stream, &jobs_dir, &events) => if let Err(error) = served {
                    tracing::debug!(%error, "a client left");
                },
            }
        });
    }
}

async fn converse(stream: UnixStream, jobs_dir: &Path, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_REQUEST_BYTES));
    tokio::time::timeout(ASK_TIMEOUT, reader.read_line(&mut line)).await??;
    let ask = match understand(&line, jobs_dir).await {
        Ok(ask) => ask,
        Err(text) => return say(&mut write, &Reply::Error { text }).await,
    };
    let (reply, mut replies) = mpsc::channel(256);
    if events.send(Event::Call(Call { ask, reply })).await.is_err() {
        return say(&mut write, &Reply::Error { text: "the keeper is stopping".into() }).await;
    }
    while let Some(reply) = replies.recv().await {
        say(&mut write, &reply).await?;
        if reply.is_last() {
            break;
        }
    }
    Ok(())
}

async fn understand(line: &str, jobs_dir: &Path) -> Result<Ask, String> {
    let request: Request = serde_json::from_str(line)
        .map_err(|error| format!("the request does not parse ({error}); use the keeper's own client"))?;
    Ok(match request {
        Request::Status => Ask::Status,
        Request::Journal { limit } => Ask::Journal { limit },
        Request::Rent(rent) => Ask::Rent(Box::new(intake::take(rent, jobs_dir).await?)),
        Request::Follow { job } => Ask::Follow { job },
        Request::Pause => Ask::Pause,
        Request::Resume => Ask::Resume,
        Request::Stop => Ask::Stop,
        Request::Show(question) => Ask::Show(question),
        Request::Order(order) => Ask::Order(order),
        Request::Measure => Ask::Measure,
    })
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// A client cannot reach its keeper.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no keeper answers at {0}; start it with `keeper run --config FILE`, or name its folder with --data-dir")]
    NoKeeper(PathBuf),
    /// It went away.
    #[error(
        "the keeper went away before it was done; a job it took goes on when it is started again (`keeper status`)"
    )]
    Gone,
    /// Anything else.
    #[error("talking to the keeper: {0}")]
    Io(#[from] io::Error),
    /// Another version.
    #[error("the keeper's reply does not parse ({0}); is it another version?")]
    Reply(#[from] serde_json::Error),
}

/// Asks the keeper of `data_dir` and hands every reply to `each`, until it breaks or the request is over; returns the
/// last reply.
///
/// # Errors
/// [`ClientError`] says what to do next.
pub async fn ask(
    data_dir: &Path,
    request: &Request,
    mut each: impl FnMut(&Reply) -> ControlFlow<()>,
) -> Result<Reply, ClientError> {
    let path = data_dir.join(SOCKET_NAME);
    let mut stream = UnixStream::connect(&path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoKeeper(path),
        _ => error.into(),
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        let reply: Reply = serde_json::from_str(&line)?;
        if each(&reply).is_break() || reply.is_last() {
            return Ok(reply);
        }
    }
    Err(ClientError::Gone)
}
