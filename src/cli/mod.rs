//! One file a command. Each command's `run` gives an [`Exit`] and writes what it finds to `out`; what
//! it could not do at all is an error.
mod audio;
pub mod call;
mod certificates;
pub mod check;
pub mod data_folder;
pub mod doubts;
pub mod exit;
pub mod make;
pub mod messages;
pub mod password;
pub mod phone;
pub mod prompts;
pub mod reload;
pub mod serve;
pub mod site;
pub mod telephone;
pub mod upkeep;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::base::fault;
use exit::Exit;

/// The telephone switch of a helpline.
#[derive(Debug, Parser)]
#[command(name = "hulplijn", version, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the switch.
    Serve(serve::Arguments),
    /// Shows every mistake of a configuration, with file and line.
    Check(check::Arguments),
    Call(call::Arguments),
    Phone(phone::Arguments),
    /// Lists, plays, exports, marks and deletes the messages that callers left.
    Messages(messages::Arguments),
    Password(password::Arguments),
    /// Makes the spoken prompts from their texts, or checks them.
    Prompts(prompts::Arguments),
}

/// The commands and their arguments, for those who check what is written about them.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Reads the arguments and runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let out = &mut io::stdout().lock();
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments, out),
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Call(arguments) => call::run(&arguments, out),
        Command::Phone(arguments) => phone::run(&arguments, out),
        Command::Messages(arguments) => messages::run(&arguments, out),
        Command::Password(arguments) => password::run(&arguments, out),
        Command::Prompts(arguments) => prompts::run(&arguments, out),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Fine.into(),
        Err(error) => {
            eprintln!("hulplijn: {}", told(&error));
            Exit::Unable.into()
        }
    }
}

/// An error with its causes; a cause that the error quotes already is not told again.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(in_words).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        before if before.ends_with(&cause) => text,
        before => format!("{before}: {cause}"),
    })
}

/// What the system says alone is told in words; what has words of its own, in those.
fn in_words(cause: &(dyn std::error::Error + 'static)) -> String {
    let bare = cause.downcast_ref::<io::Error>().filter(|error| error.get_ref().is_none());
    bare.map_or_else(|| cause.to_string(), |error| fault::words(error.kind()))
}

/// The reader of our output, such as `head`, has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn an_error_that_quotes_its_cause_is_told_once() {
        let cause = || io::Error::from(io::ErrorKind::NotFound);
        let quoting = crate::media::audio::AudioError::from(hound::Error::from(cause()));
        let error = anyhow::Error::from(quoting).context("own.wav");
        assert_eq!(told(&error), "own.wav: can't be read as WAV: entity not found");
        assert_eq!(
            told(&anyhow::Error::from(cause()).context("own.wav")),
            "own.wav: there is no such file or folder"
        );
    }

    #[test]
    fn the_arguments_are_well_formed_and_the_exit_codes_are_in_the_help() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("messages") && help.contains("Exit codes"));
    }
}
