//! A door for agents: the keeper as a server of the Model Context Protocol, over stdin and stdout.
//!
//! It is a client of the running keeper's socket and can do no more than that: see prices, rent within the limits that the
//! wallet's owner set, look, cancel. No tool raises a limit, moves money elsewhere or shows a key, and only files of one
//! folder can be handed in, since what is rented for goes to a stranger's machine. Stdout carries the protocol alone.
//!
//! - `asked`: what the tools take.
//! - `files`: which files can be handed in, and what comes back.
//! - `money`: amounts as people write them.

mod asked;
mod files;
mod money;

use std::{ops::ControlFlow, path::PathBuf, time::Duration};

use rmcp::{
    ServerHandler, ServiceExt,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
};
use serde_json::{Value, json};

use self::asked::{JobAsked, QuoteAsked, RentAsked, ResultsAsked};
use crate::{
    job::JobId,
    socket::{self, Order, Question, Reply, Request},
};

/// Longest that a call waits for a job, seconds.
const MAX_WAIT_S: u64 = 600;
/// Jobs listed by `status`.
const JOBS_LISTED: usize = 20;

const INSTRUCTIONS: &str = "Rents compute for work that is too heavy or too slow here: text_processing, \
    image_processing, data_analysis and model_inference run on providers' machines and are paid from a wallet within limits \
    that its owner set. Ask `quote` for the price first; `rent` gives a job; `results` with the job waits for its files. Amounts are in AIT.";

/// The server.
#[derive(Clone, Debug)]
pub struct Door {
    data_dir: PathBuf,
    inputs: files::Inputs,
    out_dir: PathBuf,
    tool_router: ToolRouter<Self>,
}

impl Door {
    /// Speaks for the keeper of `data_dir`; takes files from `inputs` alone, and has results put under `out_dir`.
    ///
    /// # Errors
    /// When a folder is not there.
    pub fn new(data_dir: PathBuf, inputs: PathBuf, out_dir: PathBuf) -> Result<Self, String> {
        let inputs = files::Inputs::new(inputs, &data_dir)?;
        let out_dir = std::path::absolute(&out_dir).map_err(|error| format!("{}: {error}", out_dir.display()))?;
        Ok(Self { data_dir, inputs, out_dir, tool_router: Self::tool_router() })
    }

    /// Serves stdin and stdout until the client leaves.
    ///
    /// # Errors
    /// When the client does not speak the protocol.
    pub async fn serve(self) -> Result<(), String> {
        let service = self.serve_on(rmcp::transport::stdio()).await?;
        service.waiting().await.map(|_| ()).map_err(|error| format!("the client went away: {error}"))
    }

    async fn serve_on(
        self,
        transport: (tokio::io::Stdin, tokio::io::Stdout),
    ) -> Result<rmcp::service::RunningService<rmcp::RoleServer, Self>, String> {
        ServiceExt::serve(self, transport)
            .await
            .map_err(|error| format!("no client speaks the Model Context Protocol on stdin: {error}"))
    }

