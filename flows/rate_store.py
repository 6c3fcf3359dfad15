"""Where answers are kept: an SQLite file for each release, and from it the table that is versioned.

    data/raters/<release>/answers.sqlite    who was invited (as hashes), what each is shown, and every answer; private
    data/raters/<release>/media             the files that are shown
    data/ratings/<release>.csv              the answers, under pseudonyms

An answer is acknowledged when it is on disk (write-ahead log, synchronous=FULL): a killed server or a power cut loses none that
was. Nothing is kept of who a rater is, nor when or from where an answer came.
"""

import csv
import hashlib
import hmac
import io
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from evaluators.judgement import COLUMNS, read_ratings
from flows import workspace
from flows.rate_trials import Release, Shown, Trial, trials, write_media
from forgeline.errors import FactoryError
from forgeline.files import prune, write_text
from forgeline.lock import holding
from forgeline.recipe import canonical

RATERS = Path("data/raters")
RATINGS = Path("data/ratings")

Given = Mapping[str, int | str]
"""A trial's answers by question: `naturalness`, `realism`, `confidence` 1 to 5, `fake` yes or no, or `pair`, left or right."""

_QUESTIONS = ("naturalness", "realism", "fake", "confidence", "pair")
_SCHEMA = """
CREATE TABLE release (name TEXT NOT NULL, digest TEXT NOT NULL, secret BLOB NOT NULL) STRICT;
CREATE TABLE sample (
  id TEXT PRIMARY KEY, pair TEXT NOT NULL, method TEXT NOT NULL, media_type TEXT NOT NULL, role TEXT NOT NULL,
  file TEXT NOT NULL
) STRICT;
CREATE TABLE rater (name TEXT PRIMARY KEY, token BLOB NOT NULL UNIQUE, session BLOB UNIQUE) STRICT;
CREATE TABLE trial (
  rater TEXT NOT NULL REFERENCES rater, number INTEGER NOT NULL, kind TEXT NOT NULL, "left" TEXT NOT NULL,
  "right" TEXT NOT NULL, catch TEXT NOT NULL, PRIMARY KEY (rater, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE answer (
  rater TEXT NOT NULL, number INTEGER NOT NULL, given TEXT NOT NULL, seconds REAL NOT NULL,
  PRIMARY KEY (rater, number), FOREIGN KEY (rater, number) REFERENCES trial
) STRICT, WITHOUT ROWID;
"""


class RefusedError(FactoryError):
    """An invitation or an answer that is not taken."""


@dataclass(frozen=True)
class Progress:
    """How far a rater is: the number of the trial to come, from 0, and all trials."""

    number: int
    trials: tuple[Trial, ...]


def opened(release: Release, folder: Path) -> "Store":
    """The store of a release in `folder`; made if there is none. FactoryError where it is that of another version."""
    at = RATERS / release.name
    with holding(workspace.lock(f"rate-{release.name}")):
        if not (at / "answers.sqlite").is_file():
            _make(at, release, folder)
    store = Store(at)
    if store.digest != release.digest:
        store.close()
        what = f"holds answers about another version of {release.name}"
        raise FactoryError(at, what, f"write them with `rate --results`, keep {RATINGS}, and move the folder away")
    return store


def _make(at: Path, release: Release, folder: Path) -> None:
    """Media first, the file with the answers last: where that is, all is."""
    media = at / "media"
    prune(at, set())
    media.mkdir(parents=True, exist_ok=True)
    samples = write_media(folder, release, media)
    draft = at / "draft.sqlite"
    with closing(_connected(draft)) as link:
        link.executescript(_SCHEMA)
        link.execute("BEGIN")
        link.execute("INSERT INTO release VALUES (?, ?, ?)", (release.name, release.digest, secrets.token_bytes(32)))
        link.executemany("INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?)", [astuple(sample) for sample in samples])
        link.execute("COMMIT")
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    draft.rename(at / "answers.sqlite")


