"""What judges of lips and voice hear and see, whose weights they take, and what is made of their answers."""

import io
import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from forgeline import syncnet
from forgeline.clip import Clip, Sound, Track
from forgeline.errors import ModelError
from forgeline.syncnet import (
    SHIFTS,
    SPAN,
    SPAN_SHIFTS,
    at_25,
    by_lips,
    by_vectors,
    every_40_ms,
    expert,
    expert_boxes,
    expert_window,
    face_boxes,
    face_crop,
    lips_apart,
    loudness,
    mel,
    mel_window,
    mfcc,
    offset,
    span_offsets,
    syncnet_boxes,
    syncnet_window,
)
from generators import lip_net
from generators.lip_sync_net import lower_boxes
from tests.people import pose


def noise(n: int, rate: int = 16000, seed: int = 0) -> Sound:
    swell = 0.1 * np.sin(np.arange(n) / rate * 9) ** 2
    return Sound((np.random.default_rng(seed).normal(0, 1, n) * swell).astype(np.float32), rate)


# --- What they hear


@pytest.mark.parametrize("n", [48000, 48123, 1000, 801])
def test_mels_are_those_of_wav2lip(n: int) -> None:
    """Its recipe, with librosa: hparams and audio.py of the authors; librosa 0.7 mirrored the ends."""
    import librosa
    from scipy.signal import lfilter

    sound = noise(n)
    sharp = lfilter([1, -0.97], [1], sound.samples)
    spectrum = np.abs(librosa.stft(y=sharp, n_fft=800, hop_length=200, win_length=800, pad_mode="reflect"))
    basis = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    level = 20 * np.log10(np.maximum(1e-5, basis @ spectrum)) - 20
    wanted = np.clip(8 * (level + 100) / 100 - 4, -4, 4)
    heard = mel(sound)
    assert heard.dtype == np.float32
    assert heard.shape == (80, 1 + n // 200)
    assert np.abs(heard - wanted).max() < 1e-4
    assert np.ptp(wanted) > 1


def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(50000)
    whole = mel(sound), mfcc(sound)
    monkeypatch.setattr(syncnet, "_BLOCK", 17)
    np.testing.assert_allclose(mel(sound), whole[0], atol=1e-5)
    np.testing.assert_allclose(mfcc(sound), whole[1], atol=1e-4)


def test_other_rates_are_heard_at_16_khz() -> None:
    seconds = np.arange(44100) / 44100
    tone = Sound((0.2 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32), 44100)
    same = Sound((0.2 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.float32), 16000)
    for hear in (mel, mfcc):
        assert hear(tone).shape == hear(same).shape
    assert mel(tone)[:, 40].argmax() == mel(same)[:, 40].argmax()
    assert mel(Sound(np.zeros(0, np.float32), 16000)).shape == (80, 0)
    assert mfcc(Sound(np.zeros(0, np.float32), 16000)).shape == (13, 0)
    assert (mel(Sound(np.zeros(900, np.float32), 16000)) == -4).all()
    assert np.isfinite(mfcc(Sound(np.zeros(900, np.float32), 16000))).all()


def test_memory_does_not_grow_with_the_sound() -> None:
    sound = noise(5 * 60 * 16000)
    mel(noise(900)), mfcc(noise(900))
    for hear in (mel, mfcc):
        tracemalloc.start()
        hear(sound)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 230 << 20  # unblocked: 400 MB and more


def test_a_window_begins_with_its_frame() -> None:
    heard = np.arange(241, dtype=np.float32)[None] + np.zeros((80, 1), np.float32)
    for frame in range(68):
        window = mel_window(heard, frame, 25)
        assert window.shape == (80, 16)
        assert window[0, 0] == int(80.0 * (frame / 25.0))
    assert mel_window(heard, 30, Fraction(30000, 1001))[0, 0] == 80
    assert mel_window(heard, 500, 25)[0, -1] == 240  # the last that is there
    assert mel_window(heard, -5, 25)[0, 0] == 0
    short = mel_window(heard[:, :5], 0, 25)
    assert short.shape == (80, 16)
    assert (short[:, 5:] == -4).all()


def test_cepstra_are_those_of_python_speech_features() -> None:
    """The numbers are what its version 0.6 says of this sound."""
    t = np.arange(8000) / 16000
    x = (0.3 * np.sin(2 * np.pi * (200 * t + 400 * t * t)) * np.hanning(8000)).astype(np.float32)
    heard = mfcc(Sound(x, 16000))
    assert heard.shape == (13, 49)
    np.testing.assert_allclose(
        heard[:3, [0, 25, 48]], [[9.2294, 19.3352, 9.8636], [21.7391, 23.7479, 17.4984], [24.0788, 8.4718, -1.4128]], atol=2e-3
    )
    np.testing.assert_allclose(heard[12, [0, 25, 48]], [-9.6024, 12.7486, -10.7455], atol=2e-3)


def test_loudness_is_that_of_the_moment() -> None:
    samples = noise(48000).samples * 0 + np.random.default_rng(0).normal(0, 1, 48000).astype(np.float32) * 0.001
    samples[16000:17600] *= 100  # 1 to 1.1 s: frames 25 and 26, and half of 27
    loud = loudness(mel(Sound(samples, 16000)), 75)
    assert set(np.argsort(loud)[-3:]) == {25, 26, 27}
    assert loud.argmax() in (25, 26)


# --- What they see


def talking(openings: NDArray[np.float64], x: float = 88) -> NDArray[np.float32]:
    return np.stack([pose(o, 0, x, 100, 100) for o in openings])


def test_the_place_of_a_face_is_steady() -> None:
    """A jaw that drops for a few frames moves no edge; a head that moves takes its box along; unseen stays unseen."""
    still = np.zeros(40)
    open_for = still.copy()
    open_for[[10, 11, 12, 25, 26]] = 0.2
    meshes = talking(open_for)
    chin = meshes[10:13, [152, 377, 148], 1]
    meshes[10:13, [152, 377, 148], 1] = chin + 20
    np.testing.assert_allclose(face_boxes(meshes), face_boxes(talking(still)), atol=1e-4)
    moved = face_boxes(np.concatenate([talking(np.zeros(20)), talking(np.zeros(20), x=108)]))
    np.testing.assert_allclose(moved[-1] - moved[0], [20, 0, 20, 0], atol=1e-3)
    mesh = meshes[0]
    np.testing.assert_allclose(moved[0], [*mesh[:, :2].min(0), *mesh[:, :2].max(0)], atol=1e-3)
    meshes[5] = np.nan
    boxes = face_boxes(meshes)
    assert np.isnan(boxes[5]).all()
    assert not np.isnan(np.delete(boxes, 5, 0)).any()


def test_syncnet_sees_more_of_a_face() -> None:
    """Half a side is 50: 1.4 of it to either side, 1 above the middle and 1.8 below."""
    squares = syncnet_boxes(np.array([[100.0, 200, 180, 300]]))
    np.testing.assert_allclose(squares, [[140 - 70, 250 - 50, 140 + 70, 250 + 90]])


def test_crops_are_what_lies_in_the_box() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (200, 300, 3), np.uint8)
    np.testing.assert_array_equal(face_crop(picture, np.array([40.0, 30, 136, 126]), 96), picture[30:126, 40:136])
    beyond = face_crop(picture, np.array([-48.0, 10, 48, 106]), 96)
    assert (beyond[:, :47] == 110).all()
    np.testing.assert_array_equal(beyond[:, 48:], picture[10:106, :48])
    large = rng.integers(0, 256, (400, 400, 3), np.uint8)
    quartered = face_crop(large, np.array([8.0, 4, 392, 388]), 96)
    means = large[4:388, 8:392].reshape(96, 4, 96, 4, 3).mean((1, 3))
    assert np.abs(quartered.astype(float) - means).max() <= 1
    steep = np.tile(4 * np.arange(60, dtype=np.uint8)[None, :, None], (120, 1, 3))
    stretched = face_crop(steep, np.array([10.0, 20, 34, 116]), 96)  # 24 by 96: what is between pixels is between them
    assert stretched.shape == (96, 96, 3)
    wanted = 4 * (10 + (np.arange(96) + 0.5) / 4 - 0.5)
    assert np.abs(stretched[50, :, 0] - wanted).max() <= 1


