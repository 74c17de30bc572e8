//! Opening hours: decisions about time, pure.
