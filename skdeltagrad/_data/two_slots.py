"""A small JSON document that is replaced as a whole, or not at all.

It is written in turns to two files, in place. Each holds a digest and a length, and
then so many bytes, of a number that grows and the document: the one with a correct
digest and the larger number counts. Writing a new file and renaming it would do the
same, and takes several times as long, because the disk has to be told of the names too.
"""

import hashlib
import json
import os

from .raw_file import RawFile

FILES = ("contents-0.json", "contents-1.json")
# Cost: the length of the files is a multiple of this number of bytes, so that most
# writes do not change it.
_PAGE = 2**12


class TwoSlots:
    """The document of a folder.

    Parameters
    ----------
    folder : str

    Attributes
    ----------
    document : dict or None
        As it is on the disk; None if there is none.
    """

    document = None

    def __init__(self, folder):
        self._paths = [os.path.join(folder, name) for name in FILES]
        self._number = -1
        for path in self._paths:
            number, document = _read(path)
            if number > self._number:
                self._number, self.document = number, document

    def write(self, document):
        """Replace the document, and wait until the disk has it.

        After an exception it is the former one.
        """
        before = self.document
        try:
            self._write(document)
        except BaseException:
            # An interrupt may have come when the new one was written already.
            if before is None:
                self.remove()
            else:
                self._write(before)
            raise

    def _write(self, document):
        number = self._number + 1
        text = json.dumps([number, document]).encode()
        page = b"%s %d\n%s" % (_digest(text), len(text), text)
        page += b" " * (-len(page) % _PAGE)
        RawFile(self._paths[number % 2]).write(page)
        self._number, self.document = number, document

    def remove(self):
        for path in self._paths:
            if os.path.exists(path):
                os.remove(path)
        self._number, self.document = -1, None


def _read(path):
    if not os.path.exists(path):
        return -1, None
    with open(path, "rb") as file:
        head, _, rest = file.read().partition(b"\n")
    digest, _, length = head.partition(b" ")
    # A longer document may have been there before.
    text = rest[: int(length)] if length.isdigit() else b""
    return json.loads(text) if digest == _digest(text) else (-1, None)


def _digest(text):
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode()
