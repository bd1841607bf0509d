"""What can happen to a file at rest."""

import json
import random
from pathlib import Path

OTHER_KINDS = (
    b"",
    b"\x00" * 5000,
    b"<!DOCTYPE html><html><body>404</body></html>\n",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    b"\x89PNG\r\n\x1a\n" + bytes(200),
    b"PK\x05\x06" + bytes(18),  # an empty ZIP archive
    b"\x1f\x8b\x08\x00" + bytes(60),
    b"{}\n",
    b"[]\n",
    b"null",
    json.dumps({"format": "kanjinet-checkpoint-1"}).encode(),
    b"\x80\x02}q\x00.",  # an empty dictionary, pickled
)


def flip_bit(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def flip_bytes(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((2, 8, 64))):
        content[rng.randrange(len(content))] = rng.randrange(256)


def flip_near_an_end(content: bytearray, rng: random.Random) -> None:
    """Where headers, directories and checksums stand."""
    place = rng.randrange(min(600, len(content)))
    content[place if rng.random() < 0.5 else -1 - place] ^= rng.randrange(1, 256)


def clear_block(content: bytearray, rng: random.Random) -> None:
    size = rng.choice((512, 4096))
    first = rng.randrange(len(content)) // size * size
    content[first : first + size] = bytes(len(content[first : first + size]))


def swap_blocks(content: bytearray, rng: random.Random) -> None:
    size = min(512, len(content) // 2)
    first, second = (rng.randrange(len(content) - size + 1) for _ in range(2))
    content[first : first + size], content[second : second + size] = (
        content[second : second + size],
        content[first : first + size],
    )


def cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.choice((rng.randrange(len(content)), len(content) - 1, len(content) // 4096 * 4096)) :]


def cut_out(content: bytearray, rng: random.Random) -> None:
    first = rng.randrange(len(content))
    del content[first : first + rng.choice((1, 16, 4096))]


def append(content: bytearray, rng: random.Random) -> None:
    content += rng.randbytes(rng.choice((1, 100, 5000)))


def change_digit(content: bytearray, rng: random.Random) -> None:
    """A number in a text: the file stays valid."""
    digits = [place for place, byte in enumerate(content[:200_000]) if 48 <= byte < 58]
    if digits:
        content[rng.choice(digits)] = 48 + rng.randrange(10)


def replace_by_another_kind(content: bytearray, rng: random.Random) -> None:
    content[:] = rng.choice(OTHER_KINDS)


DAMAGES = (
    *(flip_bit, flip_bit, flip_bytes, flip_near_an_end, clear_block, swap_blocks),
    *(cut, cut_out, append, change_digit, replace_by_another_kind),
)


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file; says how. One that holds nothing becomes another kind."""
    content = bytearray(path.read_bytes())
    chosen = rng.choice(DAMAGES) if content else replace_by_another_kind
    chosen(content, rng)
    path.write_bytes(content)
    return chosen.__name__