    async fn ask(&self, request: Request) -> Result<Reply, String> {
        match socket::ask(&self.data_dir, &request, |_| ControlFlow::Continue(())).await {
            Ok(Reply::Error { text }) => Err(text),
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn document(&self, request: Request) -> Result<Value, String> {
        match self.ask(request).await? {
            Reply::Document { body } => Ok(money::in_ait(body)),
            other => Err(format!("unexpected reply {other:?}")),
        }
    }

    async fn hand_in(&self, asked: RentAsked) -> Result<Value, String> {
        let wait_s = asked.wait_s;
        let (request, _kept) = asked.request(&self.inputs, &self.out_dir)?;
        let (mut taken, request) = (None, Request::Rent(request));
        let told = socket::ask(&self.data_dir, &request, |reply| match reply {
            Reply::Accepted { job } => {
                taken = Some(*job);
                // The job goes on without us; its result is asked for by its number.
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        let last = told.await.map_err(|error| error.to_string())?;
        match (taken, last) {
            (Some(job), _) => self.result_of(job, wait_s).await,
            (None, Reply::Error { text }) => Err(text),
            (None, other) => Err(format!("unexpected reply {other:?}")),
        }
    }

    /// Where a job stands, after waiting for its end.
    async fn result_of(&self, job: JobId, wait_s: u64) -> Result<Value, String> {
        if wait_s > 0 {
            let request = Request::Follow { job };
            let end = socket::ask(&self.data_dir, &request, |_| ControlFlow::Continue(()));
            // However it ends, the document below tells.
            let _ = tokio::time::timeout(Duration::from_secs(wait_s.min(MAX_WAIT_S)), end).await;
        }
        let mut document = self.document(Request::Show(Question::Job { job })).await?;
        match document["outcome"]["state"].as_str() {
            Some("finished") => {
                let listed = files::listed(&document);
                if let Some(fields) = document.as_object_mut() {
                    fields.insert("files".into(), listed);
                }
                Ok(document)
            }
            Some("failed") => {
                let reason = document["outcome"]["reason"].as_str().unwrap_or_default();
                Err(format!("{job} failed: {reason}"))
            }
            Some("cancelled") => Err(format!("{job} was called off; rent again if it is still wanted")),
            _ => {
                let next = format!("ask `results` for {job} again; with wait_s it waits for the end");
                if let Some(fields) = document.as_object_mut() {
                    fields.insert("next".into(), next.into());
                }
                Ok(document)
            }
        }
    }
}

#[tool_router]
impl Door {
    /// The market.
    #[tool(
        description = "Prices and free slots of every hardware class, as of the newest block.",
        annotations(title = "Market", read_only_hint = true, open_world_hint = true)
    )]
    async fn market(&self) -> CallToolResult {
        answer(self.document(Request::Show(Question::Market)).await)
    }

    /// A price.
    #[tool(
        description = "What a rental would be bid at now: class, price per hour, and the escrow, which is the most it can cost. Places nothing.",
        annotations(title = "Quote", read_only_hint = true, open_world_hint = true)
    )]
    async fn quote(&self, Parameters(asked): Parameters<QuoteAsked>) -> CallToolResult {
        let request = match asked.request() {
            Ok(request) => request,
            Err(text) => return answer(Err(text)),
        };
        answer(self.document(Request::Show(Question::Quote(request))).await)
    }

    /// A rental.
    #[tool(
        description = "Rents compute for one task and pays from the wallet, within its owner's limits. Gives a job; with wait_s, waits for its result.",
        annotations(
            title = "Rent",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn rent(&self, Parameters(asked): Parameters<RentAsked>) -> CallToolResult {
        answer(self.hand_in(asked).await)
    }

    /// The keeper.
    #[tool(
        description = "Where everything stands: jobs, live rentals, what is spent and reserved, what is stuck and why.",
        annotations(title = "Status", read_only_hint = true, open_world_hint = true)
    )]
    async fn status(&self) -> CallToolResult {
        let document = self.document(Request::Status).await.map(|mut document| {
            if let Some(jobs) = document["jobs"].as_array_mut() {
                jobs.truncate(JOBS_LISTED);
            }
            document
        });
        answer(document)
    }

    /// A job's end.
    #[tool(
        description = "Where a job stands and, once it is finished, its files: paths, hashes, and the text of small text files. With wait_s, waits for the end.",
        annotations(title = "Results", read_only_hint = true, open_world_hint = true)
    )]
    async fn results(&self, Parameters(ResultsAsked { job, wait_s }): Parameters<ResultsAsked>) -> CallToolResult {
        match job.parse() {
            Ok(job) => answer(self.result_of(job, wait_s).await),
            Err(text) => answer(Err(text)),
        }
    }

    /// An end before the end.
    #[tool(
        description = "Calls a job off: its bid is cancelled for nothing, a confirmed or running rental for a small penalty or the time used.",
        annotations(
            title = "Cancel",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn cancel(&self, Parameters(JobAsked { job }): Parameters<JobAsked>) -> CallToolResult {
        let job = match job.parse() {
            Ok(job) => job,
            Err(text) => return answer(Err(text)),
        };
        let told = match self.ask(Request::Order(Order::Cancel { job })).await {
            Ok(Reply::Ok { text }) => Ok(json!({ "job": job.to_string(), "said": text })),
            Ok(other) => Err(format!("unexpected reply {other:?}")),
            Err(text) => Err(text),
        };
        answer(told)
    }

    /// The purse.
    #[tool(
        description = "The wallet: its limits, what is spent, reserved and left to bid with, and its session keys' limits. Only its owner can change them.",
        annotations(title = "Wallet", read_only_hint = true, open_world_hint = true)
    )]
    async fn wallet(&self) -> CallToolResult {
        answer(self.document(Request::Show(Question::Wallet)).await)
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("openclaw-keeper", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }
}

/// A tool's answer; what went wrong is told to the model, which can mend it.
fn answer(result: Result<Value, String>) -> CallToolResult {
    match result {
        Ok(value) => CallToolResult::structured(value),
        Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
    }
}
