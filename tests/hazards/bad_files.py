"""Files that do not serve, and how each is made: a corpus, which grows by what is found."""

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
from PIL import Image

from tests.app.test_bad_inputs import MATRIX, NETWORK, PROBLEM, TABLE, TRIPLES, picture, saved

Maker = Callable[[Path], object]
"""Makes what is to be read at a path."""

DATA = numpy.arange(9.0)[::-1].tobytes()
FACTOR = numpy.random.default_rng(0).normal(size=(60, 40))
ZEROS = bytes(2**24)


def holds(content: bytes | str) -> Maker:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def begins(content: bytes, size: int) -> Maker:
    """Make a file that goes on with zeros, which take no place."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(content)
            file.truncate(size)

    return make


def link(target: str) -> Maker:
    return lambda path: path.symlink_to(target)


NO_FILES: dict[str, Maker] = {
    "nothing there": lambda path: None,
    "empty": holds(b""),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "zeros without end": link("/dev/zero"),
    "noise without end": link("/dev/urandom"),
    "terminal": link("/dev/tty"),
    "null": link("/dev/null"),
    "link to nothing": link("/nonexistent/file"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "3 GiB of zeros": begins(b"", 3 * 2**30),
    "one NUL": holds(b"\0"),
    "program": holds(b"\x7fELF" + bytes(range(256)) * 40),
    "gz": holds(gzip.compress(TABLE.encode())),
    "gz cut off": holds(gzip.compress(TABLE.encode())[:-9]),
    "bz2": holds(bz2.compress(TABLE.encode())),
    "xz": holds(lzma.compress(TABLE.encode())),
    "zstd": holds(b"\x28\xb5\x2f\xfd" + bytes(range(60))),
    "tar": holds(b"x" * 257 + b"ustar" + bytes(600)),
    "pickle": holds(b"cos\nsystem\n(S'touch pwned'\ntR."),
    "web page": holds("<html><body>1,2</body></html>\n"),
    "PDF": holds(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"),
}
"""Of every suffix."""


# --- arrays ---


def npy(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin1") if isinstance(header, str) else header
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def claims(shape: str, descr: str = "'<f8'", order: str = "False", data: bytes = DATA) -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n", data)


LARGE = claims("(20000, 20000)", data=b"")
ARRAYS: dict[str, bytes] = {
    "8 TB": claims("(1000000, 1000000)"),
    "8 TB by columns": claims("(1000000, 1000000)", order="True"),
    "2 GB": claims("(16384, 16384)"),
    "negative side": claims("(-3, 3)"),
    "negative sides": claims("(-3, -3)"),
    "side with a fraction": claims("(3., 3)"),
    "boolean side": claims("(True, 3)"),
    "side of 4000 digits": claims("(1" + "0" * 4000 + ", 3)"),
    "side of 5000 digits": claims("(1" + "0" * 5000 + ", 3)"),
    "product beyond 64 bits": claims("(4294967296, 4294967296)"),
    "product beyond 63 bits": claims("(9223372036854775807, 2)"),
    "no rows": claims("(0, 1000000000000)"),
    "no columns": claims("(1000000000000, 0)"),
    "no bytes": claims("(1000000, 1000000)", "'V0'"),
    "empty texts": claims("(1000000, 1000000)", "'<U0'"),
    "long texts": claims("(3, 3)", "'<U500000000'"),
    "long bytes": claims("(3, 3)", "'S2147483647'"),
    "arrays in arrays": claims("(1000, 1000)", "('<f8', (1000000,))"),
    "records": claims("(3, 3)", "[('a', '<f8')]"),
    "records in records": claims("(3, 3)", "[('a', [('b', [('c', '<f8')])])]"),
    "no type": claims("(3, 3)", "None"),
    "unknown type": claims("(3, 3)", "'<q99'"),
    "objects": claims("(3, 3)", "'O'", data=b"cos\nsystem\n(S'touch pwned'\ntR."),
    "33 axes": claims("(" + 33 * "1," + ")"),
    "100 axes": claims("(" + 100 * "1," + ")"),
    "order is a number": claims("(3, 3)", order="2"),
    "shape is a list": claims("[3, 3]"),
    "cut off": claims("(3, 3)", data=DATA[:30]),
    "brackets": npy("(" * 5000 + ")" * 5000),
    "brackets not closed": npy("(" * 60000),
    "minus signs": npy("-" * 9000 + "1"),
    "a list": npy("[1, 2]\n"),
    "NUL": npy("{'descr'\0: 1}\n"),
    "a key missing": npy("{'descr': '<f8'}\n"),
    "a key more": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3), 'x': 1}\n", DATA),
    "header beyond its end": npy(b"{}", version=2)[:8] + struct.pack("<I", 2**32 - 1) + b"{}",
    "header of spaces": npy("{}" + " " * 100_000, version=2),
    "version 3": npy(b"\xff\xfe", version=3),
    "version 9": npy("{}", version=9),
    "first bytes": b"\x93NUMPY",
    "first bytes and version": b"\x93NUMPY\x01\x00",
    "number": saved(numpy.float64(3)),
    "vector": saved(numpy.arange(5.0)),
    "five axes": saved(numpy.zeros((2,) * 5)),
    "complex": saved(MATRIX * 1j),
    "dates": saved(numpy.zeros((3, 3), "M8[s]")),
    "durations": saved(numpy.zeros((3, 3), "m8[s]")),
    "booleans": saved(MATRIX > 2),
    "raw bytes": saved(numpy.zeros((3, 3), "V8")),
    "infinite": saved(numpy.where(MATRIX > 7, numpy.inf, MATRIX)),
    "beyond double precision": saved(MATRIX * numpy.longdouble("1e4000")),
}


# --- archives ---


def archive(
    content: bytes,
    *,
    size: int | None = None,
    name: bytes = b"w0.npy",
    method: int = 8,
    flags: int = 0,
    crc: int | None = None,
) -> bytes:
    """Return an archive of one member, of compressed content, which may lie about it."""
    size = len(zlib.decompress(content, -15)) if size is None else size
    crc = zlib.crc32(zlib.decompress(content, -15)) if crc is None else crc
    common = struct.pack(
        "<HHHHHIIIHH", 20, flags, method, 0, 0, crc, len(content), size, len(name), 0
    )
    local = b"PK\x03\x04" + common + name + content
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + common + bytes(14) + name
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)
    return local + entry + b"PK\x05\x06" + end


def deflated(*parts: bytes) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(map(press.compress, parts)) + press.flush()


def bomb(head: bytes, n_blocks: int) -> bytes:
    """Return what unpacks to so many times 16 MiB, after a head."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = press.compress(head) + press.flush(zlib.Z_FULL_FLUSH)
    block = press.compress(ZEROS) + press.flush(zlib.Z_FULL_FLUSH)
    return first + n_blocks * block + press.flush()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


