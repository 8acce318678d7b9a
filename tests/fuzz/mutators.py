"""Damage to image files: blind, and with knowledge of the format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 1023, 1024, 1025, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)
TOKENS = (
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf", b"acTL", b"fcTL"),
    *(b"fdAT", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb", b"\xff\xdd"),
    *(b"\xff\xe0", b"\xff\xe1Exif\0\0", b"\xff\xe2MPF\0", b"\xff\xe2ICC_PROFILE\0", b"II*\0", b"MM\0*", b"II+\0"),
    *(b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"XMP ", b"ICCP", b"BM"),
    *(b"http://ns.adobe.com/xap/1.0/\0", b'tiff:Orientation="9"', b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0"),
)
PNG_CHUNKS = (*(token for token in TOKENS[:13]), b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"prVt")


def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """Returns the file with one to six pieces of damage."""
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if not data:
            return data
        known = next((damage for magic, damage in STRUCTURED.items() if data.startswith(magic)), None)
        data = known(data, rng) if known and rng.random() < 0.5 else rng.choice(BLIND)(data, others, rng)
    return data


def swell(data: bytes, size: int, rng: Random) -> bytes:
    """Enlarges the file to a size: with parts that its format allows, few or millions, or with bytes at its end."""
    room = max(0, size - len(data))
    if data.startswith(b"\x89PNG"):
        body = bytes(min(rng.choice((0, 100, 65_000, 2**20, size)), max(0, room - 12)))
        kind = rng.choice((b"prVt", b"IDAT", b"tEXt"))
        part = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        place = 33  # after IHDR
    elif data.startswith(b"\xff\xd8"):
        body = bytes(rng.choice((0, 100, 65_533)))
        part = rng.choice((b"\xff\xe1", b"\xff\xee", b"\xff\xfe")) + struct.pack(">H", len(body) + 2) + body
        place = 2
    else:
        part, place = rng.choice((b"\0", b"\xff", rng.randbytes(1000))), len(data)
    grown = data[:place] + part * (room // len(part)) + data[place:]
    return grown + bytes(max(0, size - len(grown)))


# Blind ----------------------------------------------------------------------------------------------------------------


def _flip(data: bytes, _: list[bytes], rng: Random) -> bytes:
    changed = bytearray(data)
    for _n in range(rng.choice((1, 1, 4, 16))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_early(data: bytes, _: list[bytes], rng: Random) -> bytes:
    """Flips bits within the first bytes, where headers are."""
    changed = bytearray(data)
    changed[rng.randrange(min(len(data), 64))] = rng.randrange(256)
    return bytes(changed)


def _truncate(data: bytes, _: list[bytes], rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _cut(data: bytes, _: list[bytes], rng: Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 4, 16, 256)) :]


def _repeat(data: bytes, _: list[bytes], rng: Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice((1, 4, 16, 256))
    return data[:start] + data[start : start + length] * rng.choice((2, 3, 50)) + data[start + length :]


def _splice(data: bytes, others: list[bytes], rng: Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _token(data: bytes, _: list[bytes], rng: Random) -> bytes:
    start, token = rng.randrange(len(data)), rng.choice(TOKENS)
    return data[:start] + token + data[start + rng.choice((0, len(token))) :]


def _number(data: bytes, _: list[bytes], rng: Random) -> bytes:
    return _put(data, rng.randrange(len(data)), rng.choice("<>") + rng.choice("BHI"), rng)


BLIND: list[Callable[[bytes, list[bytes], Random], bytes]] = [
    *(_flip, _flip_early, _truncate, _cut, _repeat, _splice, _token, _number)
]


def _put(data: bytes, place: int, form: str, rng: Random) -> bytes:
    """Writes a likely edge case of a number at a position."""
    size = struct.calcsize(form)
    if not 0 <= place <= len(data) - size:
        return data
    number = rng.choice(NUMBERS) if rng.random() < 0.8 else rng.getrandbits(32)
    return data[:place] + struct.pack(form, number % 256**size) + data[place + size :]


# Structured -----------------------------------------------------------------------------------------------------------


def _png(data: bytes, rng: Random) -> bytes:
    """Changes, moves, doubles or adds chunks, with right checksums."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return data
    which = rng.randrange(len(chunks))
    kind, body = chunks[which]
    match rng.randrange(6):
        case 0:
            body = _put(body, rng.randrange(len(body) + 1), rng.choice((">B", ">I")), rng)
            chunks[which] = (kind, body)
        case 1:  # the size, the depth and the colours that the header claims
            chunks[0] = (
                chunks[0][0],
                _put(chunks[0][1], *rng.choice(((0, ">I"), (4, ">I"), (8, ">B"), (9, ">B"))), rng),
            )
        case 2:
            times = rng.choice((1, 1, 3, 20_000)) if len(body) < 100 else 1
            chunks[which:which] = [(kind, body)] * times
        case 3:
            chunks.insert(rng.randrange(len(chunks)), chunks.pop(which))
        case 4:
            chunks.insert(which + 1, (rng.choice(PNG_CHUNKS), _chunk_body(rng)))
        case _:
            del chunks[which]
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _chunk_body(rng: Random) -> bytes:
    """Makes the body of a text, profile or animation chunk, now and then a large one."""
    unpacked = bytes(rng.choice((10, 10, 10, 10_000, 2_000_000)))
    keyword = rng.choice((b"a\0\0", b"a\0", b"\0", b"", b"a\0\1\0\0\0", b"x" * 90 + b"\0\0"))
    return rng.choice((keyword + zlib.compress(unpacked), keyword + rng.randbytes(20), rng.randbytes(26), b""))


