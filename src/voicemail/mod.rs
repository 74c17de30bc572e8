//! A message's life; pure.
