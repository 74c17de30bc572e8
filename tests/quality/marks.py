"""Marks speech by PESQ (ITU-T P.862). Each line of the input names two WAVs, what was said and what was heard, parted by
a tab; each line of the output is the mark (MOS-LQO), the level of the heard against the said in dB, and where it begins
in ms. WAVs are mono, 16 bit; 8 kHz is marked as narrow band, 16 kHz as wide band."""

import sys
import wave

import numpy
from pesq import pesq

FRAME_MS = 20


def read(path):
    with wave.open(path) as wav:
        assert (wav.getnchannels(), wav.getsampwidth()) == (1, 2), f"{path}: mono, 16 bit"
        samples = numpy.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
        return samples.astype(float), wav.getframerate()


def cut_out(said, heard):
    """The stretch of what was heard that is most like what was said."""
    room = 1 << (len(said) + len(heard)).bit_length()
    likeness = numpy.fft.irfft(numpy.fft.rfft(heard, room) * numpy.conj(numpy.fft.rfft(said, room)), room)
    begin = int(numpy.argmax(likeness))
    if begin >= len(heard):
        begin -= room
    padded = numpy.concatenate([numpy.zeros(max(0, -begin)), heard[max(0, begin):], numpy.zeros(len(said))])
    return padded[: len(said)], begin


def level(said, heard, rate):
    """The heard against the said where the said is speech: within 25 dB of its loudest frame."""
    step = rate * FRAME_MS // 1000
    count = len(said) // step
    powers = [(x[: count * step].reshape(count, step) ** 2).mean(axis=1) for x in (said, heard)]
    active = powers[0] > powers[0].max() / 10**2.5
    return 10 * numpy.log10((powers[1][active].mean() + 1e-9) / (powers[0][active].mean() + 1e-9))


for line in sys.stdin:
    (said, rate), (heard, other) = (read(path) for path in line.rstrip("\n").split("\t"))
    assert rate == other, f"{line}: two sample rates"
    heard, begin = cut_out(said, heard)
    if not heard.any():
        print("0.00 -99.00 0", flush=True)
        continue
    mark = pesq(rate, said, heard, "nb" if rate == 8000 else "wb")
    print(f"{mark:.2f} {level(said, heard, rate):.2f} {begin * 1000 // rate}", flush=True)
