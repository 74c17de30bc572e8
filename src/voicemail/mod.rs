//! A message's life; pure. `mailbox` decides, `store` and `media` do.
pub mod mailbox;