def _connected(path: Path) -> sqlite3.Connection:
    # One connection, used by one thread at a time: the server sees to that.
    link = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    link.execute("PRAGMA journal_mode=WAL")
    link.execute("PRAGMA synchronous=FULL")
    link.execute("PRAGMA foreign_keys=ON")
    return link


class Store:
    """The answers of one release. For one thread at a time; other processes may have the file open as well."""

    def __init__(self, folder: Path) -> None:
        self.media = folder / "media"
        self._link = _connected(folder / "answers.sqlite")
        self.name, self.digest, self._secret = self._link.execute("SELECT * FROM release").fetchone()
        self.samples = {row[0]: Shown(*row) for row in self._link.execute("SELECT * FROM sample ORDER BY id")}
        self._trials = lru_cache(maxsize=1024)(self._read_trials)
        self._files = lru_cache(maxsize=1024)(self._read_files)

    def close(self) -> None:
        self._link.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._link.execute("BEGIN IMMEDIATE")
        try:
            yield self._link
        except BaseException:
            self._link.execute("ROLLBACK")
            raise
        self._link.execute("COMMIT")  # on disk when this returns

    # Raters

    def invite(self, count: int) -> list[str]:
        """Tokens for so many new raters, whose trials are fixed now. They are kept nowhere: only their hashes are."""
        tokens = [secrets.token_urlsafe(16) for _ in range(count)]
        with self._writing() as link:
            first = link.execute("SELECT count(*) FROM rater").fetchone()[0]
            for number, token in enumerate(tokens, first):
                name = secrets.token_hex(4)  # of no order, so that nobody is known by the place in the list of invitations
                link.execute("INSERT INTO rater VALUES (?, ?, NULL)", (name, _hash(token)))
                rng = np.random.default_rng(int.from_bytes(hashlib.sha256(self._secret + name.encode()).digest()))
                told = [
                    (name, place, trial.kind, trial.left, trial.right, trial.catch)
                    for place, trial in enumerate(trials(list(self.samples.values()), number, rng))
                ]
                link.executemany("INSERT INTO trial VALUES (?, ?, ?, ?, ?, ?)", told)
        return tokens

    def raters(self) -> int:
        """How many were invited."""
        return int(self._link.execute("SELECT count(*) FROM rater").fetchone()[0])

    def forget(self, rater: str) -> int:
        """Delete all of a rater: invitation, session, trials and answers, of which it says how many there were.

        FactoryError where there is no such rater. What was deleted is overwritten in the file.
        """
        self._link.execute("PRAGMA secure_delete=ON")
        with self._writing() as link:
            if link.execute("SELECT 1 FROM rater WHERE name = ?", (rater,)).fetchone() is None:
                raise FactoryError(rater, f"is no rater of {self.name}", "give the word that the rater was told at the end")
            count = link.execute("DELETE FROM answer WHERE rater = ?", (rater,)).rowcount
            link.execute("DELETE FROM trial WHERE rater = ?", (rater,))
            link.execute("DELETE FROM rater WHERE name = ?", (rater,))
        self._link.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log holds older pages
        self._trials.cache_clear()
        self._files.cache_clear()
        return count

    def enter(self, token: str, session: str | None, new: str) -> tuple[str, str]:
        """The rater of an invitation, and the session of the browser: the one it has, or else `new`, which it has drawn.

        An invitation is for the browser that used it first, which may ask again with the same `new` when it got no answer.
        RefusedError for one that is unknown or in use in another browser, and in a browser where another rater has not
        finished, who could not come back.
        """
        with self._writing() as link:
            row = link.execute("SELECT name, session FROM rater WHERE token = ?", (_hash(token),)).fetchone()
            if row is None:
                raise RefusedError("invitation", "is not known here", "use the link as you were given it")
            name, bound = row
            if bound is not None:
                for own in (session, new):
                    if own and hmac.compare_digest(bound, _hash(own)):
                        return name, own
                raise RefusedError("invitation", "is used in another browser", "go on there, or ask for a new one")
            other = self.rater(session)
            if other is not None and not self.finished(other):
                what = "is another rater's, who has not finished"
                raise RefusedError("browser", what, "use another browser, or finish first")
            if self.rater(new) is not None:
                raise RefusedError("browser", "has drawn what another rater's had", "reload the page")
            link.execute("UPDATE rater SET session = ? WHERE name = ?", (_hash(new), name))
        return name, new

    def rater(self, session: str | None) -> str | None:
        """Whose session it is."""
        row = self._link.execute("SELECT name FROM rater WHERE session = ?", (_hash(session or ""),)).fetchone()
        return row[0] if row else None

    def finished(self, rater: str) -> bool:
        progress = self.progress(rater)
        return progress.number >= len(progress.trials)

    # Trials

    def _read_trials(self, rater: str) -> tuple[Trial, ...]:
        rows = self._link.execute('SELECT kind, "left", "right", catch FROM trial WHERE rater = ? ORDER BY number', (rater,))
        return tuple(Trial(*row) for row in rows)

    def progress(self, rater: str) -> Progress:
        """Trials are answered one after the other."""
        done = self._link.execute("SELECT count(*) FROM answer WHERE rater = ?", (rater,)).fetchone()[0]
        return Progress(done, self._trials(rater))

    def answer(self, rater: str, number: int, given: Given, seconds: float) -> bool:
        """Keep the answers to a trial; True when they are on disk, False where others were given to it, or it is not its turn.

        The same answers once more, from one who did not hear that they had arrived, are True as well. RefusedError for answers
        to other questions than the trial's.
        """
        text = canonical(dict(given))
        with self._writing() as link:
            progress = self.progress(rater)
            if number < progress.number:
                row = link.execute("SELECT given FROM answer WHERE rater = ? AND number = ?", (rater, number)).fetchone()
                return bool(row[0] == text)
            if number > progress.number or number >= len(progress.trials):
                return False
            if ("pair" in given) != (progress.trials[number].kind == "pair"):
                raise RefusedError("answer", "is not to this trial's questions", "reload the page")
            link.execute("INSERT INTO answer VALUES (?, ?, ?, ?)", (rater, number, text, round(seconds, 2)))
        return True

    # Media

    def shown(self, rater: str, number: int) -> list[tuple[str, str]]:
        """A trial's samples, left to right: the name by which this rater asks for each, in this trial, and its media type."""
        return [
            (self._alias(rater, number, side), self.samples[each].media_type)
            for side, each in enumerate(self._sides(rater, number))
        ]

    def file(self, rater: str, alias: str) -> Path | None:
        """What lies behind such a name; None where it is none of this rater's."""
        return self._files(rater).get(alias)

    def _read_files(self, rater: str) -> dict[str, Path]:
        return {
            self._alias(rater, number, side): self.media / self.samples[each].file
            for number in range(len(self._trials(rater)))
            for side, each in enumerate(self._sides(rater, number))
        }

    def _sides(self, rater: str, number: int) -> tuple[str, ...]:
        trial = self._trials(rater)[number]
        return (trial.left, trial.right) if trial.kind == "pair" else (trial.left,)

    def _alias(self, rater: str, number: int, side: int) -> str:
        # Of the trial, not the sample: what comes again has another name, and what two raters see has, too.
        return hmac.digest(self._secret, f"{rater}/{number}/{side}".encode(), "sha256").hex()[:32]

    # Results

    def rows(self) -> Iterator[dict[str, str]]:
        """The table of answers, in order: of a rater, of the trials, of the questions on the screen."""
        for rater, number, given, seconds in self._link.execute("SELECT * FROM answer ORDER BY rater, number"):
            trial = self._trials(rater)[number]
            for question, answer in sorted(json.loads(given).items(), key=lambda item: _QUESTIONS.index(item[0])):
                fake, other = self._told_apart(trial)
                yield {
                    "rater": rater,
                    "order": str(number + 1),
                    "question": question,
                    "sample_id": fake.sample_id,
                    "pair_id": other,
                    "method": fake.method,
                    "media_type": fake.media_type,
                    "role": fake.role,
                    "answer": str(answer),
                    "catch": str(int(bool(trial.catch))),
                    "right": self._right(rater, trial, fake, question, answer),
                    "seconds": f"{seconds:.2f}",
                }

    def _told_apart(self, trial: Trial) -> tuple[Shown, str]:
        """The sample that a trial is about, in a pair the fake or scrambled one, and the id of the other, or of its control."""
        left = self.samples[trial.left]
        if trial.kind == "single":
            return left, left.pair_id
        right = self.samples[trial.right]
        return (right, left.sample_id) if left.role == "control" else (left, right.sample_id)

    def _right(self, rater: str, trial: Trial, fake: Shown, question: str, answer: int | str) -> str:
        """`1` or `0`; nothing for opinions. Of a scrambled sample, none may be above 3; of a repeated one, a step away."""
        if question == "confidence":
            return ""
        if trial.kind == "pair":
            return str(int((answer == "left") == (trial.left == fake.sample_id)))
        if trial.catch == "repeat":
            before = self._before(rater, trial)[question]
            return str(int(before == answer if question == "fake" else abs(int(before) - int(answer)) <= 1))
        if question == "fake":
            return str(int((answer == "yes") == (fake.role in ("forgery", ""))))
        return str(int(int(answer) <= 3)) if trial.catch else ""

    def _before(self, rater: str, trial: Trial) -> dict[str, int | str]:
        first = next(n for n, each in enumerate(self._trials(rater)) if each.kind == "single" and each.left == trial.left)
        (given,) = self._link.execute("SELECT given FROM answer WHERE rater = ? AND number = ?", (rater, first)).fetchone()
        value: dict[str, int | str] = json.loads(given)
        return value


