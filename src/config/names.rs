//! What the tables say about one another.
use super::diagnostic::Diagnostic;
use super::raw::Config;

/// Everything wrong or doubtful.
pub fn check(_config: &Config) -> Vec<Diagnostic> {
    Vec::new()
}
