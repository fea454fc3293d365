//! The command line: two folders, each with a default, and nothing else.

use std::{ffi::OsString, path::PathBuf};

use crate::failure::Failure;

/// What `worker --help` prints.
pub(crate) const HELP: &str = "\
Does one task of a rental: text_processing, image_processing, data_analysis or model_inference.

Usage: worker [--in DIR] [--out DIR] | worker --hold

  --in DIR     folder with task.json and blobs/<sha256> (default /in)
  --out DIR    folder for the results and manifest.json (default /out)
  --hold       do nothing until killed: a container that keeps /out mounted
  --help       this text
  --version    the version

Exit codes: 0 done · 64 task type or usage not supported · 65 input cannot be processed ·
66 input missing or not what its hash says · 70 defect in the worker · 74 results cannot be written
";

/// The folders of one run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Work(Args),
    Hold,
    Help,
    Version,
}

impl Args {
    /// Parses the arguments after the program's name.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an unknown argument or an option without its folder.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
        let mut args = Self { input: PathBuf::from("/in"), output: PathBuf::from("/out") };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let target = match argument.to_str() {
                Some("--in") => &mut args.input,
                Some("--out") => &mut args.output,
                Some("--hold") => return Ok(Command::Hold),
                Some("--help" | "-h") => return Ok(Command::Help),
                Some("--version" | "-V") => return Ok(Command::Version),
                _ => {
                    return Err(Failure::Usage(format!(
                        "unknown argument {argument:?}; usage: worker [--in DIR] [--out DIR]"
                    )));
                }
            };
            *target = arguments
                .next()
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
                .ok_or_else(|| Failure::Usage(format!("{} needs a folder after it", argument.display())))?;
        }
        Ok(Command::Work(args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expect: Result<Command, &str>) {
        let got = Args::parse(arguments.iter().map(OsString::from));
        match (got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(expect)) => assert!(got.to_string().contains(expect), "{got}"),
            (got, expect) => panic!("{arguments:?}: got {got:?}, expected {expect:?}"),
        }
    }

    fn work(input: &str, output: &str) -> Command {
        Command::Work(Args { input: input.into(), output: output.into() })
    }

    #[test]
    fn folders_have_defaults_and_unknown_arguments_are_named() {
        check(&[], Ok(work("/in", "/out")));
        check(&["--out", "b", "--in", "a"], Ok(work("a", "b")));
        check(&["--in", "a", "--help"], Ok(Command::Help));
        check(&["--hold"], Ok(Command::Hold));
        check(&["--hold"], Ok(Command::Hold));
        check(&["--in"], Err("--in needs a folder"));
        check(&["--out", ""], Err("--out needs a folder"));
        check(&["--inn", "a"], Err("\"--inn\""));
    }
}