def test_windows_are_as_the_originals_make_them() -> None:
    """Wav2Lip: frames of OpenCV, which are BGR, side by side in channels, the lower half; syncnet_python: BGR, 0 to 255."""
    faces = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    read_by_opencv = [face[..., ::-1] for face in faces]
    wanted = (np.concatenate(read_by_opencv, axis=2) / 255.0).transpose(2, 0, 1)[:, 48:]
    window = expert_window(faces)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, wanted, atol=1e-6)
    large = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)
    stacked = np.stack([face[..., ::-1] for face in large], axis=3)[None].transpose(0, 3, 4, 1, 2)[0]
    np.testing.assert_array_equal(syncnet_window(large), stacked)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(50), Fraction(10), Fraction(30000, 1001)])
def test_any_rate_is_shown_at_25_frames(fps: Fraction) -> None:
    length = int(4 * fps)

    def numbered() -> Any:
        return (np.full((2, 2, 3), number, np.uint8) for number in range(length))

    clip = at_25(Clip("video", 2, 2, fps, length, numbered, lambda: None), 3)
    shown = [int(picture[0, 0, 0]) for picture in clip.pictures()]
    assert clip.fps == 25
    assert clip.frames == len(shown) == 75
    for frame, number in enumerate(shown):
        middle = (frame + 0.5) / 25
        assert number / float(fps) <= middle < (number + 1) / float(fps)
    assert at_25(clip, 60).frames == 75
    assert len(list(every_40_ms(iter([np.zeros((1, 1), np.uint8)]), Fraction(25), 3))) == 3  # one short: the last one stays


