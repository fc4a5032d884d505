"""Base58 for instruction data and transactions (solders has it for keys only)."""

from __future__ import annotations

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}


def b58encode(data: bytes) -> str:
    """Encode `data`."""
    number = int.from_bytes(data, "big")
    characters: list[str] = []
    while number:
        number, rest = divmod(number, 58)
        characters.append(_ALPHABET[rest])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(characters))


def b58decode(text: str) -> bytes:
    """Decode `text`; raise ValueError for a character that is not of the alphabet."""
    number = 0
    for character in text:
        if character not in _VALUE:
            raise ValueError(f"{character!r} is not a base58 character")
        number = number * 58 + _VALUE[character]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