def damaged(content: bytes, first: int, length: int = 8) -> bytes:
    changed = bytes(byte ^ 0x5A for byte in content[first : first + length])
    return content[:first] + changed + content[first + length :]


PACKED = deflated(saved(FACTOR))
WHOLE = archive(PACKED)
SQUARE = claims("(16384, 16384)", data=b"")
ARCHIVES: dict[str, bytes] = {
    **{f"of {name}": archive(deflated(array)) for name, array in ARRAYS.items()},
    **{f"of {name}, stored": zipped(("w0.npy", a), method=0) for name, a in ARRAYS.items()},
    "bomb of 2 GiB": archive(bomb(SQUARE, 128), size=2**31 + len(SQUARE), crc=0),
    "bomb of zeros": archive(bomb(b"", 128), size=2**31, crc=0),
    "bomb that claims little": archive(bomb(claims("(3, 3)"), 64), size=2**30, crc=0),
    "bomb that says it is small": archive(bomb(SQUARE, 32), size=200, crc=0),
    "says it is large": archive(PACKED, size=2**32 - 2, crc=0),
    "says it is small": archive(PACKED, size=100),
    "says it is empty": archive(PACKED, size=0),
    "encrypted": archive(PACKED, flags=1),
    "strongly encrypted": archive(PACKED, flags=0x41),
    "patched": archive(PACKED, flags=0x20),
    **{f"method {n}": archive(PACKED, method=n) for n in (1, 6, 9, 12, 14, 93, 95, 97, 99, 65535)},
    "checksum": archive(PACKED, crc=1),
    "another checksum, not compressed": archive(saved(FACTOR), size=19328, method=0, crc=1),
    "archive in archive": archive(deflated(WHOLE)),
    "absolute path": archive(deflated(b"x"), name=b"/etc/passwd.npy"),
    "path upwards": archive(deflated(b"x"), name=b"../../x.npy"),
    "name of two lines": archive(deflated(b"x"), name=b"a\nb.npy"),
    "name that colours": archive(deflated(b"x"), name=b"a\x1b[31mb.npy"),
    "name of 60 000": archive(deflated(b"x"), name=b"a" * 60_000 + b".npy"),
    "name of no letters": archive(deflated(b"x"), name=b"\xff\xfe.npy"),
    "no name": archive(deflated(b"x"), name=b""),
    "folders": zipped(("d/", b""), ("d/w0.npy", b"x")),
    "20 000 members": zipped(*((f"w{k}.npy", b"x") for k in range(20_000))),
    "1000 factors that do not chain": zipped(
        *((f"w{k}.npy", saved(numpy.eye(2 + (k == 999)))) for k in range(1000))
    ),
    "text as second": zipped(("w0.npy", saved(FACTOR)), ("w1", b"hello")),
    "data after the array": archive(deflated(saved(FACTOR), b"more")),
    "overflow": zipped(("a.npy", saved(FACTOR * numpy.inf))),
    "bz2, damaged": damaged(zipped(("w.npy", saved(FACTOR)), method=zipfile.ZIP_BZIP2), 60),
    "lzma, damaged": damaged(zipped(("w.npy", saved(FACTOR)), method=zipfile.ZIP_LZMA), 60),
    "lzma, other properties": damaged(zipped(("w.npy", saved(FACTOR)), method=14), 36),
    "archive elsewhere": b"junk" * 1000 + NETWORK[:300],
    **{f"cut by {n}": NETWORK[:-n] for n in (1, 2, 3, 5, 10, 21, 22, 23, 40, 80, 120, 150)},
    **{f"damaged at {n}": damaged(WHOLE, n) for n in range(40, len(WHOLE) - 200, len(WHOLE) // 60)},
}


# --- tables ---

ROWS = b"1,2\n" * 100_000
TEXTS: dict[str, bytes | str] = {
    "cell of 200 000": "1.5," + "x" * 200_000 + "\n2,3\n",
    "number of 20 million digits": "1.5," + "1" * 20_000_000 + "\n2,\n",
    "quoted cell of 20 million": '1.5,"' + "x" * 20_000_000 + '"\n2,\n',
    "quote not closed in 5 million lines": '1.5,"' + "x\n" * 5_000_000,
    "100 000 columns": ",".join(["1.5"] * 10**5) + "\n" + ",".join(["2"] * 10**5) + "\n",
    "100 000 columns, empty": "," * 100_000 + "\n",
    "million cells, empty": ("," * 999 + "\n") * 1000,
    "100 000 rows of text": "a,b\n" * 10**5,
    "text after 100 000 rows": ROWS + b"1,x\n",
    "5 million blank lines": "\n" * 5_000_000,
    "20 million spaces": " " * 20_000_000,
    "comments": "# x\n" * 1000,
    "100 000 comments": "# x\n" * 10**5 + "1,2\n3,x\n",
    "hashes": "#" * 1000 + "\n",
    "NULs": bytes(10**6),
    "NUL after 100 000 rows": ROWS + b"\0,3\n",
    "UTF-16": TABLE.encode("utf-16"),
    "UTF-16, little end": TABLE.encode("utf-16-le"),
    "UTF-16, big end": TABLE.encode("utf-16-be"),
    "UTF-32": TABLE.encode("utf-32"),
    "Latin": "é,b\n1,2\n".encode("latin1"),
    "Latin after 100 000 rows": ROWS + b"\xe9,3\n",
    "Windows": b"\x80,2\n3,\n",
    "UTF-8 cut off": b"1,2\n3,\xe2\x82",
    "UTF-8, overlong": b"1,\xc0\x80\n",
    "UTF-8 of surrogates": b"1,\xed\xa0\x80\n",
    "UTF-8, mixed with Latin": "é,1\n".encode() + "é,\n".encode("latin1"),
    "mark of order": b"\xef\xbb\xbf",
    "archive": zipped(("table.csv", TABLE.encode())),
    "workbook": zipped(("xl/workbook.xml", b"<x/>")),
    "parquet": b"PAR1" + bytes(50) + b"PAR1",
    "array": saved(MATRIX),
    "picture": picture(Image.new("L", (4, 4))),
    "JSON": '{"a": [1, 2]}\n',
    "JSON of two columns": '{"a":[1,2],"b":[3,4]}\n',
    "XML": '<?xml version="1.0"?>\n<a>1,2</a>\n',
    "YAML": "a: 1\nb: 2\n",
    "program": "import os\nprint(1, 2)\n",
    "one name twice": "a,a\n1,2\n3,x\n",
    "header alone": "a,b\n",
    "header alone, of one name": "a,a\n",
    "header alone, old lines": "a,b\r",
    "one cell": "1",
    "quotes": '"' * 1001,
    "an empty cell in quotes": '""\n',
    "text after quotes": '"1"2,3\n4,\n',
    "two numbers in a cell": '"1\n2",3\n4,\n',
    "rows of two lengths": "1,2\n3,4,5\n",
    "last row is short": "1,2\n" * 5000 + "1\n",
    "integer of 400 digits": "1" * 400 + ",2\n3,\n",
    "exponent of 5000 digits": "1e" + "9" * 5000 + ",2\n3,\n",
    "exponent of -50 digits": "1e-" + "9" * 50 + ",0\n0,\n",
    "equation": "=1+1,2\n3,\n",
    "control characters": "\x01,2\n3,\n",
    "colours": "\x1b[31m1,2\n3,\n",
    "vertical tabs": "1,2\x0b3,\n",
    "line separators": "1,2\u20283,4\n5,\n",
    "next lines": "1,2\x853,\n",
    "from right to left": "\u202e1,2\n3,\n",
    "Arabic digits": "\u0663,2\n3,\n",
    "full-width digits": "\uff11,2\n3,\n",
    "mathematical minus": "\u22121,2\n3,\n",
    "all missing": "nan,nan\nnan,nan\n",
    "infinite": "inf,2\n3,\n",
    "denormal": "1e-308,0\n0,\n",
    "zero": "0,0\n0,\n",
    "blank line in a column": "1\n2\n\n3\n",
    "separator told": "sep=;\n1;2\n3;\n",
    "per cent": "10%,2\n3,\n",
    "dollars": "$1,2\n3,\n",
    "times": "12:30,2\n3,\n",
    "hexadecimal": "0x1F,2\n3,\n",
    "underscores": "1_0,2\n3,\n",
    "triple with a label of 300 000": TRIPLES + "a" * 300_000 + ",b,1\n",
    "triples, quote not closed": TRIPLES + '1,"2,3\n',
    "triples of one place": TRIPLES + "1,2,3\n" * 1000,
    "triples without a column": TRIPLES + "1,,3\n1,2,4\n",
    "triples, a value of text": TRIPLES + "1,2,x\n1,3,4\n",
}
TABLES: dict[str, Maker] = {
    **{name: holds(content) for name, content in TEXTS.items()},
    "3 GiB": begins(b"1,2\n", 3 * 2**30),
    "400 MiB": begins(b"1,2\n", 400 * 2**20),
}


# --- pictures ---


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, pixels: bytes, *, bits: int = 8, colours: int = 0, extra: bytes = b""
) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    size = min(width * height, 2**32 - 1)
    fields = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    fields += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, size)]
    entries = (struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in fields)
    head = b"II*\0" + struct.pack("<IH", 8, len(fields))
    return head + b"".join(entries) + bytes(4)