def test_lips_are_apart_by_what_the_mesh_shows() -> None:
    apart = lips_apart(talking(np.array([0.0, 0.02, 0.05, 0.1])))
    assert (np.diff(apart) > 0.02).all()
    nearer = talking(np.array([0.05])) * 2
    np.testing.assert_allclose(lips_apart(nearer), apart[2], rtol=1e-4)
    assert np.isnan(lips_apart(np.full((1, 468, 3), np.nan, np.float32))[0])


# --- Whose weights they take

# Names and shapes of the published tensors: a convolution's weights, and its batch norm after it.
SYNCNET_LAYERS: dict[str, Any] = {
    "netcnnaud": {0: (64, 1, 3, 3), 4: (192, 64, 3, 3), 8: (384, 192, 3, 3), 11: (256, 384, 3, 3), 14: (256, 256, 3, 3)}
    | {18: (512, 256, 5, 4)},
    "netcnnlip": {0: (96, 3, 5, 7, 7), 4: (256, 96, 1, 5, 5), 8: (256, 256, 1, 3, 3), 11: (256, 256, 1, 3, 3)}
    | {14: (256, 256, 1, 3, 3), 18: (512, 256, 1, 6, 6)},
    "netfcaud": {0: (512, 512)},
    "netfclip": {0: (512, 512)},
}
FACE_LAYERS = [(32, 15, 7), (64, 32, 5), (64, 64, 3), (64, 64, 3), (128, 64, 3), (128, 128, 3), (128, 128, 3), (128, 128, 3)]
FACE_LAYERS += [(256, 128, 3), (256, 256, 3), (256, 256, 3), (512, 256, 3), (512, 512, 3), (512, 512, 3), (512, 512, 3)]
FACE_LAYERS += [(512, 512, 3), (512, 512, 1)]
SOUND_LAYERS = [(32, 1, 3), (32, 32, 3), (32, 32, 3), (64, 32, 3), (64, 64, 3), (64, 64, 3), (128, 64, 3), (128, 128, 3)]
SOUND_LAYERS += [(128, 128, 3), (256, 128, 3), (256, 256, 3), (256, 256, 3), (512, 256, 3), (512, 512, 1)]


