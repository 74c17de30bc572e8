//! A mistake in the configuration: where, what was found, what is allowed, the nearest valid name.

use std::fmt;

use super::raw::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken, but the operator should look.
    Warning,
}

/// One finding. `Display` gives `file:line: error: what; allowed: …; did you mean …?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub place: Place,
    /// What is wrong, with what was found.
    pub what: String,
    /// What would be allowed.
    pub allowed: Option<String>,
    /// The nearest valid name.
    pub nearest: Option<String>,
}

impl Diagnostic {
    pub fn error(place: &Place, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.clone(),
            what: what.into(),
            allowed: None,
            nearest: None,
        }
    }

    pub fn warning(place: &Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, what) }
    }

    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Adds the name nearest to `found` among `names`, when one is near enough to be a slip.
    pub fn nearest<'a>(mut self, found: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.nearest = names
            .into_iter()
            .map(|name| (strsim::damerau_levenshtein(found, name), name))
            .filter(|(distance, name)| {
                let letters = name.chars().count();
                *distance < letters && *distance <= (letters / 3).max(1)
            })
            .min()
            .map(|(_, name)| name.to_owned());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // What was left out has no line.
        match self.place.line {
            0 => write!(f, "{}: {word}: {}", self.place.file, self.what)?,
            line => write!(f, "{}:{line}: {word}: {}", self.place.file, self.what)?,
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        Ok(())
    }
}