FEW = zlib.compress(bytes(1000))
NOISE = picture(Image.effect_noise((40, 40), 50))
BOMB = zlib.compress(ZEROS * 3, 9)
PICTURES: dict[str, bytes] = {
    "100 000 x 100 000": png(100_000, 100_000, FEW),
    "of the largest sides": png(2**31 - 1, 2**31 - 1, FEW),
    "12 000 x 12 000": png(12_000, 12_000, FEW),
    "9400 x 9400, coloured": png(9400, 9400, FEW, colours=2),
    "13 300 x 13 300": png(13_300, 13_300, FEW),
    "no sides": png(0, 0, FEW),
    "no pixels": png(40, 40, b""),
    "few pixels": png(4000, 400, FEW),
    "unknown colours": png(4, 4, FEW, colours=5),
    "16 bits": png(4, 4, zlib.compress(bytes(36)), bits=16),
    "text that is a bomb": png(4, 4, FEW, extra=3 * chunk(b"zTXt", b"a\0\0" + BOMB)),
    "colours that are a bomb": png(4, 4, FEW, extra=chunk(b"iCCP", b"a\0\0" + BOMB)),
    "checksum": damaged(NOISE, 50, 4),
    "cut off": NOISE[:900],
    **{f"damaged at {n}": damaged(NOISE, n) for n in range(8, len(NOISE) - 20, 50)},
    **{f"cut at {n}": NOISE[:n] for n in range(1, len(NOISE) - 60, 150)},
    "TIFF 100 000 x 100 000": tiff(100_000, 100_000),
    "TIFF of the largest sides": tiff(2**32 - 1, 2**32 - 1),
    "TIFF 10 000 x 10 000": tiff(10_000, 10_000),
    "BMP 50 000 x 50 000": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 50_000, 50_000, 1, 24, *[0] * 6),
    "GIF 65 535 x 65 535": b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4,
    "PGM 100 000 x 100 000": b"P5 100000 100000 255\n",
    "PGM 9000 x 9000": b"P5 9000 9000 255\nxx",
    "PGM of text": b"P2 3 3 255\n1 2 x",
    "PPM of negative sides": b"P6 -3 3 255\n",
    "JPEG cut off": picture(Image.effect_noise((40, 40), 50), "JPEG")[:400],
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "SVG": b"<svg/>",
    "WebP": b"RIFF\0\0\0\0WEBPVP8 ",
    "ICO": b"\0\0\1\0\1\0" + bytes(16),
    "PSD": b"8BPS\0\1" + bytes(30),
    "FITS": b"SIMPLE  =                    T".ljust(2880),
    "ICNS": b"icns\0\0\0\x08",
    "DDS": b"DDS " + bytes(124),
    "real numbers": picture(Image.new("F", (4, 4)), "TIFF"),
    "full": picture(Image.new("1", (4, 4)), "TIFF"),
}