def tensors(prefix: str, shape: tuple[int, ...], norm: str, rng: torch.Generator) -> dict[str, torch.Tensor]:
    out = shape[0]
    found = {f"{prefix}.weight": torch.randn(shape, generator=rng) * 0.05, f"{prefix}.bias": torch.randn(out, generator=rng)}
    for name in ("weight", "bias", "running_mean"):
        found[f"{norm}.{name}"] = torch.randn(out, generator=rng)
    return found | {f"{norm}.running_var": torch.rand(out, generator=rng) + 0.5, f"{norm}.num_batches_tracked": torch.tensor(7)}


def published_syncnet() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    for part, convolutions in SYNCNET_LAYERS.items():
        for number, shape in convolutions.items():
            found |= tensors(f"{part}.{number}", shape, f"{part}.{number + 1}", rng)
    for part in ("netfcaud", "netfclip"):
        found |= {f"{part}.3.weight": torch.randn((1024, 512), generator=rng), f"{part}.3.bias": torch.zeros(1024)}
    return found


def published_expert() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    found: dict[str, torch.Tensor] = {}
    for part, layers in (("face_encoder", FACE_LAYERS), ("audio_encoder", SOUND_LAYERS)):
        for number, (out, inside, kernel) in enumerate(layers):
            block = f"{part}.{number}.conv_block"
            found |= tensors(f"{block}.0", (out, inside, kernel, kernel), f"{block}.1", rng)
    return found


def test_the_layers_have_their_published_names() -> None:
    for net, published in ((syncnet.syncnet(), published_syncnet()), (expert(), published_expert())):
        assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == {
            name: tuple(value.shape) for name, value in published.items()
        }
        assert not net.training
        assert not any(value.requires_grad for value in net.parameters())


def test_published_files_are_read(tmp_path: Path) -> None:
    plain, wrapped, bare, safe = (tmp_path / name for name in ("s.model", "e.pth", "old.model", "e.safetensors"))
    weights = published_syncnet()
    torch.save(weights, plain)
    torch.save({name: value for name, value in weights.items() if "num_batches" not in name}, bare)
    experts = published_expert()
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save(
        {"state_dict": {f"module.{n}": v for n, v in experts.items()}, "optimizer": optimizer, "global_step": 9}, wrapped
    )
    save_file(experts, safe)
    for net, wanted in (
        (syncnet.syncnet(plain), weights),
        (syncnet.syncnet(bare), weights),
        (expert(wrapped), experts),
        (expert(safe), experts),
    ):
        found = net.state_dict()
        assert all(torch.equal(found[name], value) for name, value in wanted.items() if "num_batches" not in name)
        assert not net.training


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("code in a pickle ran",)


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, trap, broken, unsafe = (tmp_path / name for name in ("other.pth", "trap.pth", "broken.pth", "x.safetensors"))
    torch.save({"state_dict": published_expert()}, other)
    torch.save({"state_dict": Trap()}, trap)
    broken.write_bytes(b"no model")
    unsafe.write_bytes(b"no model")
    with pytest.raises(ModelError, match="is not there; give the published lipsync_expert"):
        expert(tmp_path / "none.pth")
    with pytest.raises(ModelError, match=r"is no syncnet_v2\.model .*; give the published syncnet_v2\.model"):
        syncnet.syncnet(other)
    for path in (trap, broken, unsafe):
        with pytest.raises(ModelError, match=r"is no lipsync_expert\.pth "):
            expert(path)
    old = io.BytesIO()
    pickle.dump([1, 2], old, protocol=2)
    broken.write_bytes(old.getvalue())
    with pytest.raises(ModelError, match=r"is no lipsync_expert\.pth "):
        expert(broken)
    assert "code in a pickle ran" not in capsys.readouterr().out


