//! Session descriptions (RFC 4566) and offer/answer (RFC 3264); knows no SIP.
pub mod crypto;
pub mod format;
pub mod offer_answer;
pub mod session;
pub mod webrtc;
