"""The layers of the two published pairs of networks that judge lips and voice, by their published names.

SyncNet is that of syncnet_python (Chung and Zisserman 2016; its weights are published as `syncnet_v2.model`); the expert is
Wav2Lip's (Prajwal et al. 2020, section 3.2; `lipsync_expert.pth`). What they are shown is in `forgeline.syncnet`. Vectors of
a window of lips and of a window of sound lie near each other where the two belong together.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgeline.errors import ModelError


class _Step(nn.Module):
    """A convolution of the expert; a residual one adds what came in."""

    def __init__(
        self, inside: int, outside: int, kernel: int, stride: int | tuple[int, int] = 1, padding: int = 1, same: bool = False
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inside, outside, kernel, stride, padding), nn.BatchNorm2d(outside))
        self.same = same

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_block(x)
        return functional.relu(out + x if self.same else out)


def _stage(inside: int, outside: int, stride: int | tuple[int, int], repeats: int, kernel: int = 3) -> list[_Step]:
    return [_Step(inside, outside, kernel, stride), *(_Step(outside, outside, 3, same=True) for _ in range(repeats))]


FACE: Final = {0: 32, 1: 64, 4: 128, 8: 256, 11: 512, 14: 512, 15: 512}
"""The published expert's channels from a layer of what sees on, and of what hears."""
SOUND: Final = {0: 32, 3: 64, 6: 128, 9: 256, 12: 512}


class Expert(nn.Module):
    """Wav2Lip's `SyncNet_color`: mels (n, 1, 80, 16) and lower halves (n, 15, 48, 96) as vectors (n, 512) of length 1.

    Behind rectifiers no number is negative, so that the cosine of two vectors is a likeness from 0 to 1 (equation 1). One that
    was trained here may have fewer channels, and vectors as much shorter.
    """

    def __init__(self, face: Sequence[int] = tuple(FACE.values()), sound: Sequence[int] = tuple(SOUND.values())) -> None:
        super().__init__()
        a, b, c, d, e, f, top = face
        self.face_encoder = nn.Sequential(
            _Step(15, a, 7, padding=3),
            *_stage(a, b, (1, 2), 2, kernel=5),
            *_stage(b, c, 2, 3),
            *_stage(c, d, 2, 2),
            *_stage(d, e, 2, 2),
            _Step(e, f, 3, 2),
            _Step(f, top, 3, padding=0),
            _Step(top, top, 1, padding=0),
        )
        a, b, c, d, top = sound
        self.audio_encoder = nn.Sequential(
            *_stage(1, a, 1, 2),
            *_stage(a, b, (3, 1), 2),
            *_stage(b, c, 3, 2),
            *_stage(c, d, (3, 2), 2),
            _Step(d, top, 3, padding=0),
            _Step(top, top, 1, padding=0),
        )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """As wide as these weights are. Raises KeyError where they are another net's."""
        face, sound = (
            [len(tensors[f"{part}.{layer}.conv_block.0.weight"]) for layer in layers]
            for part, layers in (("face_encoder", FACE), ("audio_encoder", SOUND))
        )
        return cls(face, sound)

    def of_faces(self, faces: Tensor) -> Tensor:
        return functional.normalize(self.face_encoder(faces).flatten(1).float())

    def of_sounds(self, mels: Tensor) -> Tensor:
        return functional.normalize(self.audio_encoder(mels).flatten(1).float())

    def forward(self, mels: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        """The sounds' vectors and the faces', in Wav2Lip's order."""
        return self.of_sounds(mels), self.of_faces(faces)


def _flat(inside: int, outside: int, kernel: tuple[int, int], padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, kernel, padding=padding), nn.BatchNorm2d(outside), nn.ReLU()]


def _deep(
    inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1), padding: int = 1
) -> list[nn.Module]:
    conv = nn.Conv3d(inside, outside, kernel, stride, (0, padding, padding))
    return [conv, nn.BatchNorm3d(outside), nn.ReLU()]


def _ending() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """syncnet_python's `S`: cepstra (n, 1, 13, 20) and faces (n, 3, 5, 224, 224) as vectors (n, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, (3, 3)),
            nn.MaxPool2d((1, 1), (1, 1)),  # changes nothing, but takes a number among the layers
            *_flat(64, 192, (3, 3)),
            nn.MaxPool2d((3, 3), (1, 2)),
            *_flat(192, 384, (3, 3)),
            *_flat(384, 256, (3, 3)),
            *_flat(256, 256, (3, 3)),
            nn.MaxPool2d((3, 3), (2, 2)),
            *_flat(256, 512, (5, 4), padding=0),
        )
        self.netfcaud = _ending()
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (5, 7, 7), (1, 2, 2), padding=0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(96, 256, (1, 5, 5), (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(256, 256, (1, 3, 3)),
            *_deep(256, 256, (1, 3, 3)),
            *_deep(256, 256, (1, 3, 3)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(256, 512, (1, 6, 6), padding=0),
        )
        self.netfclip = _ending()

    def of_faces(self, faces: Tensor) -> Tensor:
        found: Tensor = self.netfclip(self.netcnnlip(faces).flatten(1))
        return found

    def of_sounds(self, cepstra: Tensor) -> Tensor:
        found: Tensor = self.netfcaud(self.netcnnaud(cepstra).flatten(1))
        return found


def open_expert(path: Path | None) -> Expert:
    """See `forgeline.syncnet.expert`."""
    return _ready(Expert()) if path is None else _opened(path, "lipsync_expert.pth", Expert.of)


def open_syncnet(path: Path | None) -> SyncNet:
    """See `forgeline.syncnet.syncnet`."""
    return _ready(SyncNet()) if path is None else _opened(path, "syncnet_v2.model", lambda _: SyncNet())


Net = TypeVar("Net", Expert, SyncNet)


def _ready(net: Net) -> Net:
    return net.eval().requires_grad_(False)


def _opened(path: Path, kind: str, net_of: Callable[[Mapping[str, Tensor]], Net]) -> Net:
    todo = f"give the published {kind}, or a .safetensors file of the same tensors"
    try:
        tensors = _tensors(path)
        net = net_of(tensors)
        net.load_state_dict(tensors)
    except FileNotFoundError as error:
        raise ModelError(path, "is not there", todo) from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        said = " ".join(str(error).split())[:300]
        raise ModelError(path, f"is no {kind} ({said})", todo) from error
    return _ready(net)


def _tensors(path: Path) -> Mapping[str, Tensor]:
    """What is in a file: .safetensors, or a published pickle, which is read without running what it may hold.

    A `state_dict` among other things (optimisers) is taken out, and what training puts before all names is dropped: `module.`
    if it was done in parallel, `expert/` if it was done here.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(path)
        except SafetensorError as error:
            raise ValueError(error) from error
    else:
        found = torch.load(path, map_location="cpu", weights_only=True)
    # A plain dict: without it, tensors that older versions did not count would be missed.
    tensors = dict(found.get("state_dict", found))
    return {name.removeprefix("module.").removeprefix("expert/"): value for name, value in tensors.items()}
