//! What a counsellor's phone, or a number such as 106, gets to see of a call: an INVITE written from
//! nothing. The only door of DESIGN 6; there is no function here that takes a header of the caller.

use std::net::SocketAddr;

use super::leg::Target;
use crate::config::raw::Trunk;
use crate::sip::digest::Credentials;
use crate::sip::endpoint::Invite;
use crate::sip::flow::Destination;

/// RFC 3323 4.1.1.3.
const NOBODY: &str = "sip:anonymous@anonymous.invalid";

/// The INVITE for a leg. `shown` is the helpline's name, such as `1712`; from the config.
pub(super) fn write(
    shown: &str,
    target: &Target,
    to: Destination,
    local: SocketAddr,
    sdp: Vec<u8>,
) -> Invite {
    Invite {
        to,
        local,
        request_uri: target.uri.clone(),
        from: format!("\"{}\" <{NOBODY}>", quotable(shown)),
        to_header: target.to_header.clone(),
        contact_user: "anonymous".into(),
        extra: target
            .routes
            .iter()
            .map(|route| ("Route", route.clone()))
            .chain(target.identity.iter().map(|own| ("P-Preferred-Identity", format!("<{own}>"))))
            .chain([("Privacy", "id".into())])
            .collect(),
        sdp: Some(sdp),
        credentials: target.credentials.clone(),
    }
}

/// Account at a trunk.
pub(super) fn credentials(trunk: &Trunk) -> Option<Credentials> {
    Some(Credentials {
        username: trunk.username.as_ref()?.value.clone(),
        password: trunk.password.as_ref()?.value.0.clone(),
        realm: trunk.realm.as_ref().map(|realm| realm.value.clone()),
    })
}

/// A quoted-string can hold this (RFC 3261 25.1); the config may write a name with quotes.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect()
}
