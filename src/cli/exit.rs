//! The exit codes, in one place.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything is as it should be.
    Fine = 0,
    /// The thing asked about is wrong or is not there: a configuration with mistakes, a prompt out of
    /// format, no such message.
    Wrong = 1,
    /// The arguments could not be understood (clap ends the program itself with this code).
    Usage = 2,
    /// It could not be done or started: a file, a port or a program that is needed.
    Unable = 3,
    /// The switch ran and had to stop by a fault.
    Broken = 4,
    /// `call`, `phone --dial`: refused with a status, which is printed.
    Refused = 5,
    /// Nobody answered, or nobody called, in time.
    NoAnswer = 6,
    /// Nothing at that address answers SIP.
    NoReply = 7,
    /// Answered, but nothing was heard, or only silence.
    NothingHeard = 8,
    /// `phone`: the switch refused the registration.
    NotRegistered = 9,
    /// The call was lost, or no common way to speak was found.
    BrokenOff = 10,
}

/// The table as `hulplijn --help` prints it.
pub const HELP: &str = "Exit codes:
  0  all is well
  1  what was asked about is wrong or is not there
  2  the arguments could not be understood
  3  it could not be started or done: a file, port or program that is needed
  4  the switch had to stop by a fault
  5  `call`: the call was refused; the status is printed
  6  `call`: nobody answered in time; `phone`: nobody called in time
  7  `call`, `phone`: nothing at that address answers SIP
  8  `call`, `phone`: answered, but nothing was heard, or only silence
  9  `phone`: the switch refused the registration
  10 `call`, `phone`: the call broke off";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
