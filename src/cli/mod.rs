//! One file a command.

use std::process::ExitCode;

/// Reads the arguments and runs the command.
pub fn main() -> ExitCode {
    eprintln!(
        "hulplijn {}: no command is built yet; see CHANGELOG.md for what is there",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(2)
}
