"""No secret comes through in one piece, whatever the pieces it arrived in; everything else comes through."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.worker.process import Redactor, secret_values

BODY = base64.b64encode(bytes(range(200))).decode()
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY[:64]}\n{BODY[64:]}\n"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1g"
SHAPES = [
    "sk-ant-api03-" + "aB3_" * 20,
    "sk-proj-" + "Zz9" * 12,
    "sk_live_" + "4eC39HqLyjWD",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "11AAAAAAA0" * 3,
    "glpat-" + "x9_y" * 5,
    "xoxb-123456789012-abcdefABCDEF",
    "AIza" + "SyA1b2C3d4" * 4,
    "AKIAIOSFODNN7EXAMPLE",
    "hf_" + "AbCd" * 8,
    "npm_" + "aB3d" * 9,
    "pypi-" + "AgEIcHlwaS5vcmc" * 4,
    JWT,
]
SHAPES[2] += "arjtT1zdp7dc"
VALUES = ["correct horse battery staple", 'quo"te\\d', "zwei\nZeilen", "schlüssel", "aaaaaaab"]


def through(redactor: Redactor, data: bytes, size: int) -> bytes:
    pieces = [redactor.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join(pieces) + redactor.finish()


@pytest.mark.security(9)
@pytest.mark.parametrize("size", [1, 3, 7, 1 << 16])
@pytest.mark.parametrize("secret", SHAPES, ids=lambda secret: secret[:9])
def test_tokens_are_known_by_their_shape(secret: str, size: int) -> None:
    for before, after in (("", ""), ("key=", "\n"), ('{"text":"a\\n', '"}'), ("\x1b[32m", "\x1b[0m"), ("%3D", "&b")):
        data = f"{before}{secret}{after}".encode()
        assert through(Redactor(), data, size) == f"{before}[redacted]{after}".encode()


@pytest.mark.parametrize("size", [1, 3, 7, 1 << 16])
def test_a_private_key_goes_line_by_line(size: int) -> None:
    ending = "-----END RSA PRIVATE KEY-----\nafter"
    assert through(Redactor(), (PEM + ending).encode(), size) == f"[redacted]{ending}".encode()
    escaped = json.dumps(PEM + ending)
    found = through(Redactor(), escaped.encode(), size)
    assert BODY[:20].encode() not in found
    assert found.endswith(b'-----END RSA PRIVATE KEY-----\\nafter"')


@pytest.mark.security(9)
@pytest.mark.parametrize("size", [1, 3, 7, 1 << 16])
@pytest.mark.parametrize("value", VALUES)
def test_given_values_are_removed_plain_and_quoted(value: str, size: int) -> None:
    data = f"{value}|{json.dumps(value)}|{value}{value}".encode()
    found = through(Redactor(VALUES), data, size)
    assert found == b'[redacted]|"[redacted]"|[redacted][redacted]'


@pytest.mark.parametrize("size", [999, 1 << 16])
def test_a_token_of_any_length_is_swallowed(size: int) -> None:
    assert through(Redactor(), b"(sk-" + b"a1" * 40_000 + b") over", size) == b"([redacted]) over"
    key = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 63_000 + b"\n-----END"
    assert through(Redactor(), key, size).startswith(b"[redacted]-----END")


@pytest.mark.parametrize(
    "text",
    [
        "task-management-of-the-disk-and-other-long-words",
        "eyJust.a.word",
        "BEGIN PRIVATE KEY is how it begins\n-----BEGIN CERTIFICATE-----\nAAAA",
        "AKIA is a prefix, AKIAIOSFODNN7EXAMPLEANDMORE is none of theirs",
        "x" * 100_000,
        "a1b2c3" * 20_000 + "\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 1 << 16])
def test_what_only_looks_like_it_comes_through(text: str, size: int) -> None:
    if size == 1:
        text = text[:5000]
    assert through(Redactor(VALUES), text.encode(), size) == text.encode()


def test_a_prompt_without_an_end_of_line_is_not_held_back() -> None:
    assert Redactor(VALUES).feed(b"Continue? [y/n] ") == b"Continue? [y/n] "
    assert Redactor(VALUES).feed(b"one line\n") == b"one line\n"


pieces = st.lists(
    st.one_of(
        st.sampled_from([*SHAPES, *VALUES, PEM, *(value[:-1] for value in VALUES), "-----BEGIN ", "sk-", "eyJ"]),
        st.text(alphabet='abc.-_ \n\\n"%=[m;AKI', max_size=12),
    ),
    max_size=8,
)


@pytest.mark.security(9)
@given(pieces, st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_the_borders_of_the_pieces_change_nothing(parts: list[str], steps: list[int]) -> None:
    data = "".join(parts).encode()
    whole = through(Redactor(VALUES), data, len(data) + 1)
    redactor, out, at = Redactor(VALUES), b"", 0
    for turn in range(len(data)):
        out += redactor.feed(data[at : at + steps[turn % len(steps)]])
        at += steps[turn % len(steps)]
    assert out + redactor.finish() == whole
    assert not any(value.encode() in whole for value in VALUES)


def test_values_too_short_to_find_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="a secret of 3 bytes"):
        Redactor(["abc"])


def test_secrets_of_an_environment_are_known_by_name() -> None:
    environ = {
        "OPENAI_API_KEY": "k-123456789",
        "GH_TOKEN": "t-123456789",
        "DB_PASSWORD_FILE": "/run/secrets/db",
        "AWS_SECRET_ACCESS_KEY": "s-123456789",
        "KEYBOARD": "qwertz-layout",
        "PATH": "/usr/bin:/bin",
        "EMPTY_TOKEN": "",
        "SHORT_KEY": "1234567",
    }
    assert set(secret_values(environ)) == {"k-123456789", "t-123456789", "/run/secrets/db", "s-123456789"}
