//! The caller's script: `program` compiles it from the config and checks every way through it, `machine`
//! walks it, `speak` puts numbers and hours into prompts. No SIP, no clock.
pub mod machine;
mod message;
pub mod program;
pub mod speak;
mod ways;

#[cfg(test)]
pub mod example;
#[cfg(test)]
mod liveness;
