"""A second reader of signed notes, written from the specifications alone and naively; knows nothing of the service's own.

Source: C2SP signed-note, tlog-cosignature.
"""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def key_of(vkey: str) -> tuple[str, bytes, int, bytes]:
    """Return name, id, kind and public key."""
    name, told, rest = vkey.split("+", 2)
    material = base64.b64decode(rest)
    assert hashlib.sha256(f"{name}\n".encode() + material).hexdigest()[:8] == told
    return name, bytes.fromhex(told), material[0], material[1:]


def signers(note: str, *vkeys: str) -> list[str]:
    """Return which of the keys have signed the note, in the order of the lines, with the time of a cosignature in front."""
    text, lines = note.rsplit("\n\n", 1)
    text += "\n"
    found = []
    for line in lines.splitlines():
        dash, line_name, line_content = line.split(" ")
        assert dash == "\u2014"
        content = base64.b64decode(line_content)
        for vkey in vkeys:
            name, key_id, kind, public = key_of(vkey)
            if (name, key_id) != (line_name, content[:4]):
                continue
            signature, message, told = content[4:], text, vkey
            if kind == 4:
                time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
                message, told = f"cosignature/v1\ntime {time}\n{text}", f"{time} {vkey}"
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature, message.encode())
            except InvalidSignature:
                continue
            found.append(told)
    return found
