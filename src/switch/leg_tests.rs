//! From the words of `sdp` to those of media.

use super::*;
use crate::base::secret::Secret;

fn agreed() -> Agreed {
    let somewhere: SocketAddr = ([192, 0, 2, 1], 4000).into();
    Agreed {
        remote: somewhere,
        remote_rtcp: somewhere,
        signalling: somewhere.ip(),
        send_codec: Codec::Pcma,
        formats: vec![Mapped { format: Format::Audio(Codec::Pcma), receive: 8, send: 8 }],
        rtcp_mux: false,
        way: Way::SendRecv,
        keys: None,
        web: None,
    }
}

fn secret(length: usize) -> Secret {
    Secret::of(vec![7; length])
}

#[test]
fn keys_that_media_has_no_words_for_are_a_refusal_and_never_a_stream_in_the_clear() {
    assert!(stream(&agreed()).is_ok_and(|stream| stream.keying.is_none() && stream.web.is_none()));
    let suite = crypto::Suite::AesCm128Sha1_80;
    for (ours, theirs, fits) in [(30, 30, true), (29, 30, false), (30, 31, false), (0, 0, false)] {
        let keys = Keys { suite, ours: secret(ours), theirs: secret(theirs) };
        let stream = stream(&Agreed { keys: Some(keys), ..agreed() });
        assert_eq!(stream.as_ref().is_ok_and(|stream| stream.keying.is_some()), fits);
        assert_eq!(stream.err(), (!fits).then_some(SdpError::Security));
    }
    for (length, fits) in [(32, true), (31, false), (48, false), (0, false)] {
        let web = AgreedWeb {
            ours: "us".into(),
            password: secret(24),
            theirs: "peer".into(),
            we_are_client: false,
            hash: webrtc::Hash::Sha256,
            fingerprint: vec![7; length],
        };
        let stream = stream(&Agreed { web: Some(web), ..agreed() });
        assert_eq!(stream.as_ref().is_ok_and(|stream| stream.web.is_some()), fits);
        assert_eq!(stream.err(), (!fits).then_some(SdpError::Security));
    }
}
