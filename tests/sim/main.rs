//! The whole switch in virtual time: scripted callers and phones, a lossy network, faults and crashes.
//! Each `story_*` reads like the specification; `random` draws worlds from seeds.

mod random;
mod story_closed;
mod story_conference;
mod story_consult;
mod story_events;
mod story_first_call;
mod story_handover;
mod story_keys;
mod story_lines;
mod story_message;
mod story_names;
mod story_races;
mod story_together;
