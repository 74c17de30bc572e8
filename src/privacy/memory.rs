//! The process's memory holds who is calling for as long as a call lasts. It stays in the process: no image
//! of it is written when the process dies, and no other process of the same user may read it.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From now on no core file, and no debugger but the system administrator's. Core files count in two ways:
/// those that a handler such as systemd-coredump takes through a pipe have no limit of size.
pub fn keep_in() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
