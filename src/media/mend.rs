//! What a recording lost on the way. A packet that is missing may still come; when its place is no longer open, what it
//! may have said is made up from what stands before it.

use std::collections::VecDeque;
use std::ops::Range;

use super::codec::Rate;
use super::conceal::Concealer;

/// Gaps that are remembered at a time; what more there are stay silent. The open part holds ten packets.
const MAX_GAPS: usize = 64;

/// The gaps of one recording. Places are counted in samples from its beginning.
pub struct Mender {
    concealer: Concealer,
    /// What has not come, in order.
    gaps: VecDeque<Range<u64>>,
}

impl Mender {
    pub fn new() -> Self {
        Self { concealer: Concealer::new(Rate::Narrow), gaps: VecDeque::new() }
    }

    /// These samples have not come; they are behind all others.
    pub fn miss(&mut self, gap: Range<u64>) {
        if self.gaps.len() < MAX_GAPS {
            self.gaps.push_back(gap);
        }
    }

    /// These have come late.
    pub fn found(&mut self, came: Range<u64>) {
        let Some(index) = self.gaps.iter().position(|gap| gap.start < came.end && came.start < gap.end)
        else {
            return;
        };
        let Some(gap) = self.gaps.remove(index) else { return };
        let parts = [gap.start..came.start, came.end..gap.end];
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            self.gaps.insert(index, part);
        }
    }

    /// A piece of the recording is final: what is missing in it is made up, and what follows that is joined to it.
    /// Pieces come in order.
    pub fn mend(&mut self, place: u64, piece: &mut [i16]) {
        let mut done = 0;
        while let Some(rest) = piece.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = place + done as u64;
            while self.gaps.front().is_some_and(|gap| gap.end <= at) {
                self.gaps.pop_front();
            }
            let (missing, until) = match self.gaps.front() {
                Some(gap) if gap.start <= at => (true, gap.end),
                Some(gap) => (false, gap.start),
                None => (false, u64::MAX),
            };
            let count = usize::try_from(until - at).unwrap_or(usize::MAX).min(rest.len());
            let part = rest.get_mut(..count).unwrap_or_default();
            if missing {
                self.concealer.conceal(part);
            } else {
                self.concealer.heard(part);
            }
            done += count;
        }
    }
}

impl Default for Mender {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice of 125 Hz.
    fn voice(count: usize) -> Vec<i16> {
        let sample = |n: usize| (6000.0 * (n as f64 / 64.0 * std::f64::consts::TAU).sin()) as i16;
        (0..count).map(sample).collect()
    }

    /// What becomes of a voice with a gap, by pieces of 160.
    fn mended(mender: &mut Mender, gap: Option<Range<usize>>) -> Vec<i16> {
        let mut samples = voice(3200);
        if let Some(gap) = gap {
            samples[gap].fill(0);
        }
        for (index, piece) in samples.chunks_mut(160).enumerate() {
            mender.mend(index as u64 * 160, piece);
        }
        samples
    }

    #[test]
    fn a_gap_is_made_up_wherever_it_begins_and_the_rest_stays_as_it_was() {
        let mut mender = Mender::new();
        mender.miss(1000..1160);
        let heard = mended(&mut mender, Some(1000..1160));
        let said = voice(3200);
        assert!(heard[..1000] == said[..1000] && heard[1200..] == said[1200..]);
        let off = heard[1000..1200].iter().zip(&said[1000..1200]).map(|(a, b)| (a - b).abs()).max();
        assert!(off < Some(2500), "{off:?}");
    }

    #[test]
    fn what_came_late_is_left_alone_in_whole_or_in_part() {
        let mut mender = Mender::new();
        mender.miss(1000..1480);
        mender.found(1160..1320);
        assert_eq!(mender.gaps, [1000..1160, 1320..1480]);
        mender.found(1320..1480);
        mender.found(900..1200);
        assert!(mender.gaps.is_empty());
        assert!(mended(&mut mender, None) == voice(3200));
    }

    #[test]
    fn a_pause_fades_to_silence_and_gaps_without_end_are_bounded() {
        let mut mender = Mender::new();
        mender.miss(1000..2900);
        assert!(mended(&mut mender, Some(1000..2900))[1600..2900].iter().all(|sample| *sample == 0));
        for n in 0..1000 {
            mender.miss(n * 10..n * 10 + 5);
        }
        assert_eq!(mender.gaps.len(), MAX_GAPS);
    }
}