def _jpeg(data: bytes, rng: Random) -> bytes:
    """Changes, doubles, drops or adds segments; edits sizes and sampling."""
    places, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        places.append(place)
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    if not places:
        return data
    start = rng.choice(places)
    end = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
    match rng.randrange(5):
        case 0:
            return data[:end] + data[start:end] * rng.choice((1, 100, 20_000 if end - start < 100 else 2)) + data[end:]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return _put(data, rng.randrange(start + 2, max(end, start + 3)), rng.choice((">B", ">H")), rng)
        case 3:
            frame = next((each for each in places if data[each + 1] in (0xC0, 0xC2)), start)
            return _put(data, frame + rng.choice((4, 5, 7, 9, 11, 12)), rng.choice((">B", ">H")), rng)
        case _:  # repeats the last scan; for each the decoder passes over the whole image
            scan = data.rfind(b"\xff\xda")
            return (
                data[:scan]
                + data[scan:-2] * rng.choice((2, 50, 300, 3000 if len(data) - scan < 1000 else 5))
                + data[-2:]
                if scan > 0
                else data
            )


def _tiff(data: bytes, rng: Random) -> bytes:
    """Edits entries of the directory (tag, type, count, value or offset) and the chain of pages."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    if len(data) < 16:
        return data
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    if first + 8 > len(data):
        return data
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, first)
    size, begin = (20, first + 8) if big else (12, first + 2)
    count = min(count, (len(data) - begin) // size)
    if count < 1 or rng.random() < 0.15:
        where = rng.choice((first, begin + count * size, 4))
        back = data[4:8] if rng.random() < 0.5 else struct.pack(order + "I", rng.randrange(len(data)))
        return data[:where] + back + data[where + 4 :]
    entry = begin + rng.randrange(count) * size
    return _put(data, entry + rng.choice((0, 2, 4, 8, 8, 8)), order + rng.choice("HI"), rng)


def _bmp(data: bytes, rng: Random) -> bytes:
    """Edits fields of the header: offset, header size, width, height, depth, compression, colours, masks."""
    return _put(data, rng.choice((2, 10, 14, 18, 22, 26, 28, 30, 34, 46, 50, 54, 58)), rng.choice(("<H", "<I")), rng)


def _webp(data: bytes, rng: Random) -> bytes:
    """Changes, doubles or drops chunks; in half of the cases it corrects the file's size."""
    chunks, place = [], 12
    while place + 8 <= len(data):
        end = place + 8 + struct.unpack_from("<I", data, place + 4)[0]
        end += end % 2
        chunks.append(data[place:end])
        place = end
    if not chunks:
        return data
    which = rng.randrange(len(chunks))
    match rng.randrange(4):
        case 0:
            chunks[which] = _put(chunks[which], 8 + rng.randrange(16), rng.choice(("<B", "<H", "<I")), rng)
        case 1:
            chunks.insert(which, chunks[which])
        case 2:
            chunks[which] = rng.choice(TOKENS)[:4].ljust(4) + chunks[which][4:]
        case _:
            del chunks[which]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + (struct.pack("<I", len(body)) if rng.random() < 0.5 else data[4:8]) + body


STRUCTURED: dict[bytes, Callable[[bytes, Random], bytes]] = {
    b"\x89PNG": _png,
    b"\xff\xd8": _jpeg,
    b"II": _tiff,
    b"MM": _tiff,
    b"BM": _bmp,
    b"RIFF": _webp,
}
