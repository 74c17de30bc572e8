"""Codecs of FFmpeg, so that the switch meets another's. `encode CODEC SAID.wav` writes a packet of 20 ms a line, as
hexadecimal. `decode` reads streams of such lines, an empty one for a packet that never came, each between a line with codec
and WAV and one with a dot. WAVs are mono, 16 bit, 8 kHz; between them and the codec's own rate it is resampled."""

import sys
import wave

import av
import numpy

# Name in FFmpeg, sample rate of the encoder, options.
CODECS = {
    "g722": ("g722", 16000, {}),
    "opus": ("libopus", 48000, {"application": "voip", "frame_duration": "20", "b": "24000"}),
}
WAV_RATE = 8000


def frame_of(samples, rate):
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1).astype("<i2"), format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


def resample(samples, rate, other):
    resampler = av.AudioResampler(format="s16", layout="mono", rate=other)
    frames = resampler.resample(frame_of(samples, rate)) + resampler.resample(None)
    return numpy.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def context(codec, mode):
    name, rate, options = CODECS[codec]
    made = av.CodecContext.create(name, mode)
    made.sample_rate, made.layout = rate, "mono"
    if mode == "w":
        made.format, made.options = "s16", options
    return made, rate


def encode(codec, path):
    with wave.open(path) as wav:
        said = numpy.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
    encoder, rate = context(codec, "w")
    samples, step = resample(said, WAV_RATE, rate), rate // 50
    for begin in range(0, len(samples) - step + 1, step):
        frame = frame_of(samples[begin : begin + step], rate)
        frame.pts = begin
        for packet in encoder.encode(frame):
            print(bytes(packet).hex())


def decode():
    lines = (line.strip() for line in sys.stdin)
    for head in lines:
        codec, path = head.split(" ", 1)
        write(path, decoded(codec, iter(lines.__next__, ".")))


def decoded(codec, lines):
    decoder, rate = context(codec, "r")
    pieces = []
    for line in lines:
        frames = decoder.decode(av.Packet(bytes.fromhex(line))) if line else []
        pieces += [frame.to_ndarray().reshape(-1) for frame in frames] or [numpy.zeros(rate // 50, dtype="<i2")]
    return resample(numpy.concatenate(pieces), rate, WAV_RATE) if pieces else numpy.zeros(0)


def write(path, samples):
    with wave.open(path, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(WAV_RATE)
        wav.writeframes(samples.astype("<i2").tobytes())


{"encode": encode, "decode": decode}[sys.argv[1]](*sys.argv[2:])