def test_an_expert_that_was_trained_here_is_as_wide_as_it_was_made(tmp_path: Path) -> None:
    """And says what it says where it was trained."""
    torch.manual_seed(0)
    trained = lip_net.expert_of(0.3).eval()
    save_file({f"expert/{name}": value for name, value in trained.state_dict().items()}, tmp_path / "expert.safetensors")
    mels, lips = torch.randn(3, 1, 80, 16), torch.rand(3, 15, 48, 96)
    with torch.inference_mode():
        sounds, faces = expert(tmp_path / "expert.safetensors")(mels, lips)
        assert sounds.shape == faces.shape == (3, 154)
        torch.testing.assert_close((sounds, faces), trained(mels, lips))


def test_the_expert_sees_faces_as_it_did_in_training() -> None:
    meshes = talking(np.linspace(0, 0.1, 20))
    track = Track(np.zeros((20, 4)), np.zeros((20, 5, 2)), meshes, np.ones(20), np.ones(20, bool))  # type: ignore[arg-type]
    seen = expert_boxes(face_boxes(meshes))
    np.testing.assert_allclose(seen, lower_boxes(track))
    boxes = np.array([[10.0, 20, 60, 120]])
    np.testing.assert_allclose(expert_boxes(boxes), [[10, 20, 60, 128]])
    np.testing.assert_allclose(boxes, [[10, 20, 60, 120]])


def test_vectors_have_their_sizes() -> None:
    with torch.inference_mode():
        sounds, lips = expert()(torch.randn(2, 1, 80, 16), torch.rand(2, 15, 48, 96))
        assert sounds.shape == lips.shape == (2, 512)
        torch.testing.assert_close(sounds.norm(dim=1), torch.ones(2))
        torch.testing.assert_close(lips.norm(dim=1), torch.ones(2))
        assert (sounds >= 0).all()
        net = syncnet.syncnet()
        assert net.of_sounds(torch.randn(2, 1, 13, 20)).shape == (2, 1024)
        assert net.of_faces(torch.rand(1, 3, 5, 224, 224)).shape == (1, 1024)


def test_the_experts_residual_steps_add_what_came_in() -> None:
    first, step = (expert().get_submodule(f"face_encoder.{number}") for number in (1, 2))
    x = torch.randn(1, 64, 6, 6)
    torch.testing.assert_close(step(x), torch.relu(step.get_submodule("conv_block")(x) + x))
    x = torch.randn(1, 32, 48, 96)
    assert first(x).shape == (1, 64, 46, 47)


# --- What is made of their answers


def test_distance_confidence_and_offset_by_hand() -> None:
    distances = np.full(2 * SHIFTS + 1, 10.0)
    distances[:5] = 12
    distances[SHIFTS + 3] = 6.5  # the sound 3 frames later is nearest: it comes too late
    found = offset(distances)
    assert (found.distance, found.confidence, found.offset) == (6.5, 3.5, -3)


@pytest.mark.parametrize("late", [-7, -1, 0, 4])
def test_a_shift_of_the_sound_is_found(late: int) -> None:
    rng = np.random.default_rng(0)
    said = rng.normal(size=(90, 8))
    lips = said[10:80] + 0.3 * rng.normal(size=(70, 8))
    apart = by_vectors(lips, said[10 - late : 80 - late])
    found = offset(apart(0, 70))
    assert found.offset == -late
    assert found.confidence > 1
    assert (span_offsets(apart, 70) == -late).all()
    loud = rng.normal(size=90)
    opened = loud[10:80] + 0.3 * rng.normal(size=70)
    apart = by_lips(opened, loud[10 - late : 80 - late])
    assert offset(apart(0, 70)).offset == -late
    assert (span_offsets(apart, 70) == -late).all()


