"""How much of what a fake is to say can be heard in it: the character error rate of a speech recognizer that a team brings.

The recognizer errs, too: a set's figure has that of the controls beside it, as far as it is known what they say. Without a
recognizer there is no figure, and nothing that would stand for it.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from evaluators.figure import Figure, Pair, Rows, unmeasured
from evaluators.speech import FINGERPRINT, RATE, OfSpeech, parts
from forgeline.clip import Clip, Sound
from forgeline.errors import ModelError
from forgeline.model_folder import TO_COPY, GivenFolder, given_folder, offline, read_json

NO_RECOGNIZER: Final = "needs a speech recognizer: give character_errors an asr"
NO_WORDS: Final = "it is not known what is said"
PART_S = 20.0
"""What a recognizer's attention needs grows with the square of this."""


class CharacterErrors(OfSpeech):
    """0 (all is heard) upwards: wrong, missing and additional letters by the letters that are said; over a set by all of its.

    Letters, digits and the marks on them count, whatever their case; spaces and punctuation do not, which not every script has.
    """

    asr: GivenFolder | None = None
    """A recognizer of the language that is spoken: a folder of transformers with a Wav2Vec2ForCTC and its processor, as
    `save_pretrained` writes them, for speech at 16 kHz."""

    of_control: ClassVar[tuple[str, ...]] = ("character_error_rate",)

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        if self.asr is None:
            return {"character_error_rate": {}}
        made = {
            "recognizer": f"{self.asr.folder}, the likeliest symbol of every frame, parts of at most {PART_S:.0f} s",
            "weights": self.asr.sha256,
            "text": "NFKC, small letters; letters, marks and digits alone",
        }
        return {"character_error_rate": FINGERPRINT | made}

    def rows(self, pair: Pair) -> Rows:
        if self.asr is None:
            return unmeasured(NO_RECOGNIZER)
        _recognizer(self.asr)  # one that is not there is refused before any speech is
        return super().rows(pair)

    def values(self, pair: Pair, control: Sound, fake: Sound) -> Mapping[str, float | str]:
        found: dict[str, float | str] = {}
        for clip, sound, end in ((pair.fake, fake, ""), (pair.control, control, "_control")):
            rate, letters = self._heard(clip, sound)
            found[f"character_error_rate{end}"] = rate
            found[f"letters{end}"] = letters
        return found

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        kept = [pair for pair in rows if pair]
        found = super().of_set(kept)
        for name, end in (("character_error_rate", ""), ("character_error_rate_control", "_control")):
            if found[name].value is not None:
                measured = [(float(p[name][0]), float(p[f"letters{end}"][0])) for p in kept if p[name].dtype.kind == "f"]
                rates, letters = np.array(measured).T
                found[name] = Figure(float(rates @ letters / letters.sum()), len(rates), found[name].fingerprint)
        return found

    def _heard(self, clip: Clip, sound: Sound) -> tuple[float | str, float]:
        """The rate, or why there is none; and how many letters are said."""
        said = letters_of(" ".join(word.text for word in clip.words))
        if self.asr is None or not said:
            return NO_WORDS, 0.0
        return errors(said, letters_of(_recognizer(self.asr)(sound))) / len(said), float(len(said))


def letters_of(text: str) -> str:
    """What of a text counts."""
    whole = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(sign for sign in whole if unicodedata.category(sign)[0] in "LMN")


def errors(said: str, heard: str) -> int:
    """Least number of letters to replace, leave out or add to make one of the other (Levenshtein 1966)."""
    before = np.arange(len(heard) + 1)
    letters = np.array(list(heard), dtype="U1")
    for row, letter in enumerate(said, start=1):
        now = np.minimum(before[1:] + 1, before[:-1] + (letters != letter))
        now = np.concatenate([[row], now])
        # To add letters one by one is cheapest from where all else is: the running minimum of what is left to add.
        before = np.minimum.accumulate(now - np.arange(len(now))) + np.arange(len(now))
    return int(before[-1])


@lru_cache(maxsize=1)
def _recognizer(given: GivenFolder) -> Callable[[Sound], str]:
    """What writes down speech at `RATE`, opened once a process; on the CPU, as figures must be the same everywhere.

    Raises WeightsError when the folder can't be had or is another one, ModelError when it holds no such recognizer.
    """
    folder = given_folder(given)
    todo = "give a folder with a Wav2Vec2ForCTC and its Wav2Vec2Processor, as `save_pretrained` writes them"
    kinds = read_json(folder / "config.json").get("architectures")
    if kinds != ["Wav2Vec2ForCTC"]:
        raise ModelError(folder, f"holds {kinds}", todo)
    with offline():
        import torch
        import transformers

        library: Any = transformers  # much of which has no types
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
        kept = torch.get_rng_state()
        try:
            processor = library.Wav2Vec2Processor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            net, told = library.Wav2Vec2ForCTC.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # whatever the libraries raise
            raise ModelError(folder, f"can't be opened ({_line(error)})", todo) from error
        finally:
            torch.set_rng_state(kept)
    if told["missing_keys"] or told["mismatched_keys"]:
        raise ModelError(folder, "lacks tensors of its net", TO_COPY)
    if (rate := processor.feature_extractor.sampling_rate) != RATE:
        raise ModelError(folder, f"hears speech at {rate} Hz", f"give one for {RATE} Hz")
    net.eval()

    def heard(sound: Sound) -> str:
        texts = []
        with torch.inference_mode():
            for part in parts(sound.samples, PART_S):
                taken = processor(part, sampling_rate=RATE, return_tensors="pt")
                try:
                    likely = net(taken.input_values).logits.argmax(-1)
                except RuntimeError as error:
                    raise ModelError(folder, f"fails ({_line(error)})", todo) from error
                texts += processor.batch_decode(likely)
        return " ".join(texts).replace(processor.tokenizer.unk_token, "")  # no letters of what is said

    return heard


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
