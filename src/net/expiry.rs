//! When a certificate runs out.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage};

/// The end of 9999, the last that a certificate can name (RFC 5280 4.1.2.5).
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The first moment at which one of a chain is no longer good. `None`: there is none, or it can't be read.
pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<UnixTime> {
    let ends = |certificate: &CertificateDer<'_>| {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        // The library has no question after the date alone, but tells it of a certificate that has run out; it looks
        // there before anything else.
        let late = UnixTime::since_unix_epoch(LAST);
        let usage = KeyUsage::server_auth();
        match certificate.verify_for_usage(ALL_VERIFICATION_ALGS, &[], &[], late, usage, None, None) {
            Err(Error::CertExpired { not_after, .. }) => Some(not_after),
            Ok(_) | Err(_) => None,
        }
    };
    chain.iter().filter_map(ends).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_chain_to_run_out_counts() {
        let made = |year| {
            let mut params =
                rcgen::CertificateParams::new(vec!["sip.example".to_owned()]).expect("parameters");
            params.not_after = rcgen::date_time_ymd(year, 2, 1);
            let key = rcgen::KeyPair::generate().expect("a key");
            params.self_signed(&key).expect("a certificate").der().clone()
        };
        // 2031-02-01T00:00:00Z.
        let expected = UnixTime::since_unix_epoch(Duration::from_secs(1_927_670_400));
        assert_eq!(of(&[made(2040), made(2031), made(2050)]), Some(expected));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[CertificateDer::from(vec![1, 2, 3])]), None);
    }
}
