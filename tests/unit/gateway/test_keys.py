"""Keys: their file, their callers, and their rates."""

from __future__ import annotations

import hashlib
import math
import tomllib
from pathlib import Path

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.gateway.keys import Caller, Keys, Rates, TooManyRequests, Unauthorized, make_key

MIB = 1024 * 1024


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def read(folder: Path, text: str) -> Keys:
    file = folder / "keys.toml"
    file.write_text(text, encoding="utf-8")
    return Keys.read(file)


def test_unless_the_file_says_otherwise_a_caller_may_ask_600_times_a_minute_for_24_mib(tmp_path: Path) -> None:
    caller = read(tmp_path, f'[lab]\nsha256 = "{digest("k")}"\n').caller("k")
    assert (caller.name, caller.requests_per_minute, caller.max_bytes) == ("lab", 600, 24 * MIB)
    assert caller == Caller("lab")


def test_a_caller_has_the_rate_and_the_size_of_its_table(tmp_path: Path) -> None:
    table = f'[lab]\nsha256 = "{digest("k")}"\nrequests_per_minute = 1\nmax_mib = 1.5\n'
    assert read(tmp_path, table).caller("k") == Caller("lab", 1, 3 * MIB // 2)


@pytest.mark.parametrize(
    ("mib", "rate", "good"),
    [
        (24, 1, True),
        (0.5, 1, True),
        (24.1, 1, False),
        (0, 1, False),
        (-1, 1, False),
        (24, 0.99, False),
        (24, -5, False),
    ],
)
def test_limits_are_over_0_and_up_to_24_mib_and_one_request_a_minute_or_more(
    tmp_path: Path, mib: float, rate: float, good: bool
) -> None:
    table = f'[lab]\nsha256 = "{digest("k")}"\nrequests_per_minute = {rate}\nmax_mib = {mib}\n'
    if good:
        assert read(tmp_path, table).caller("k") == Caller("lab", rate, int(mib * MIB))
    else:
        with pytest.raises(InvalidConfiguration, match=r"max_mib is|requests_per_minute is"):
            read(tmp_path, table)


def test_a_caller_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Caller("lab", math.inf)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no API keys, or one whose sha256 is cut short"),
        (f'[lab]\nsha256 = "{"ab" * 31}"\n', "cut short"),
        (f'[lab]\nsha256 = "{"ab" * 33}"\n', "cut short"),
        (f'[a]\nsha256 = "{"ab" * 32}"\n[b]\nsha256 = "ab"\n', "cut short"),
        (f'[lab]\nsha256 = "{"ab" * 32}"\nrate = 3\nburst = 2\n', "unknown setting burst, rate"),
        (f'[lab]\nsha256 = "{"xy" * 32}"\n', "no API keys"),
        ("[lab]\n", "no API keys"),
        ("lab = 3\n", "no API keys"),
    ],
)
def test_what_is_wrong_with_a_file_of_keys_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidConfiguration, match=said):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"cannot be read \(No such file or directory\)"):
        Keys.read(tmp_path / "missing.toml")


def test_a_key_names_its_caller_and_no_other() -> None:
    callers = {hashlib.sha256(key.encode()).digest(): Caller(name) for key, name in (("one", "a"), ("two", "b"))}
    keys = Keys(callers)
    assert not keys.open
    assert (keys.caller("one"), keys.caller("two")) == (Caller("a"), Caller("b"))
    for wrong in ("three", "ones", "on"):
        with pytest.raises(Unauthorized, match="this is no valid API key here"):
            keys.caller(wrong)
    for none in (None, ""):
        with pytest.raises(Unauthorized, match="wants one, as the header"):
            keys.caller(none)


def test_where_there_are_no_keys_everybody_is_one_caller_with_or_without_a_key() -> None:
    keys = Keys({})
    assert keys.open
    assert keys.caller(None) == keys.caller("any") == Caller("web")
    assert Keys({}, Caller("us")).caller(None) == Caller("us")


def test_a_key_is_256_random_bits_and_only_its_hash_is_kept() -> None:
    key, entry = make_key("lab-a")
    assert len(key) == 43, "32 bytes in base64 without padding"
    assert key != make_key("lab-a")[0]
    assert tomllib.loads(entry) == {"lab-a": {"sha256": digest(key), "requests_per_minute": 600, "max_mib": 24}}
    with pytest.raises(InvalidConfiguration, match="is no submitter's name"):
        make_key("Lab A")


# Rates ----------------------------------------------------------------------------------------------------------------


class Watch:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


def used_up(rates: Rates, caller: Caller) -> int:
    """Returns how many requests pass before one is refused."""
    for count in range(10_000):
        try:
            rates.take(caller)
        except TooManyRequests:
            return count
    raise AssertionError("it is never refused")


def test_two_minutes_worth_are_there_at_first_and_after_any_rest() -> None:
    watch = Watch()
    rates, caller = Rates(watch), Caller("lab", requests_per_minute=30)
    assert used_up(rates, caller) == 60
    for seconds, more in ((2, 1), (60, 30), (120, 60), (100_000, 60)):
        watch.time += seconds
        assert used_up(rates, caller) == more


def test_what_trickles_in_between_refusals_adds_up() -> None:
    watch = Watch()
    rates, caller = Rates(watch), Caller("lab", requests_per_minute=60)
    used_up(rates, caller)
    waits = []
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refusal:
            rates.take(caller)
        waits.append(refusal.value.seconds)
        watch.time += 0.25
    assert waits == pytest.approx([1.0, 0.75, 0.5])
    watch.time += 0.25
    rates.take(caller)


def test_a_refusal_says_how_long_to_wait() -> None:
    watch = Watch()
    rates, caller = Rates(watch), Caller("lab", requests_per_minute=6)
    used_up(rates, caller)
    with pytest.raises(TooManyRequests, match="wait 10 s") as refusal:
        rates.take(caller)
    assert refusal.value.seconds == pytest.approx(10)
    watch.time += refusal.value.seconds
    rates.take(caller)


def test_callers_have_rates_of_their_own() -> None:
    rates = Rates(Watch())
    assert [used_up(rates, Caller(name, requests_per_minute=2)) for name in ("a", "b")] == [4, 4]


def test_a_key_that_only_reads_is_for_its_own_name_or_for_anothers_images(tmp_path: Path) -> None:
    for given, submitter in ((None, "guest"), ("lab", "lab")):
        key, table = make_key("guest", read_only=True, submitter=given)
        caller = read(tmp_path, table).caller(key)
        assert (caller.name, caller.submitter, caller.read_only) == ("guest", submitter, True)


def test_a_key_that_writes_is_for_no_other_submitter(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="--read-only"):
        make_key("guest", submitter="lab")
    with pytest.raises(InvalidConfiguration, match="read_only = true"):
        read(tmp_path, f'[guest]\nsha256 = "{digest("k")}"\nsubmitter = "lab"\n')


@pytest.mark.parametrize("setting", ['read_only = "yes"', "read_only = 1", 'read_only = true\nsubmitter = "A/b"'])
def test_rights_that_make_no_sense_are_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(InvalidConfiguration):
        read(tmp_path, f'[guest]\nsha256 = "{digest("k")}"\n{setting}\n')
