//! The caller's script: steps compiled from the config, and the machine that walks them; pure.
