//! Keys as tones within the sound (ITU-T Q.23), for trunks that know no telephone-event: found by Goertzel's
//! algorithm within the limits of Q.24, and made. A voice or music must never be taken for a key, so two pure
//! tones have to hold nearly all of the energy, at their frequencies by the advance of their phases, for the
//! whole least time.

use std::f32::consts::{PI, TAU};

use crate::base::quiet::quiet_debug;

/// Rows and columns of the keypad, in hertz (Q.23).
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

const RATE: f32 = 8000.0;
/// Samples that are looked at together (12.75 ms), and how far apart two looks begin: half of that.
const WINDOW: usize = 102;
const HOP: usize = WINDOW / 2;
/// Looks in a row that make a press: a tone of 40 ms has them wherever it begins, one of 20 ms never (Q.24).
const HITS: u8 = 4;
/// Looks in a row without the key that end it: a gap of 10 ms has fewer, a pause of 40 ms more.
const MISSES: u8 = 5;
/// A press is known at most so many samples after its beginning: for those who mute it.
pub const DELAY: usize = (HITS as usize + 2) * HOP + HOP;

/// Power of a tone below which it is none: about -38 dBm0. A sine of amplitude `a` has the power a²/2.
const LEAST_POWER: f32 = 20_000.0;
/// The row may be 8 dB louder than the column, for long lines; the column 4 dB louder than the row. A little more
/// is given for noise.
const ROW_LOUDER: f32 = 14.0;
const COLUMN_LOUDER: f32 = 4.5;
/// Of all energy, the two tones hold at least this. Noise 15 dB below them takes a 30th.
const PURE: f32 = 0.82;
/// The same before it is known how far they are off: a tone at the edge of what is allowed loses a third.
const HARDLY_PURE: f32 = 0.6;
/// A tone's second harmonic holds less than this part of it: a voice has more.
const HARMONIC: f32 = 0.1;
/// So near to the other tone, in hertz, a window can't tell a harmonic.
const HIDDEN: f32 = 200.0;
/// A tone may be off by 1.5 % and 2 Hz (Q.24), and a little for noise; at 3.5 % it is none.
const OFF: f32 = 0.018;
const OFF_HERTZ: f32 = 3.0;
/// From one look to the next, noise and the other tone may turn the phase by this much more.
const LOOSE: f32 = 2.5;

/// A packet that is later by more than this (one second) has a new clock.
const MOST_LATE: i32 = 8000;

/// What a look at the sound changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A key went down.
    Pressed(char),
    /// It is up again.
    Released,
}

/// Listens to one stream of 8 kHz. Its state is a few hundred bytes, whatever comes.
#[derive(Clone)]
pub struct Detector {
    window: [f32; WINDOW],
    filled: usize,
    /// The tones of the last look, to compare the phases with.
    before: Option<Look>,
    /// Looks in a row with the same key, and by how many hertz its two tones were off in all of them together.
    hits: u8,
    drift: [f32; 2],
    misses: u8,
    pressed: Option<char>,
}

/// A look that found two tones: of a row and of a column.
#[derive(Clone, Copy)]
struct Look {
    key: char,
    frequencies: [f32; 2],
    tones: [Tone; 2],
    energy: f32,
}

/// One frequency of a window.
#[derive(Clone, Copy, Default)]
struct Tone {
    power: f32,
    phase: f32,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            window: [0.0; WINDOW],
            filled: 0,
            before: None,
            hits: 0,
            drift: [0.0; 2],
            misses: 0,
            pressed: None,
        }
    }
}

impl Detector {
    /// Takes the next sample. Each press is told once, however long it is.
    pub fn on_sample(&mut self, sample: i16) -> Option<Change> {
        if let Some(place) = self.window.get_mut(self.filled) {
            *place = f32::from(sample);
        }
        self.filled += 1;
        if self.filled < WINDOW {
            return None;
        }
        let look = self.look();
        self.window.copy_within(HOP.., 0);
        self.filled = WINDOW - HOP;
        self.judge(look)
    }

    /// Sound is missing here. What was down stays down; what had begun begins anew.
    pub fn skip(&mut self) {
        (self.filled, self.before, self.hits) = (0, None, 0);
    }

    /// The key that is down.
    pub fn pressed(&self) -> Option<char> {
        self.pressed
    }