def test_distances_are_those_of_syncnet_python() -> None:
    """Its way: for each frame, the distances to the sounds around, with zeros beyond the ends; means over the frames."""
    rng = torch.Generator().manual_seed(0)
    lips, sounds = torch.randn(40, 12, generator=rng), torch.randn(40, 12, generator=rng)
    padded = torch.nn.functional.pad(sounds, (0, 0, SHIFTS, SHIFTS))
    rows = [
        torch.nn.functional.pairwise_distance(lips[[i]].repeat(2 * SHIFTS + 1, 1), padded[i : i + 2 * SHIFTS + 1])
        for i in range(40)
    ]
    wanted = torch.stack(rows, 1).mean(1)
    np.testing.assert_allclose(by_vectors(lips.numpy(), sounds.numpy())(0, 40), wanted, rtol=1e-5)
    found = offset(wanted.numpy())
    assert found.offset == SHIFTS - int(wanted.argmin())
    # (Its torch.median is the lower of two middle numbers; of an odd number of shifts there is one.)
    assert found.confidence == pytest.approx(float(wanted.median() - wanted.min()))


def test_correlation_is_pearsons_over_what_is_there() -> None:
    rng = np.random.default_rng(0)
    opened, loud = rng.normal(size=60), rng.normal(size=60)
    distances = by_lips(opened, loud)(0, 60)
    for shift in (-15, -2, 0, 9):
        x = opened[max(0, -shift) : 60 - max(0, shift)]
        y = loud[max(0, shift) : 60 - max(0, -shift)]
        assert distances[SHIFTS + shift] == pytest.approx(1 - np.corrcoef(x, y)[0, 1])
    np.testing.assert_allclose(by_lips(3 * opened + 1, loud)(0, 60), distances)


def test_frames_without_a_face_are_left_out() -> None:
    rng = np.random.default_rng(0)
    said = rng.normal(size=(60, 8))
    lips = said.copy()
    lips[5:20] = np.nan
    found = by_vectors(lips, said)(0, 60)
    assert found[SHIFTS] == 0
    lips[20:40] = np.nan  # 35 of 60
    assert np.isnan(by_vectors(lips, said)(0, 60)).all()
    loud = rng.normal(size=60)
    opened = loud.copy()
    opened[5:20] = np.nan
    assert by_lips(opened, loud)(0, 60)[SHIFTS] == pytest.approx(0)
    opened[20:45] = np.nan
    assert np.isnan(by_lips(opened, loud)(0, 60)).any()
    assert np.isnan(by_lips(0.01 * np.sin(loud), loud)(0, 60)).all()  # lips at rest
    assert np.isnan(by_lips(loud, 0.2 * np.sin(loud))(0, 60)).all()  # a hum


def test_spans_have_offsets_of_their_own() -> None:
    """In time at first, then the sound 4 frames late."""
    rng = np.random.default_rng(0)
    said = rng.normal(size=(210, 8))
    heard = said.copy()
    heard[100:] = said[96:206]
    found = span_offsets(by_vectors(said[:200], heard[:200]), 200)
    starts = range(SPAN_SHIFTS, 200 - SPAN - SPAN_SHIFTS + 1, 5)
    assert len(found) == len(starts)
    by_start = dict(zip(starts, found.tolist(), strict=True))
    assert all(by_start[start] == 0 for start in starts if start + SPAN <= 96)
    assert all(by_start[start] == -4 for start in starts if start >= 96)
    assert len(span_offsets(by_vectors(said[:54], heard[:54]), 54)) == 0
    assert len(span_offsets(by_vectors(said[:55], heard[:55]), 55)) == 1
