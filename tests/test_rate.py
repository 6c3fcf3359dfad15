"""People rate a release: what they are shown, what is kept of it, and what a browser or a stranger can do."""

import csv
import http.client
import json
import secrets
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from benchmarks.rate import invite, kept, load, served
from evaluators.judgement import COLUMNS, judged, read_ratings
from flows import rate
from flows.rate_store import RATERS, RATINGS, RefusedError, Store, forget, opened, write_ratings
from flows.rate_trials import PAIRS, REPEATS, SCRAMBLED, SCRAMBLED_PAIRS, SINGLES, Shown, Trial, open_release, trials
from forgeline.audio import write_sound
from forgeline.clip import Sound
from forgeline.errors import FactoryError
from forgeline.image import write_image
from forgeline.video import Encoding, VideoWriter
from tests.browser import Browser, chromium, tab

METHODS = {
    "video": {"control": "control", "blend_swap": "forgery", "lip_sync": "forgery", "self_swap": "null_twin"},
    "image": {"image_control": "control", "dcgan": "forgery"},
    "audio": {"sound_control": "control", "voice": "forgery"},
}
EACH = 8
SUFFIX = {"video": "mp4", "image": "png", "audio": "flac"}
ORIGIN = "http://127.0.0.1:4400"


def media(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    sound = Sound((0.1 * np.sin(np.arange(9600) / 12)).astype(np.float32), 16000)
    picture = np.kron(rng.integers(40, 200, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with VideoWriter(folder / "x.mp4", 64, 64, Fraction(25), Encoding(preset="ultrafast"), sound) as writer:
        for _ in range(15):
            writer.write(picture)
    write_image(folder / "x.png", picture)
    write_sound(folder / "x.flac", sound)
    return {medium: (folder / f"x.{suffix}").read_bytes() for medium, suffix in SUFFIX.items()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 64 samples and as many of another variant, which nobody is to see."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "croissant.json").write_text('{"name": "toy"}')
    data = media(tmp_path_factory.mktemp("media"))
    for medium, methods in METHODS.items():
        for method, role in methods.items():
            for variant in ("master", "c40"):
                rows = [
                    {
                        "sample_id": (name := f"{method}-{variant}-{number}".replace("_", "")),
                        "media": {"bytes": data[medium], "path": f"{name}.{SUFFIX[medium]}"},
                        "pair_id": f"{next(iter(methods))}-{variant}-{number}".replace("_", ""),
                        **{"method": method, "media_type": medium, "role": role, "variant": variant, "sha256": name},
                    }
                    for number in range(EACH)
                ]
                path = folder / "test" / medium / f"{method}-{variant}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


@pytest.fixture(scope="module")
def shown(release: Path) -> list[Shown]:
    """The samples that raters are shown, and twelve scrambled ones, without files."""
    samples = open_release(release).samples
    controls = [sample for sample in samples if sample.role == "control"]
    return [*samples, *(Shown(f"scrambled-{n}", controls[n].sample_id, "", controls[n].media_type, "") for n in range(12))]


# What is shown -------------------------------------------------------------------------------------------------------


def test_samples_are_masters_with_their_controls(release: Path) -> None:
    samples = open_release(release).samples
    assert Counter(sample.method for sample in samples) == {m: EACH for methods in METHODS.values() for m in methods}
    assert all("-master-" in sample.sample_id for sample in samples)


def planned(shown: list[Shown], raters: int) -> list[list[Trial]]:
    return [trials(shown, number, np.random.default_rng(number)) for number in range(raters)]


def test_each_rater_sees_as_many_controls_of_each_medium_and_no_sample_twice(shown: list[Shown]) -> None:
    known = {sample.sample_id: sample for sample in shown}
    for order in planned(shown, 30):
        assert Counter((trial.kind, trial.catch) for trial in order) == {
            ("single", ""): SINGLES,
            ("pair", ""): PAIRS,
            ("single", "scrambled"): SCRAMBLED,
            ("pair", "scrambled"): SCRAMBLED_PAIRS,
            ("single", "repeat"): REPEATS,
        }
        singles = [known[trial.left] for trial in order if trial.kind == "single" and not trial.catch]
        assert len({sample.sample_id for sample in singles}) == SINGLES
        media = {
            role: Counter(s.media_type for s in singles if (s.role == "control") == (role == "control"))
            for role in ("control", "other")
        }
        assert media["control"] == media["other"]
        pairs = [(known[trial.left], known[trial.right]) for trial in order if trial.kind == "pair" and not trial.catch]
        for pair in pairs:
            (fake,) = (sample for sample in pair if sample.role == "forgery")
            (control,) = (sample for sample in pair if sample.role == "control")
            assert fake.pair_id == control.sample_id
            assert fake not in singles
        assert sum(left.role == "forgery" for left, _ in pairs) == PAIRS / 2


def test_methods_and_their_samples_come_equally_often(shown: list[Shown]) -> None:
    known = {sample.sample_id: sample for sample in shown}
    methods: dict[str, Counter[str]] = defaultdict(Counter)
    samples: dict[str, Counter[str]] = defaultdict(Counter)
    for order in planned(shown, 50):
        for trial in order:
            if not trial.catch:
                for each in filter(None, (trial.left, trial.right)):
                    methods[trial.kind][known[each].method] += known[each].role != "control"
                    samples[known[each].method][each] += known[each].role != "control"
    for counts in methods.values():
        several = [count for count in counts.values() if count]
        assert max(several) - min(several) <= 1
    for counts in samples.values():
        assert max(counts.values()) <= 2 * max(min(counts.values()), 1)


def test_orders_differ_and_catches_are_spread(shown: list[Shown]) -> None:
    orders = planned(shown, 30)
    assert orders == planned(shown, 30)
    places = [[place for place, trial in enumerate(order) if trial.catch == "scrambled"] for order in orders]
    assert len({tuple(each) for each in places}) > 20
    for order, scrambled in zip(orders, places, strict=True):
        thirds = Counter(3 * place // len(order) for place in scrambled)
        assert all(1 <= thirds[third] <= 3 for third in range(3))
        assert scrambled[0] > 0
        first = {trial.left: place for place, trial in reversed(list(enumerate(order))) if trial.kind == "single"}
        assert all(place - first[trial.left] >= 8 for place, trial in enumerate(order) if trial.catch == "repeat")


def test_a_release_with_few_samples_gives_fewer_trials(shown: list[Shown]) -> None:
    few = [sample for sample in shown if sample.sample_id.endswith("-1") and sample.media_type == "video"]
    order = trials(few, 3, np.random.default_rng(0))
    assert len({trial.left for trial in order if trial.kind == "single" and not trial.catch}) >= 4
    assert len({(trial.left, trial.right) for trial in order}) >= 4


@pytest.mark.parametrize(
    ("name", "what"), [(None, "is no release"), ("../evil", "can't be a file's"), ("toy", "no forgeries with controls")]
)
def test_what_is_no_release_is_refused(tmp_path: Path, name: str | None, what: str) -> None:
    if name:
        (tmp_path / "croissant.json").write_text(json.dumps({"name": name}))
    with pytest.raises(FactoryError, match=what):
        open_release(tmp_path)


# What is kept --------------------------------------------------------------------------------------------------------


@dataclass
class Study:
    """A folder with a release's store, and a client of its page for each browser."""

    release: Path
    store: Store
    browsers: list[TestClient] = field(default_factory=list)

    def browser(self) -> TestClient:
        app = rate.page(self.store, 4400, ORIGIN)
        self.browsers.append(TestClient(app, ORIGIN, headers={"Origin": ORIGIN}))
        return self.browsers[-1]

    def rater(self) -> TestClient:
        client = self.browser()
        assert enter(client, *self.store.invite(1)).status_code == 200
        return client


@pytest.fixture
def study(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Path) -> Iterator[Study]:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / RATERS, tmp_path / RATERS)
    with closing(opened(open_release(release), release)) as store:
        yield Study(release, store)


@pytest.fixture(scope="module")
def made(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the store was made, with nobody invited."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        opened(open_release(release), release).close()
    return folder


def enter(client: TestClient, token: str, session: str = "") -> Any:
    return client.post("/enter", json={"token": token, "session": session or secrets.token_hex(16)})


def answer(client: TestClient, number: int, **given: Any) -> Any:
    kind = client.get("/state").json()["trial"]["kind"]
    plain = {"naturalness": 4, "realism": 3, "fake": "yes", "confidence": 2} if kind == "single" else {"pair": "left"}
    return client.post("/answer", json={"number": number, "given": given or plain, "seconds": 3.5})


def test_an_invitation_is_for_the_browser_that_used_it_first(study: Study) -> None:
    token, other = study.store.invite(2)
    first, second = study.browser(), study.browser()
    came = enter(first, token)
    assert came.status_code == 200
    cookie = came.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/", "max-age="))
    answer(first, 0)
    again = enter(first, token, "1" * 32)  # the link, opened once more
    assert (again.status_code, again.json()["done"]) == (200, 1)
    refused = enter(second, token, "2" * 32)
    assert (refused.status_code, "another browser" in refused.json()["error"]) == (403, True)
    assert second.get("/state").status_code == 401
    assert first.get("/state").json()["done"] == 1
    unknown = enter(second, "x" * 22, "2" * 32)
    assert (unknown.status_code, "not known" in unknown.json()["error"]) == (403, True)
    # Where the answer was lost, so was the cookie: the page asks again as it did before.
    assert enter(second, other, "3" * 32).status_code == 200
    second.cookies.clear()
    assert enter(second, other, "3" * 32).status_code == 200
    third = enter(study.browser(), *study.store.invite(1), "3" * 32)
    assert (third.status_code, "reload" in third.json()["error"]) == (403, True)


def test_a_browser_is_one_raters_at_a_time(study: Study) -> None:
    token, other = study.store.invite(2)
    client = study.browser()
    of = enter(client, token).json()["of"]
    refused = enter(client, other, "1" * 32)
    assert (refused.status_code, "has not finished" in refused.json()["error"]) == (403, True)
    for number in range(of):
        assert answer(client, number).status_code == 200
    assert client.get("/state").json()["trial"] is None
    assert enter(client, other, "1" * 32).json()["done"] == 0


def test_tokens_and_sessions_are_kept_as_hashes(study: Study) -> None:
    (token,) = study.store.invite(1)
    client = study.browser()
    enter(client, token, "abcdef0123456789" * 2)
    files = b"".join(path.read_bytes() for path in (RATERS / "toy").glob("answers.sqlite*"))
    assert token.encode() not in files
    assert b"abcdef0123456789" * 2 not in files
    assert len({*study.store.invite(50)}) == 50


def test_answers_are_taken_in_order_and_once(study: Study) -> None:
    client = study.rater()
    assert answer(client, 1).status_code == 409  # not its turn
    assert answer(client, 0).json()["done"] == 1
    state = client.get("/state").json()
    first = study.store.progress(state["rater"]).trials[0]
    given = {"naturalness": 4, "realism": 3, "fake": "yes", "confidence": 2} if first.kind == "single" else {"pair": "left"}
    same = client.post("/answer", json={"number": 0, "given": given, "seconds": 9.0})
    assert (same.status_code, same.json()["done"]) == (200, 1)  # the first acknowledgement was lost
    other = given | ({"fake": "no"} if first.kind == "single" else {"pair": "right"})
    late = client.post("/answer", json={"number": 0, "given": other, "seconds": 9.0})
    assert (late.status_code, late.json()["done"]) == (409, 1)  # another tab was first
    wrong = (
        {"pair": "left"}
        if state["trial"]["kind"] == "single"
        else {"naturalness": 1, "realism": 1, "fake": "no", "confidence": 2}
    )
    assert client.post("/answer", json={"number": 1, "given": wrong, "seconds": 1.0}).status_code == 422
    assert json.loads(study.store._link.execute("SELECT given FROM answer").fetchall()[0][0]) == given
    assert client.get("/state").json()["done"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"number": 0, "given": {"naturalness": 6, "realism": 1, "fake": "no", "confidence": 2}, "seconds": 1.0},
        {"number": 0, "given": {"naturalness": 1, "realism": 1, "confidence": 2}, "seconds": 1.0},
        {"number": 0, "given": {"naturalness": 1, "realism": 1, "fake": "no"}, "seconds": 1.0},
        {"number": 0, "given": {"naturalness": 1, "realism": 1, "fake": "no", "confidence": 0}, "seconds": 1.0},
        {"number": 0, "given": {"naturalness": 1, "realism": 1, "fake": "no", "confidence": 2, "pair": "left"}, "seconds": 1.0},
        {"number": 0, "given": {"pair": "both"}, "seconds": 1.0},
        {"number": -1, "given": {"pair": "left"}, "seconds": 1.0},
        {"number": 0, "given": {"pair": "left"}, "seconds": -1.0},
        {"number": 0, "given": {"pair": "left"}},
        [],
    ],
)
def test_what_is_no_answer_is_refused(study: Study, body: Any) -> None:
    client = study.rater()
    assert client.post("/answer", json=body).status_code == 422
    assert client.get("/state").json()["done"] == 0


def test_another_version_of_the_release_is_not_mixed_in(study: Study, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(study.release, other)
    path = other / "test" / "video" / "control-c40.parquet"
    table = pq.read_table(path).to_pylist()
    table[0]["sha256"] = "changed"
    pq.write_table(pa.Table.from_pylist(table), path)
    with pytest.raises(FactoryError, match="another version of toy"):
        opened(open_release(other), other)


def test_the_table_of_answers(study: Study) -> None:
    raters = [study.rater() for _ in range(3)]
    for number in range(raters[0].get("/state").json()["of"]):
        answer(raters[0], number)
    for number in range(5):
        answer(raters[2], number)
    path, count, total = write_ratings("toy")
    assert (path, count) == (RATINGS / "toy.csv", 2)
    first = path.read_bytes()
    assert write_ratings("toy") == (path, count, total)
    assert path.read_bytes() == first
    rows = read_ratings(path)
    assert list(rows[0]) == list(COLUMNS)
    keys = [(row["rater"], int(row["order"])) for row in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == total == 45 + 5
    names = {client.get("/state").json()["rater"] for client in raters}
    assert {row["rater"] for row in rows} <= names
    for row in rows:  # all said 4, 3, yes and left
        opinion = row["question"] in ("naturalness", "realism")
        scrambled = row["sample_id"].startswith("scrambled")
        assert (row["role"] == "") == scrambled == (row["method"] == "")
        if opinion and row["catch"] == "0":
            assert row["right"] == ""
        elif row["question"] == "fake" and row["catch"] == "0":
            assert row["right"] == str(int(row["role"] == "forgery"))
        elif row["question"] == "confidence":
            assert (row["answer"], row["right"]) == ("2", "")
        elif scrambled and row["question"] != "pair":
            assert row["right"] == {"naturalness": "0", "realism": "1", "fake": "1"}[row["question"]]
        elif row["catch"] == "1" and not scrambled:
            assert row["right"] == "1"  # as before
        elif row["question"] == "pair":
            assert row["pair_id"].startswith(("control", "imagecontrol", "soundcontrol"))
    pairs = [row["right"] for row in rows if row["question"] == "pair" and row["catch"] == "0"]
    assert {"0", "1"} == set(pairs)
    whole = [row for row in rows if row["rater"] == rows[keys.index(max(keys, key=lambda key: key[1]))]["rater"]]
    assert sum(row["right"] == "1" for row in whole if row["question"] == "pair" and row["catch"] == "0") == PAIRS / 2
    (rater, _) = judged(rows).raters
    assert rater.catches <= SCRAMBLED + SCRAMBLED_PAIRS
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(["ffffffff", *list(rows[0].values())[1:]])
    with pytest.raises(FactoryError, match="holds answers to 1 trials that"):
        write_ratings("toy")


def test_a_rater_is_forgotten(study: Study) -> None:
    one, other = study.rater(), study.rater()
    for number in range(7):
        answer(one, number)
        answer(other, number)
    name, stays = (client.get("/state").json()["rater"] for client in (one, other))
    path, _, _ = write_ratings("toy")
    before = read_ratings(path)
    with pytest.raises(FactoryError, match="is no rater of toy"):
        forget("toy", "nobody")
    assert read_ratings(path) == before
    assert forget("toy", name) == (path, 7)
    assert read_ratings(path) == [row for row in before if row["rater"] == stays] != []
    assert name.encode() not in b"".join(file.read_bytes() for file in (RATERS / "toy").glob("answers.sqlite*"))
    left = path.read_bytes()
    assert write_ratings("toy") == (path, 1, 7)
    assert path.read_bytes() == left
    assert one.get("/state").status_code == 401
    assert answer(other, 7).json()["done"] == 8
    with pytest.raises(FactoryError, match="is no rater of toy"):
        forget("toy", name)


# Who may ask what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:4401"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 403),
    ],
)
def test_what_the_page_would_not_send_is_refused(study: Study, headers: dict[str, str], status: int) -> None:
    client = study.rater()
    body = json.dumps({"number": 0, "given": {"pair": "left"}, "seconds": 1.0})
    sent = client.post("/answer", content=body, headers={"Content-Type": "application/json"} | headers)
    assert sent.status_code == status
    without = client.post("/answer", content=body, headers={"Content-Type": "application/json", "Origin": ""})
    assert without.status_code == 403
    assert client.get("/state").json()["done"] == 0


def test_bodies_are_small_and_of_known_length(study: Study) -> None:
    client = study.rater()
    plain = {"Content-Type": "application/json"}
    assert client.post("/answer", content=b"x" * (rate.MOST_BYTES + 1), headers=plain).status_code == 413
    assert client.post("/enter", content=iter([b"{}"]), headers=plain).status_code == 411
    assert client.put("/state", content=b"{}", headers=plain).status_code == 405


def test_media_are_the_raters_own_and_tell_nothing(study: Study) -> None:
    one, two = study.rater(), study.rater()
    state = one.get("/state").json()
    assert set(state) == {"rater", "done", "of", "trial", "soon"}
    seen: dict[str, set[str]] = defaultdict(set)
    aliases = []
    for number in range(state["of"]):
        for alias, medium in study.store.shown(state["rater"], number):
            aliases.append(alias)
            got = one.get(f"/media/{alias}")
            assert got.status_code == 200
            told = {name: value for name, value in got.headers.items() if name not in ("content-length", "etag")}
            assert got.headers["etag"] == f'"{alias}"'
            seen[medium].add(json.dumps(told))
    assert all(len(each) == 1 for each in seen.values()), seen
    assert len(set(aliases)) == len(aliases)  # a repeated sample has another name
    assert two.get(f"/media/{aliases[0]}").status_code == 404
    assert study.browser().get(f"/media/{aliases[0]}").status_code == 404
    for path in (
        "/media/../answers.sqlite",
        "/media/..%2fanswers.sqlite",
        "/media/%2e%2e/answers.sqlite",
        "/media/",
        "/etc/passwd",
    ):
        assert one.get(path).status_code == 404
    assert one.get(f"/media/{study.store.samples['dcgan-master-0'].file}").status_code == 404


def test_media_come_in_ranges(study: Study) -> None:
    client = study.rater()
    url = client.get("/state").json()["trial"]["media"][0]["url"]
    whole = client.get(url)
    assert whole.headers["accept-ranges"] == "bytes"
    part = client.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416


def test_every_answer_has_the_headers_of_the_page(study: Study) -> None:
    client = study.rater()
    for path, status in (("/", 200), ("/state", 200), ("/nothing", 404)):
        got = client.get(path)
        assert got.status_code == status
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["cross-origin-resource-policy"] == "same-origin"
        assert got.headers["cache-control"] == "no-store"
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert policy != client.get("/").headers["content-security-policy"]  # a nonce is used once


def test_behind_a_proxy_the_cookie_is_secure(study: Study) -> None:
    app = rate.page(study.store, 4400, "https://rate.example.org")
    client = TestClient(app, "https://rate.example.org", headers={"Origin": "https://rate.example.org"})
    assert "secure" in enter(client, *study.store.invite(1)).headers["set-cookie"].lower()
    with pytest.raises(FactoryError, match="no address of a page"):
        rate.invite(study.release, 1, 4400, "rate.example.org/x")
    (link,) = rate.invite(study.release, 1, 4400, "https://Rate.example.org/")
    assert link.startswith("https://rate.example.org/#")


def test_refusals_are_told_as_sentences(study: Study) -> None:
    assert issubclass(RefusedError, FactoryError)
    with pytest.raises(FactoryError, match="can't invite 0 raters"):
        rate.invite(study.release, 0, 4400, None)
    with pytest.raises(FactoryError, match="has no raters yet"):
        rate.serve(study.release, 0, None)


# Many at once --------------------------------------------------------------------------------------------------------


def test_no_acknowledged_answer_is_lost_when_many_rate_and_the_server_is_killed(
    release: Path, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / RATERS, tmp_path / RATERS)
    seen = load(tmp_path, release, invite(tmp_path, release, 40), trials=4, kills=1)
    assert seen.unanswered > 0  # it was killed among them
    assert len(seen.acknowledged) == 40 * 4
    assert kept(tmp_path) == seen.acknowledged
    with closing(sqlite3.connect(tmp_path / RATERS / "toy" / "answers.sqlite")) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# In a browser --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    folder: Path
    release: Path
    port: int
    chromium: str

    def link(self) -> str:
        (token,) = invite(self.folder, self.release, 1)
        return f"http://127.0.0.1:{self.port}/#{token}"


@pytest.fixture(scope="module")
def running(release: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(made / RATERS, folder / RATERS)
    invite(folder, release, 1)
    with chromium(tmp_path_factory.mktemp("profile")) as address, served(folder, release) as (_, port):
        yield Running(folder, release, port, address)


@pytest.fixture
def browser(running: Running) -> Iterator[Browser]:
    """A new tab, in a browser that no rater has used."""
    with tab(running.chromium) as shown:
        shown.do("Network.clearBrowserCookies")
        yield shown
        asks = {event["params"]["request"]["url"] for event in shown.events if event["method"] == "Network.requestWillBeSent"}
        assert all(url.startswith((f"http://127.0.0.1:{running.port}/", "data:")) for url in asks), asks
        assert not shown.complaints()


def until(browser: Browser, condition: str) -> None:
    browser.ask(f"new Promise(done => {{ const look = () => ({condition}) ? done() : setTimeout(look, 5); look(); }})")


def begin(browser: Browser, link: str) -> None:
    browser.open(link)
    until(browser, "!document.getElementById('welcome').hidden")
    browser.key("Enter", 13, "\r")
    until(browser, "trial !== null")


def by_key(browser: Browser) -> dict[str, Any]:
    """Answer the trial on the screen; what was given."""
    done = browser.ask("state.done")
    if browser.ask("state.trial.kind") == "pair":
        browser.key("ArrowRight", 39)
    else:
        for key in "42f2":
            browser.key(key, ord(key.upper()), key)
    given: dict[str, Any] = browser.ask("trial.given")
    browser.key("Enter", 13, "\r")
    until(browser, f"state.done > {done}")
    return given


def test_the_keyboard_is_enough_and_a_reload_goes_on(running: Running, browser: Browser) -> None:
    link = running.link()
    begin(browser, link)
    assert browser.ask("location.href") == f"http://127.0.0.1:{running.port}/"  # the invitation isn't left to be seen
    given = [by_key(browser) for _ in range(4)]
    assert {"naturalness": 4, "realism": 2, "fake": "yes", "confidence": 2} in given
    browser.open(f"http://127.0.0.1:{running.port}/")
    until(browser, "!document.getElementById('welcome').hidden")
    assert "Go on with 5 of 45" in browser.ask("document.getElementById('begin').textContent")
    browser.key("Enter", 13, "\r")
    until(browser, "trial !== null")
    assert browser.ask("document.getElementById('count').textContent") == "5 of 45"
    while browser.ask("state.trial?.kind") != "single":
        by_key(browser)
    browser.key("5", 53, "5")
    browser.key("Enter", 13, "\r")  # nothing is sent before all is answered
    browser.key("Backspace", 8)
    for key in "13r2":
        browser.key(key, ord(key.upper()), key)
    assert browser.ask("trial.given") == {"naturalness": 1, "realism": 3, "fake": "no", "confidence": 2}
    rater = browser.ask("state.rater")
    while browser.ask("state.trial !== null"):
        by_key(browser)
    assert not browser.ask("document.getElementById('done').hidden")
    assert rater in browser.ask("document.getElementById('done').textContent")
    assert sum(name == rater for name, _ in kept(running.folder)) == 45


def test_what_is_shown_is_played_and_can_be_played_again(running: Running, browser: Browser) -> None:
    begin(browser, running.link())
    seen = set()
    while len(seen) < 3:
        medium = browser.ask("state.trial.media[0].type")
        if medium == "image":
            until(browser, "trial.players.every(each => each.naturalWidth === 64)")
        else:
            until(browser, "trial.players.at(-1).ended")  # one after the other, by themselves
            browser.key(" ", 32, " ")
            until(browser, "!trial.players[0].ended && trial.players[0].currentTime > 0")
        seen.add(medium)
        by_key(browser)


def test_touch_is_enough(running: Running, browser: Browser) -> None:
    browser.do("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    browser.do("Emulation.setTouchEmulationEnabled", enabled=True)

    def tap(element: str) -> None:
        browser.ask(f"{element}.scrollIntoView({{block: 'center'}})")
        box = browser.ask(f"(box => [box.x, box.y, box.width, box.height])({element}.getBoundingClientRect())")
        x, y, wide, high = box[0] + box[2] / 2, box[1] + box[3] / 2, *box[2:]
        assert min(wide, high) >= 44  # as large as a finger
        browser.do("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        browser.do("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    browser.open(running.link())
    until(browser, "!document.getElementById('welcome').hidden")
    tap("document.getElementById('begin')")
    until(browser, "trial !== null")
    kinds = set()
    for number in range(1, 45):
        kind = browser.ask("state.trial.kind")
        if kind == "pair":
            tap("document.querySelector('[data-pair=left]')")
            expected: dict[str, Any] = {"pair": "left"}
        else:
            for name, value in (("naturalness", 2), ("realism", 5), ("fake", "no"), ("confidence", 2)):
                tap(f"document.querySelector('input[name={name}][value=\"{value}\"]').parentElement")
            expected = {"naturalness": 2, "realism": 5, "fake": "no", "confidence": 2}
        until(browser, "!document.getElementById('next').disabled")
        assert browser.ask("trial.given") == expected
        assert browser.ask("document.documentElement.scrollWidth") <= 390
        tap("document.getElementById('next')")
        until(browser, f"state.done === {number}")
        kinds.add(kind)
        if len(kinds) == 2:
            return


def test_two_tabs_of_a_rater_answer_a_trial_once(running: Running, browser: Browser) -> None:
    begin(browser, running.link())
    with tab(running.chromium) as other:
        begin(other, f"http://127.0.0.1:{running.port}/")
        first = by_key(browser)
        rater = other.ask("state.rater")
        if other.ask("state.trial.kind") == "pair":
            other.key("ArrowLeft", 37)
        else:
            for key in "11r5":
                other.key(key, ord(key.upper()), key)
        other.key("Enter", 13, "\r")
        until(other, "state.done === 1")
        assert "another window" in other.ask("document.getElementById('said').textContent")
        by_key(other)
    assert json.loads(kept(running.folder)[rater, 0]) == first
    assert (rater, 1) in kept(running.folder)


def test_an_answer_waits_for_a_server_that_is_away(running: Running, browser: Browser) -> None:
    begin(browser, running.link())
    browser.do("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    for key in "4", "2", "f", "5", "ArrowRight":
        browser.key(key, ord(key.upper()) if len(key) == 1 else 39, key if len(key) == 1 else "")
    browser.key("Enter", 13, "\r")
    until(browser, "document.getElementById('said').textContent.startsWith('Not saved yet')")
    browser.do("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    until(browser, "state.done === 1")
    assert browser.ask("document.getElementById('said').hidden")


def test_a_stranger_sees_nothing_of_it(running: Running, browser: Browser) -> None:
    browser.open(f"http://127.0.0.1:{running.port}/#wrong")
    until(browser, "!document.getElementById('uninvited').hidden")
    assert "not known here" in browser.ask("document.getElementById('said').textContent")
    link = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    link.request("GET", "/state")
    assert link.getresponse().status == 401
    link.close()
