//! How a call sounded, as a number: the E-model of ITU-T G.107 with what can be measured on one leg, which is loss,
//! delay and codec. All else has its default value, so that R is 93.2 at best (G.107 7.7) and 94 dB of it echo-free.

use std::time::Duration;

use super::command::{Codec, LegStats};

/// R with every default and neither delay nor loss (G.107 table 2: Ro - Is at the defaults).
const BEST: f64 = 93.2;
/// What packets wait in any telephone, besides twice the jitter: frames on their way in and out.
const FRAMES: Duration = Duration::from_millis(40);
/// Without a round trip time from RTCP, this much is taken for granted one way.
const UNKNOWN: Duration = Duration::from_millis(30);
/// A leg that heard less than a second is not judged.
const LEAST_PACKETS: u64 = 50;

/// What of a codec the model knows: impairment without loss, and how well it stands random loss (G.113 appendix I;
/// for Opus, after its comparison with G.711 at the same loss).
fn impairment(codec: Codec) -> (f64, f64) {
    match codec {
        // Played by phones that conceal what is missing (G.711 appendix I).
        Codec::Pcma | Codec::Pcmu | Codec::Opus => (0.0, 25.1),
        Codec::G722 => (0.0, 15.0),
    }
}

/// The mean opinion score of what a leg heard, 1 to 4.5 in hundredths; `None` when it heard too little.
pub fn mos(codec: Codec, stats: &LegStats) -> Option<u16> {
    if stats.received < LEAST_PACKETS {
        return None;
    }
    let expected = (stats.received + stats.lost) as f64;
    let loss = stats.lost as f64 / expected * 100.0;
    // A phone's jitter buffer is about twice the jitter, in units of 125 µs.
    let jitter = Duration::from_micros(u64::from(stats.jitter) * 125 * 2);
    let network = stats.round_trip.map_or(UNKNOWN, |round| round / 2);
    let r = rating(codec, loss, network + jitter + FRAMES);
    Some((score(r) * 100.0).round() as u16)
}

/// R by loss in percent and mouth-to-ear delay.
fn rating(codec: Codec, loss: f64, delay: Duration) -> f64 {
    let (equipment, robustness) = impairment(codec);
    // G.107 (7-29) with random loss: BurstR is 1.
    let lossy = equipment + (95.0 - equipment) * loss / (loss + robustness);
    BEST - delay_impairment(delay.as_secs_f64() * 1000.0) - lossy
}

/// Idd of G.107 (7-27), (7-28): nothing up to 100 ms.
fn delay_impairment(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let part = |x: f64, power: f64| (1.0 + x.powf(power)).powf(1.0 / power);
    25.0 * (part(x, 6.0) - 3.0 * part(x / 3.0, 6.0) + 2.0)
}

/// G.107 annex B.
fn score(r: f64) -> f64 {
    let r = r.clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    mos.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(received: u64, lost: u64, jitter: u32, round_trip: Option<u64>) -> LegStats {
        let round_trip = round_trip.map(Duration::from_millis);
        LegStats { received, lost, jitter, round_trip, ..LegStats::default() }
    }

    #[test]
    fn g107_annex_b_scores_of_known_ratings() {
        for (r, mos) in
            [(93.2, 4.41), (90.0, 4.34), (80.0, 4.024), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0)]
        {
            assert!((score(r) - mos).abs() < 0.006, "{r}: {}", score(r));
        }
        assert!((score(-20.0) - 1.0).abs() < 1e-9 && (score(200.0) - 4.5).abs() < 1e-9);
    }

    #[test]
    fn g107_delay_costs_nothing_up_to_100_ms_and_more_and_more_beyond() {
        assert!(delay_impairment(100.0) < 1e-9);
        let costs: Vec<f64> = [150.0, 200.0, 300.0, 400.0, 600.0].map(delay_impairment).into();
        assert!(costs.is_sorted() && costs[0] < 0.5, "{costs:?}");
        // G.107's own curve: about 3 at 200 ms, 15 at 300 ms, 24 at 400 ms.
        assert!(
            (costs[1] - 3.0).abs() < 0.6 && (costs[2] - 14.9).abs() < 1.5 && (costs[3] - 24.0).abs() < 1.5,
            "{costs:?}"
        );
    }

    #[test]
    fn a_good_call_a_lossy_one_and_a_far_one() {
        let of = |stats| mos(Codec::Pcma, &stats);
        assert_eq!(of(heard(10_000, 0, 8, Some(20))), Some(441));
        let lossy = of(heard(9500, 500, 8, Some(20))).expect("a score");
        assert!((388..=396).contains(&lossy), "5 % lost: {lossy}");
        let worse = of(heard(8000, 2000, 8, Some(20))).expect("a score");
        assert!((258..=268).contains(&worse), "20 % lost: {worse}");
        let far = of(heard(10_000, 0, 8, Some(700))).expect("a score");
        assert!((350..=365).contains(&far), "a satellite: {far}");
        assert!(of(heard(10_000, 0, 800, None)).expect("a score") < 430, "100 ms of jitter");
        assert_eq!(of(heard(20, 0, 8, None)), None, "too little to judge");
    }
}