    fn judge(&mut self, look: Option<Look>) -> Option<Change> {
        self.count(look);
        let key = look.map(|l| l.key);
        if key.is_some() && key == self.pressed {
            self.misses = 0;
            return None;
        }
        if let Some(look) = look.filter(|look| self.hits >= HITS && self.is_on_key(look)) {
            (self.pressed, self.misses) = (Some(look.key), 0);
            return Some(Change::Pressed(look.key));
        }
        self.pressed?;
        self.misses += 1;
        if self.misses < MISSES {
            return None;
        }
        (self.pressed, self.misses) = (None, 0);
        Some(Change::Released)
    }

    /// How often the same two pure tones were there in a row.
    fn count(&mut self, look: Option<Look>) {
        let steady = self.before.zip(look).and_then(|(before, look)| look.drift_since(&before));
        self.before = look;
        (self.hits, self.drift) = match (look, steady) {
            (None, _) => (0, [0.0; 2]),
            (Some(_), None) => (1, [0.0; 2]),
            (Some(_), Some(drift)) => {
                (self.hits.saturating_add(1), [self.drift[0] + drift[0], self.drift[1] + drift[1]])
            }
        };
    }

    /// Both tones are where they should be, in the mean of all looks.
    fn is_on_key(&self, look: &Look) -> bool {
        let advances = f32::from(self.hits.saturating_sub(1).max(1));
        let mean = self.drift.map(|drift| drift / advances);
        mean.iter().zip(look.frequencies).all(|(off, frequency)| off.abs() <= allowed(frequency))
    }

    /// The two tones of a window that looks like a key.
    fn look(&self) -> Option<Look> {
        let energy = self.window.iter().map(|s| s * s).sum::<f32>() / WINDOW as f32;
        // Most windows are too soft, and cost no more than this.
        if energy < 2.0 * LEAST_POWER {
            return None;
        }
        let (row, low) = self.strongest(&ROWS)?;
        let (column, high) = self.strongest(&COLUMNS)?;
        let fits = low.power <= high.power * ROW_LOUDER && high.power <= low.power * COLUMN_LOUDER;
        if !fits || low.power.min(high.power) < LEAST_POWER || low.power + high.power < energy * HARDLY_PURE {
            return None;
        }
        let (frequencies, tones) = ([*ROWS.get(row)?, *COLUMNS.get(column)?], [low, high]);
        if frequencies.into_iter().zip(tones).any(|(f, tone)| self.has_harmonic(f, tone, frequencies[1])) {
            return None;
        }
        Some(Look { key: *KEYS.get(row)?.get(column)?, frequencies, tones, energy })
    }

    /// A row's second harmonic may lie beside the column, which hides it: there, purity alone must do.
    fn has_harmonic(&self, frequency: f32, tone: Tone, column: f32) -> bool {
        let harmonic = 2.0 * frequency;
        (harmonic - column).abs() > HIDDEN && self.tone(harmonic).power > tone.power * HARMONIC
    }

    fn strongest(&self, group: &[f32; 4]) -> Option<(usize, Tone)> {
        let tones = group.map(|frequency| self.tone(frequency));
        tones.into_iter().enumerate().max_by(|(_, a), (_, b)| a.power.total_cmp(&b.power))
    }

    /// Goertzel: the power of a sine at this frequency, and its phase at the window's beginning.
    fn tone(&self, frequency: f32) -> Tone {
        let angle = TAU * frequency / RATE;
        let factor = 2.0 * angle.cos();
        let (mut last, mut before) = (0.0f32, 0.0f32);
        for sample in &self.window {
            let next = sample + factor * last - before;
            (before, last) = (last, next);
        }
        let (real, imaginary) = (last - before * angle.cos(), before * angle.sin());
        let power = 2.0 * (real * real + imaginary * imaginary) / (WINDOW as f32 * WINDOW as f32);
        // Referred to the last sample; the advance from look to look is all that counts.
        Tone { power, phase: imaginary.atan2(real) }
    }
}

/// Listens to the packets of a stream, in the order of their time.
#[derive(Clone, Default)]
pub struct Listener {
    detector: Detector,
    /// Source and timestamp of what is to come next.
    next: Option<(u32, u32)>,
}

