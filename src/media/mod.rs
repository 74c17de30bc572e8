//! Media: RTP, codecs, DTMF, prompts, recording; one leg's sans-IO engine in `leg`, and the only
//! threads and sockets of the room in `plane`. Knows no SIP and no SDP.
pub mod audio;
pub mod codec;
pub mod command;
mod courier;
pub mod dtmf;
pub mod guard;
pub mod inlet;
pub mod keying;
pub mod leg;
pub mod lock;
pub mod mixer;
pub mod payloads;
pub mod plane;
mod plane_rooms;
mod plane_thread;
pub mod player;
pub mod ports;
pub mod prompt_bank;
pub mod rate;
pub mod record;
pub mod rtcp;
pub mod rtp;
pub mod seam;
pub mod srtp;
pub mod writer;