# --- problems ---

NAME, CHAINS, BETA = 'name = "squared norm"', "chains = 4", "beta = [1.0]"
CHANGES: dict[str, tuple[str, str]] = {
    "beta in 300 brackets": (BETA, "beta = " + "[" * 300 + "1.0" + "]" * 300),
    "beta of 20 000": (BETA, "beta = [" + ",".join(f"1.{k:06}" for k in range(20_000)) + "]"),
    "beta of 16 000 bits": (BETA, "beta = [0x" + "f" * 4000 + "]"),
    "beta of 1e300": (BETA, "beta = [1e300]"),
    "beta of 1e-300": (BETA, "beta = [1e-300]"),
    "chains of 5000 digits": (CHAINS, "chains = " + "9" * 5000),
    "chains of 20 000 bits": (CHAINS, "chains = 0x" + "f" * 5000),
    "1e8 chains": (CHAINS, "chains = 100000000"),
    "1e10 chains": (CHAINS, "chains = 10000000000"),
    "1e13 steps": ("steps = 40", "steps = 10000000000000"),
    "1e13 steps, thinned": ("steps = 40\nstep", "steps = 10000000000000\nthinning = 1000\nstep"),
    "shape of 20 000 bits": ("shape = [2, 2]", "shape = [0x" + "f" * 5000 + ", 2]"),
    "shape of 1e10": ("shape = [2, 2]", "shape = [10000000000, 2]"),
    "20 000 x 20 000": ("shape = [2, 2]", "shape = [20000, 20000]"),
    "12 000 x 12 000": ("shape = [2, 2]", "shape = [12000, 12000]"),
    "1e9 hidden": ("shape = [2, 2]", "shape = [2, 2]\nhidden_width = 1000000000"),
    "30 000 hidden": (
        "shape = [2, 2]\ndepth = [1, 2]",
        "shape = [2, 2]\ndepth = [100]\nhidden_width = 30000",
    ),
    "depth of 80 000 bits": ("depth = [1, 2]", "depth = [0x" + "f" * 20_000 + "]"),
    "a name of 60 000": (NAME, 'name = "' + "x" * 60_000 + '"'),
    "barrier of 1e50": (NAME, 'name = "double well"\nwells = [0.5, 2]\nbarrier = 1e50'),
    "barrier of 1e308": (NAME, 'name = "double well"\nwells = [0.5, 2]\nbarrier = 1e308'),
    "wells of 1e300": (NAME, 'name = "double well"\nwells = [1e-300, 1e300]\nbarrier = 1'),
    **{
        f"target {what}": (NAME, f'name = "least squares"\ntarget = "{target}"')
        for what, target in {
            "of zeros without end": "/dev/zero",
            "is the problem": "problem.toml",
            "holds a NUL": "a\\u0000b.csv",
            "of a long name": "a" * 5000 + ".csv",
            "of two lines": "a\\nb.csv",
            "is a folder": ".",
        }.items()
    },
    **{
        f"formula {formula[:40]}": (NAME, f'name = "formula"\nformula = "{formula}"')
        for formula in (
            *("exp(exp(exp(exp(s))))", "s**s**s**s**s", "1e308*s*1e308", "(1+s)**100000"),
            *("(s+1)**1e300", "log(-s)", "s-s", "s/s", "0*s", "1/(s-s)", "1e999*s", "1j*s"),
            *("'a'*s", "(s:=1)", "await s", "f'{s}'", "ѕ", "s\\u0000", "s\\ns", "s;s", "s**-1e5"),
            *("sin(1e10*s)*1e5+s**2", "sin(1e5*s)*1e3+s**2", "1/s**50+s**2", "cosh(1e5*s)"),
            *("9" * 990, "9" * 900 + "*s", "0x" + "f" * 900 + "*s", "-" * 990 + "s"),
            *("(" * 450 + "s" + ")" * 450, "exp(" * 150 + "s" + ")" * 150, "tan(s)"),
            *("sqrt(" * 150 + "s" + ")" * 150, "atan(1e300*s)*1e300"),
        )
    },
}
PROBLEMS: dict[str, str | bytes] = {
    **{name: PROBLEM.replace(old, new) for name, (old, new) in CHANGES.items()},
    "30 000 brackets": "a = " + "[" * 30_000 + "]" * 30_000,
    "900 brackets": "a = " + "[" * 900 + "]" * 900,
    "900 brackets around a problem": PROBLEM + "seed = " + "[" * 900 + "1" + "]" * 900,
    "5000 tables": "a = " + "{a=" * 5000 + "1" + "}" * 5000,
    "10 000 dots": ".".join(["a"] * 10_000) + " = 1\n",
    "10 000 dots in a header": "[" + ".".join(["a"] * 10_000) + "]\n",
    "number of 60 000 digits": PROBLEM + "start = 1." + "0" * 60_000 + "x\n",
    "a key of 60 000": PROBLEM + "x" * 60_000 + " = 1\n",
    "a key of two lines": PROBLEM + '"a\\nb" = 1\n',
    "a key that colours": PROBLEM + '"a\\u001bb" = 1\n',
    "5000 keys": "\n".join(f"k{k} = 1" for k in range(5000)),
    "UTF-16": PROBLEM.encode("utf-16"),
    "Latin": PROBLEM.encode() + b"# \xe9\n",
    "NUL": PROBLEM.encode() + b"\0",
    "two marks of order": b"\xef\xbb\xbf\xef\xbb\xbf" + PROBLEM.encode(),
    "50 million letters": "# " + "x" * 50_000_000 + "\n",
    "text not closed": 'a = """' + "x\n" * 1_000_000,
    "JSON": '{"network": 1}',
    "YAML": "network:\n  shape: [2, 2]\n",
    "date": PROBLEM + "seed = 1979-05-27\n",
    "infinite start": PROBLEM + "start = inf\n",
    "steps of minus zero": PROBLEM.replace("step_size = 0.01", "step_size = -0.0"),
}

CASES: dict[str, tuple[str, str, dict[str, Maker]]] = {
    "tables": ("complete", "table.csv", {**NO_FILES, **TABLES}),
    "arrays": (
        "complete",
        "matrix.npy",
        {
            **NO_FILES,
            **{name: holds(content) for name, content in ARRAYS.items()},
            "3 GiB": begins(b"\x93NUMPY", 3 * 2**30),
            "3.2 GB as claimed": begins(LARGE, len(LARGE) + 8 * 20_000**2),
        },
    ),
    "archives": (
        "balance",
        "network.npz",
        {**NO_FILES, **{name: holds(content) for name, content in ARCHIVES.items()}},
    ),
    "pictures": (
        "complete",
        "picture.png",
        {**NO_FILES, **{name: holds(content) for name, content in PICTURES.items()}},
    ),
    "problems": (
        "sample",
        "problem.toml",
        {
            **NO_FILES,
            **{name: holds(content) for name, content in PROBLEMS.items()},
            "3 GiB": begins(PROBLEM.encode(), 3 * 2**30),
        },
    ),
}
"""The command that reads each kind of file, the name of the file, and how it is made."""
