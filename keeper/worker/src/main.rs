//! The reference worker: does one task of a rental inside a sealed container.
//!
//! It reads `/in/task.json` and the blobs beside it, does the work, writes the results under `/out` and, last of
//! all, `/out/manifest.json` with the SHA-256 of every result. The same input gives the same bytes on every machine:
//! there are no clocks, no randomness without a fixed seed, and no threads.
//!
//! Parts: [`args`] (command line) · [`task`] (what is asked, blobs verified) · [`text`], [`picture`], [`data`],
//! [`model`] (the crafts) · [`output`] (result files and manifest) · [`failure`] (exit codes).
//!
//! Deliberately absent: network, configuration files, temporary folders, and any task type that this binary cannot
//! really do; such a task ends with exit code 64 and says what the worker does instead.

mod args;
mod data;
mod decode;
mod failure;
mod model;
mod output;
mod picture;
mod task;
mod text;

use std::{
    io::Write as _,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use args::{Args, Command};
use failure::Failure;
use output::OutDir;
use task::{Blob, Task};

fn main() -> ExitCode {
    match Args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            // A closed pipe is the reader's wish; there is nobody left to tell.
            let _ = std::io::stdout().write_all(args::HELP.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            let _ = writeln!(std::io::stdout(), "worker {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        // Until a signal comes. Parking may end by itself, so once is not enough.
        Ok(Command::Hold) => loop {
            std::thread::park();
        },
        Ok(Command::Work(args)) => run(&args),
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// Does the task and leaves a manifest behind in every case in which `/out` can be written.
fn run(args: &Args) -> ExitCode {
    let mut out = match OutDir::open(&args.output) {
        Ok(out) => out,
        Err(failure) => {
            say(&failure.to_string());
            return ExitCode::from(failure.code());
        }
    };
    // A decoder that panics on a hostile file must not leave the keeper without a manifest, and the message of the
    // default hook would only repeat what `error.json` says.
    panic::set_hook(Box::new(|_| {}));
    let mut known: Option<Task> = None;
    let mut outcome = guarded(|| {
        let task = known.insert(Task::load(&args.input)?);
        work(task, args, &mut out)
    });
    if let Err(failure) = &outcome
        && let Err(second) = out.write_error(failure)
    {
        say(&failure.to_string());
        outcome = Err(second);
    }
    let identity = known.as_ref().map(|task| (task.task_id.as_str(), task.spec_sha256.as_str()));
    let closed = out.finish(identity);
    match outcome.and(closed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// Processes every input. An input that is broken in itself does not take the others down with it: their results
/// are kept, and the task as a whole ends with 65 and the names of the broken ones.
fn work(task: &Task, args: &Args, out: &mut OutDir) -> Result<(), Failure> {
    let mut blobs = task.open_blobs(&args.input)?;
    let craft = Craft::choose(task, &mut blobs)?;
    let stems = output::stems(blobs.iter().map(|blob| blob.name.as_str()));
    let mut broken = Vec::new();
    for (blob, stem) in blobs.iter_mut().zip(&stems) {
        match guarded(|| craft.process(blob, stem, out)) {
            Ok(line) => say(&format!("{}: {line}", blob.name)),
            Err(failure) if failure.is_about_one_input() => {
                say(&failure.to_string());
                broken.push(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    failure::sum_up(broken, blobs.len())
}

/// The task type with its checked parameters and, of `model_inference`, its model.
enum Craft {
    Text(text::Parameters),
    Picture(picture::Parameters),
    Data(data::Parameters),
    Model(Box<model::Model>),
}

impl Craft {
    /// Takes out of `blobs` what is no input to process, but a part of the craft.
    fn choose(task: &Task, blobs: &mut Vec<Blob>) -> Result<Self, Failure> {
        match task.task_type.as_str() {
            "text_processing" => Ok(Self::Text(text::Parameters::checked(task.parameters()?)?)),
            "image_processing" => Ok(Self::Picture(picture::Parameters::checked(task.parameters()?)?)),
            "data_analysis" => Ok(Self::Data(data::Parameters::checked(task.parameters()?)?)),
            "model_inference" => Ok(Self::Model(Box::new(model::Model::load(task.parameters()?, blobs)?))),
            other => Err(Failure::UnsupportedType(other.to_owned())),
        }
    }

    /// Writes the results of one input and returns one line about them for the log.
    fn process(&self, blob: &mut Blob, stem: &str, out: &mut OutDir) -> Result<String, Failure> {
        match self {
            Self::Text(parameters) => text::process(parameters, blob, stem, out),
            Self::Picture(parameters) => picture::process(parameters, blob, stem, out),
            Self::Data(parameters) => data::process(parameters, blob, stem, out),
            Self::Model(model) => model::process(model, blob, stem, out),
        }
    }
}

/// Runs `step` and turns a panic into [`Failure::Internal`].
fn guarded<T>(step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|payload| {
        let reason = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::Internal(reason.to_owned()))
    })
}

/// One line for the container's log.
fn say(line: &str) {
    // A log that nobody reads any more must not stop the work.
    let _ = writeln!(std::io::stderr(), "worker: {line}");
}