impl Listener {
    /// Takes a packet's samples; the key that went down in it. One that comes late is left out.
    pub fn on_packet(
        &mut self,
        source: u32,
        timestamp: u32,
        samples: impl ExactSizeIterator<Item = i16>,
    ) -> Option<char> {
        match self
            .next
            .filter(|(known, _)| *known == source)
            .map(|(_, next)| timestamp.wrapping_sub(next) as i32)
        {
            Some(0) => {}
            Some(distance) if (-MOST_LATE..0).contains(&distance) => return None,
            // Something is missing, or the clock jumped.
            _ => self.detector.skip(),
        }
        self.next = Some((source, timestamp.wrapping_add(samples.len() as u32)));
        let mut down = None;
        for sample in samples {
            if let Some(Change::Pressed(key)) = self.detector.on_sample(sample) {
                down = Some(key);
            }
        }
        down
    }
}

impl Look {
    /// By how many hertz each tone is off, by the advance of its phase; `None` when it is another key, or no key.
    fn drift_since(&self, before: &Self) -> Option<[f32; 2]> {
        if before.key != self.key {
            return None;
        }
        let mut drift = [0.0; 2];
        let mut power = 0.0;
        for (index, off) in drift.iter_mut().enumerate() {
            let (frequency, now) = (*self.frequencies.get(index)?, *self.tones.get(index)?);
            let turn = TAU * HOP as f32 / RATE;
            let advance = now.phase - before.tones.get(index)?.phase - frequency * turn;
            // The nearest way round.
            *off = (advance - TAU * (advance / TAU).round()) / turn;
            if off.abs() > allowed(frequency) * LOOSE {
                return None;
            }
            power += now.power / response(*off);
        }
        (power >= self.energy * PURE).then_some(drift)
    }
}

/// How far off a tone may be, in hertz.
fn allowed(frequency: f32) -> f32 {
    frequency * OFF + OFF_HERTZ
}

/// What of a tone's power a window shows that is so many hertz beside it.
fn response(off: f32) -> f32 {
    let x = (PI * off * WINDOW as f32 / RATE).abs().min(2.2);
    if x < 0.01 { 1.0 } else { (x.sin() / x).powi(2) }
}

/// Level of each tone that we make: -10 dBm0 the row, 2 dB more the column, for which lines are worse.
const ROW_AMPLITUDE: f32 = 7220.0;
const COLUMN_AMPLITUDE: f32 = 9090.0;
/// Samples of the soft edge (2 ms).
const EDGE: u32 = 16;

/// A key that is made as a tone, frame by frame.
#[derive(Clone)]
pub struct ToneWriter {
    steps: [f32; 2],
    phases: [f32; 2],
    made: u32,
    over: bool,
}

impl ToneWriter {
    /// `None` for something that is no key.
    pub fn new(key: char) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        let row = KEYS.iter().position(|row| row.contains(&key))?;
        let column = KEYS.get(row)?.iter().position(|k| *k == key)?;
        let step = |frequency: f32| TAU * frequency / RATE;
        let steps = [step(*ROWS.get(row)?), step(*COLUMNS.get(column)?)];
        Some(Self { steps, phases: [0.0; 2], made: 0, over: false })
    }

    /// It has faded.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next samples. `left`: so many more follow in all, these among them; the last of them fade, and silence
    /// follows.
    pub fn fill(&mut self, out: &mut [i16], left: u32) {
        self.over = left as usize <= out.len();
        // One that ends all of a sudden fades all the same.
        let left = left.max(EDGE);
        for (index, sample) in out.iter_mut().enumerate() {
            let to_go = left.saturating_sub(index as u32);
            let edge = self.made.min(to_go).min(EDGE) as f32 / EDGE as f32;
            let [low, high] = self.phases.map(f32::sin);
            *sample = ((low * ROW_AMPLITUDE + high * COLUMN_AMPLITUDE) * edge) as i16;
            for (phase, step) in self.phases.iter_mut().zip(self.steps) {
                *phase = (*phase + step) % TAU;
            }
            self.made = self.made.saturating_add(1);
        }
    }
}

quiet_debug!(Change => "Change", Detector => "Detector", ToneWriter => "ToneWriter", Listener => "Listener");

#[cfg(test)]
#[path = "inband_tests.rs"]
mod tests;