def write_ratings(name: str) -> tuple[Path, int, int]:
    """Write a release's table of answers: its path, how many raters answered, and how many trials.

    FactoryError where nobody was invited, or where the table holds answers that the store does not.
    """
    if not (RATERS / name / "answers.sqlite").is_file():
        raise FactoryError(RATERS / name, "holds no answers", "invite raters first: `rate --invite N`")
    path = RATINGS / f"{name}.csv"
    with closing(Store(RATERS / name)) as store:
        rows = list(store.rows())
    told = {(row["rater"], row["order"]) for row in rows}
    if path.is_file() and (lost := {(row["rater"], row["order"]) for row in read_ratings(path)} - told):
        what = f"holds answers to {len(lost)} trials that {RATERS / name} does not"
        raise FactoryError(path, what, "keep it under another name, such as that of its version")
    _write(path, rows)
    return path, len({rater for rater, _ in told}), len(told)


def forget(name: str, rater: str) -> tuple[Path, int]:
    """Delete a rater from a release's store and from its table: the table's path, and how many trials were answered.

    A server that runs forgets at once. FactoryError where nobody was invited, or there is no such rater.
    """
    path = RATINGS / f"{name}.csv"
    if not (RATERS / name / "answers.sqlite").is_file():
        raise FactoryError(RATERS / name, "holds no answers", "name the release that the rater was invited to")
    with closing(Store(RATERS / name)) as store:
        if path.is_file():  # before the store, so that it can be done again where this stops half-way
            _write(path, [row for row in read_ratings(path) if row["rater"] != rater])
        return path, store.forget(rater)


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _hash(secret: str) -> bytes:
    # They are of 128 random bits, so that nothing slower is needed.
    return hashlib.sha256(secret.encode()).digest()
