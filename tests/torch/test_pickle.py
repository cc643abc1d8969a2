"""Our pickle machine keeps values, types, identities and cycles.

tests/unit/drive_pickle.c decodes each pickle, copies the tree and encodes it as protocol 2. Python loads the result and the
original, and both are compared. Objects are compared by the result of their __reduce_ex__.
"""

import argparse
import array
import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import math
import operator
import os
import pathlib
import pickle
import pickletools
import random
import struct
import subprocess
import types
import uuid

import tap
from same_graph import Different, Same

ALLOWED = set(
    "PROTO STOP MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWFALSE NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT BININT BININT1 "
    "BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING APPEND APPENDS SETITEM SETITEMS BINPUT LONG_BINPUT BINGET "
    "LONG_BINGET GLOBAL REDUCE NEWOBJ BUILD BINPERSID".split()
)


DRIVER = tap.driver("pickle")


class Pid:
    """An object that is pickled as a persistent id."""

    def __init__(self, key):
        self.persistent_key = key


class Pickler(pickle._Pickler):  # the version written in Python has protocol 0 and can be extended
    def persistent_id(self, obj):
        return obj.persistent_key if isinstance(obj, Pid) else None


class Unpickler(pickle.Unpickler):
    def persistent_load(self, pid):
        return Pid(pid)


def dumps(obj, protocol, **options):
    out = io.BytesIO()
    Pickler(out, protocol, **options).dump(obj)
    return out.getvalue()


def loads(data, **options):
    return Unpickler(io.BytesIO(data), **options).load()


def copies(pickles):
    """The output of the driver for each pickle: bytes, or the message that refuses it."""
    data = b"".join(struct.pack("<I", len(p)) + p for p in pickles)
    done = subprocess.run([str(DRIVER), "copy"], input=data, capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        raise AssertionError(f"driver: {done.returncode} {done.stderr.decode(errors='replace')}")
    at, out = 0, []
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        refused = size == 0xFFFFFFFF
        if refused:
            at += 4
            (size,) = struct.unpack_from("<I", done.stdout, at)
        part = done.stdout[at + 4 : at + 4 + size]
        out.append(part.decode() if refused else part)
        at += 4 + size
    return out


# ---- the objects that are pickled

Point = collections.namedtuple("Point", "x y")


class Plain:
    pass


class Slots:
    __slots__ = ("a", "b", "__dict__")


class SlotsAlone:
    __slots__ = ("a",)


@dataclasses.dataclass
class Data:
    x: int
    y: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int
    y: str = "z"


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Flag(enum.IntFlag):
    A = 1
    B = 2


class Keywords:
    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.made = (args, kwargs)
        return self

    def __getnewargs_ex__(self):
        return self.made

    def __reduce_ex__(self, protocol):
        if protocol >= 2:
            return super().__reduce_ex__(protocol)
        return (make_keywords, self.made)


def make_keywords(args, kwargs):
    return Keywords(*args, **kwargs)


class Args(int):
    def __new__(cls, value, *rest):
        self = super().__new__(cls, value)
        self.rest = rest
        return self

    def __getnewargs__(self):
        return (int(self), *self.rest)


class Listy(list):
    pass


class Dicty(dict):
    pass


class Ordered(collections.OrderedDict):
    pass


class Sety(set):
    pass


class State:
    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        self.state = state


class Outer:
    class Inner:
        pass

    def method(self):
        pass


class Ring:
    """Hashable before its state is set, so that sets and dicts in a cycle with it can be loaded."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return (Ring, (self.name,), self.__dict__)


class Loop:
    """An object whose constructor arguments refer back to it."""

    def __init__(self, parts):
        self.parts = parts

    def __reduce__(self):
        return (Loop, (self.parts,))


def cycles():
    a = []
    a.append(a)
    yield "a list in itself", a
    d = {}
    d["d"] = d
    yield "a dict in itself", d
    o = collections.OrderedDict()
    o["o"] = [o]
    o.self = o
    yield "an OrderedDict in itself, also by attribute", o
    t = ([],)
    t[0].append(t)
    yield "a tuple in itself", t
    t = ([], 1, [], {}, 5)
    t[0].append(t)
    t[2].append(t)
    t[3]["t"] = t
    yield "a tuple in itself in three ways", t
    yield "an item of the tuple in itself", t[2]
    p = Plain()
    p.me, p.them = p, [p, {"p": p}]
    yield "an object in itself", p
    r = Ring("r")
    r.set = {r, 1}
    r.frozen = frozenset([r, 2])
    yield "sets in a cycle", r
    yield "sets in a cycle, from inside", r.frozen
    yield "sets in a cycle, from the set", r.set
    loop = Loop([])
    loop.parts.append(loop)
    yield "an object in its own arguments", loop
    yield "the arguments of the object in its own arguments", loop.parts
    q = collections.deque([1], 5)
    q.append(q)
    yield "a deque in itself", q
    x, y = Listy([1]), Dicty(a=1)
    x.append(y)
    y["x"], y.attr = x, (x, y)
    yield "subclasses of list and dict", x


def shared():
    s, l, t, b = "text" * 3, [1], (1, 2), b"bytes\xff"
    ba, f, big = bytearray(b"\0\xff"), frozenset([1, 2]), 1 << 100
    yield "shared parts", [s, s, l, l, t, t, b, b, ba, ba, f, f, big, big, {"a": l, "b": t}, {"a": ba}]
    pid = Pid("storage")
    yield "shared persistent ids", [pid, pid, Pid("other")]
    x = [[]]
    for _ in range(150):
        x = [x, x]
    yield "2^150 paths", x
    yield "equal but not identical values", [[1], [1], (3, []), (3, [])]


def objects():
    p = Plain()
    p.a, p.b = 1, ["x"]
    yield "object", p
    yield "object without state", Plain()
    s = Slots()
    s.a, s.b, s.c = 1, [2], 3
    yield "slots and dict", s
    s = SlotsAlone()
    s.a = [s]
    yield "slots alone", s
    yield "namedtuple", [Point(1, 2), Point([], Point(0, 0))]
    yield "dataclass", [Data(1), Data(2, [3]), Frozen(1)]
    yield "enum", [Colour.RED, Colour.BLUE, Flag.A | Flag.B, {Colour.RED: 1}]
    yield "keyword arguments of __new__", Keywords(1, 2, a=3, b=[4])
    yield "keyword arguments of __new__, none given", Keywords(1)
    k = Keywords(x=[])
    k.made[1]["x"].append(k.made)
    yield "arguments of __new__", Args(7, [1], "x")
    l = Listy([1, [2]])
    l.attr = "a"
    yield "list with attributes", l
    d = Dicty(a=1)
    d.attr = {1: 2}
    yield "dict with attributes", d
    o = Ordered(a=1, b=2)
    o.attr = 3
    yield "OrderedDict subclass", o
    s = Sety([1, 2])
    s.attr = 1
    yield "set subclass", s
    for state in (1, "x", [1], {"a": 1}, (1, 2), ({}, {}), b"b"):
        x = State()
        x.state = state
        yield f"state {state!r}", x
    yield "nested class", Outer.Inner()
    yield "objects with dotted names", [Outer.Inner, Outer.Inner.__init__, datetime.datetime.fromtimestamp]
    o = collections.OrderedDict(a=1)
    o._metadata = collections.OrderedDict({"": {"version": 1}})
    yield "OrderedDict with _metadata", o
    yield "OrderedDicts", [collections.OrderedDict(), collections.OrderedDict([(1, 2), ("x", [3])])]


def library():
    yield "Namespace", argparse.Namespace(a=1, lr=5e-5, names=["x"], sub=argparse.Namespace(b=None))
    tz = datetime.timezone(datetime.timedelta(hours=2), "x")
    yield "datetime", [datetime.datetime(2024, 1, 31, 12, 59, 58, 123), datetime.date(1999, 12, 31), tz]
    yield "time", [datetime.timedelta(3, 4, 5), datetime.time(1, 2, 3, tzinfo=tz), datetime.datetime.now(tz)]
    yield "paths", [pathlib.PurePosixPath("/a/b"), pathlib.Path("x/y.pth"), pathlib.PureWindowsPath("c:\\x")]
    yield "deque", [collections.deque(), collections.deque([1, 2], 3), collections.deque([[]])]
    yield "Counter", [collections.Counter(), collections.Counter("hello"), collections.Counter({1: 2})]
    yield "defaultdict", [collections.defaultdict(list, a=[1]), collections.defaultdict(int), collections.defaultdict(None, x=1)]
    yield "ChainMap, UserDict", [collections.ChainMap({1: 2}, {}), collections.UserDict(a=1), collections.UserList([1])]
    yield "numbers", [complex(1, -2), complex(math.inf, 0), decimal.Decimal("1.50"), fractions.Fraction(1, 3)]
    yield "range, slice", [range(3), range(1, 100, 7), slice(1, None, 2)]
    yield "UUID", [uuid.UUID(int=5), uuid.UUID(int=1 << 127)]
    yield "array", [array.array("f", [1, 2]), array.array("q", [-1])]
    yield "partial", [functools.partial(int, "7", base=8), functools.partial(operator.add, 1)]
    yield "operator", [operator.itemgetter(1, 2), operator.attrgetter("a.b"), operator.methodcaller("f", 1, x=2)]
    yield "itertools", [itertools.count(3), itertools.repeat(1, 3), itertools.zip_longest, itertools.filterfalse]
    yield "exceptions", [ValueError("x", 1).args, KeyError("k").args, ValueError, OSError, StopIteration]
    yield "types", [int, str, list, dict, type(None), object, bytes, zip, map, filter, range, functools.reduce, chr, Plain]
    yield "SimpleNamespace", types.SimpleNamespace(a=1, b=[2])
    yield "functions", [len, math.sqrt, os.path.join, copyreg.__newobj__, pickle.loads, io.StringIO, make_keywords]
    yield "bound methods", [collections.OrderedDict.fromkeys, "x".join]
    yield "Ellipsis", [..., NotImplemented]
    yield "random state", random.Random(3).getstate()


def values():
    yield "constants", [None, True, False, (), [], {}, set(), frozenset(), b"", "", bytearray()]
    ints = [s * ((1 << n) + d) for n in (0, 7, 8, 15, 16, 29, 30, 31, 32, 47, 62, 63, 64, 65, 127, 128, 2039, 2040, 5000)
            for d in (-1, 0, 1) for s in (1, -1)]
    yield "integers", ints
    yield "floats", [0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, math.pi, -1e-7, 1e22]
    yield "texts", ["a", "é", "€", "😀", "\0", "\n\\'\"\t\r", "\ud800", "\udfff\ud800", "x" * 300, "\\u0041", "\x7f\x80\xff"]
    yield "bytes", [b"a", b"\0\xff", bytes(range(256)), b"x" * 300, b"\xc3\xa9", b"\n"]
    yield "bytearrays", [bytearray(b"a"), bytearray(range(256)), bytearray(70000)]
    yield "long text", ["y" * 200000, b"z\xff" * 100000]
    yield "tuples", [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((),)), tuple(range(2000))]
    yield "lists", [[1], list(range(1, 1000)), list(range(1001)), [[[[]]]], list(range(2500))]
    yield "dicts", [{1: 2}, {"a": {"b": {}}}, {i: str(i) for i in range(2500)}, {(1, (2,)): None, None: 1, 1.5: 2, b"x": 3}]
    yield "sets", [{1}, {"a", (1, 2)}, frozenset([frozenset([1])]), set(range(2500)), {None}]
    yield "persistent ids", [Pid("a"), [Pid("b"), (Pid("c"),)]]
    yield "depth 150", functools.reduce(lambda inner, _: [inner], range(150), [])


def numpy_values():
    try:
        import numpy as np
    except ImportError:
        return
    yield "numpy arrays", [np.arange(6.0).reshape(2, 3), np.array([], "i1"), np.array("s"), np.asfortranarray(np.ones((2, 3)))]
    yield "numpy scalars", [np.float32(1.5), np.int64(-1), np.bool_(True), np.complex64(1j), np.str_("x")]
    yield "numpy dtypes", [np.dtype("f4"), np.dtype(">i8"), np.dtype([("a", "i4"), ("b", "S3")])]
    yield "numpy objects", [np.array([None, [1]], object), np.random.RandomState(1).get_state()]


def torch_values():
    try:
        import torch
    except ImportError:
        return
    yield "torch objects", [torch.Size([1, 2]), torch.float32, torch.device("cpu"), torch.contiguous_format, torch.strided]
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    opt = torch.optim.AdamW(model.parameters())
    yield "param groups", opt.state_dict()["param_groups"]


def random_graph(rng):
    """Containers of all kinds that refer to each other at random. Hashable ones hold only hashable ones."""
    atoms = [0, -1, 300, 1 << 40, 1 << 70, 0.5, "s", "é", b"b\xff", None, True, (), Colour.RED]
    frozen = list(atoms)
    for _ in range(rng.randrange(12)):
        pick = [rng.choice(frozen) for _ in range(rng.randrange(6))]
        frozen.append(rng.choice([tuple(pick), frozenset(pick), Frozen(1, "y"), Point(1, tuple(pick)), " ".join(map(str, pick))]))
    kinds = [list, dict, set, collections.OrderedDict, Plain, Listy, Dicty, collections.deque, lambda: ([], [], 1), bytearray]
    nodes = [rng.choice(kinds)() for _ in range(rng.randrange(1, 12))]
    for node in nodes:
        for _ in range(rng.randrange(5)):
            value = rng.choice(nodes + frozen)
            if isinstance(node, (list, collections.deque)):
                node.append(value)
            elif isinstance(node, dict):
                node[rng.choice(frozen)] = value
                if not type(node) is dict and rng.random() < 0.3:
                    node.attr = rng.choice(nodes)
            elif isinstance(node, set):
                node.add(rng.choice(frozen))
            elif isinstance(node, tuple):
                node[rng.randrange(2)].append(value)
            elif isinstance(node, Plain):
                setattr(node, rng.choice("abc"), value)
    return nodes


def corpus():
    for make in (values, shared, objects, library, cycles, numpy_values, torch_values):
        for name, obj in make():
            for protocol in range(6):
                try:
                    data = dumps(obj, protocol)
                    loads(data)
                except Exception:  # some objects cannot be written in some protocols
                    continue
                yield f"{name}, protocol {protocol}", data
    rng = random.Random(20240131)
    for i in range(400):
        protocol = i % 6
        try:
            data = dumps(random_graph(rng), protocol)
            loads(data)
        except Exception:
            continue
        yield f"random graph {i}, protocol {protocol}", data


def by_hand():
    """Pickles of Python 2 and others that current Python does not write."""
    yield "Python 2, protocol 0", b"(lp0\nS'a\\n'\np1\naVu\\u20ac\np2\naI1\naI01\naL5L\naF1.5\na(dp3\nS'k'\np4\nI2\nsa."
    yield "Python 2, OrderedDict", b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'k'\naI1\naa(S'z'\nI2\nlatp2\nRp3\n."
    yield "Python 2, set and xrange", b"\x80\x02(c__builtin__\nset\n]q\x00(K\x01K\x02e\x85Rc__builtin__\nxrange\nK\x03\x85Rt."
    yield "Python 2, object", b"ccopy_reg\n_reconstructor\n(c__main__\nPlain\nc__builtin__\nobject\nNtR(dS'a'\nI1\nsb."
    yield "an instance", b"(i__main__\nPlain\n(dS'a'\nI1\nsb."
    yield "an instance with arguments", b"(I1\nI2\ni__main__\nData\n."
    yield "OBJ", b"(c__main__\nPlain\no}X\x01\x00\x00\x00aK\x01sb."
    yield "OBJ with arguments", b"(c__main__\nData\nK\x01]o."
    yield "OBJ of a function", b"(c__builtin__\nlist\no."
    yield "DUP, POP, POP_MARK", b"(K\x012K\x030(K\x01K\x021t."
    yield "sparse memo", b"\x80\x02]r\x00\x00\x00\x40(K\x01q\x07r\x10\x27\x00\x00h\x07j\x10\x27\x00\x00j\x00\x00\x00\x40e."
    yield "text persistent id", b"Pabc\n."
    yield "no use of the memo", b"\x80\x02}(X\x01\x00\x00\x00a]K\x01aX\x01\x00\x00\x00b](K\x01K\x02eu."
    yield "set with the opcode, in a dict", b"\x80\x04}\x8c\x01s\x8f(K\x01K\x02\x90s."
    yield "bytes, empty, of Python 3 protocol 2", pickle.dumps([b"", bytearray()], 2)


def main():
    t = tap.Tap()
    cases = list(corpus()) + list(by_hand())
    results = copies([data for _, data in cases])
    t.eq(len(results), len(cases), "the driver answers for each pickle")
    for (name, data), result in zip(cases, results):
        options = {"encoding": "utf-8"} if name.startswith(("Python 2", "an instance", "OBJ")) else {}
        try:
            if isinstance(result, str):
                raise Different(result)
            Same().check(loads(data, **options), loads(result))
            ops = {op.name for op, _, _ in pickletools.genops(result)} - ALLOWED
            if not ops <= {"LONG4", "POP", "POP_MARK"} | ({"OBJ"} if name.startswith(("an instance", "OBJ")) else set()):
                raise Different(f"opcodes {ops}")
        except Exception as err:
            t.ok(False, name)
            t.note(f"{type(err).__name__} {err}")
            t.note(data[:200])
            t.note(result[:200])
        else:
            t.ok(True, name)
    generated(t)
    limits(t)
    t.done()


def generated(t):
    try:
        from hypothesis import HealthCheck, given, seed, settings, strategies as st
    except ImportError:
        t.skip("this Python has no hypothesis")
        return
    keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.floats(allow_nan=False))
    leaves = keys | st.floats() | st.complex_numbers() | st.datetimes() | st.decimals(allow_nan=False) | st.uuids()
    leaves |= st.binary().map(bytearray) | st.frozensets(keys) | st.sets(keys) | st.fractions() | st.timedeltas()
    tree = st.recursive(
        leaves,
        lambda inner: st.lists(inner)
        | st.dictionaries(keys, inner)
        | st.dictionaries(keys, inner).map(collections.OrderedDict)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(collections.deque)
        | st.builds(Data, inner, st.lists(inner))
        | st.builds(Point, inner, inner),
        max_leaves=40,
    )
    made = []

    @seed(7)
    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tree, st.integers(0, 5))
    def collect(value, protocol):
        made.append(dumps(value, protocol))

    collect()
    wrong = 0
    for data, result in zip(made, copies(made)):
        try:
            Same().check(loads(data), loads(result))
        except Exception as err:
            wrong += 1
            t.note(f"{type(err).__name__} {err}")
            t.note(data[:200])
    t.ok(wrong == 0 and len(made) >= 200, f"{len(made)} values that hypothesis generated stay equal")


def limits(t):
    results = copies([b"]" * 500 + b"a" * 499 + b".", b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.", b"\x8f\x94(h\x00\x90."])
    t.ok(isinstance(results[0], str) and "nested" in results[0], "nesting of 500 is refused")
    t.ok(isinstance(results[1], str) and "line break" in results[1], "a module name with a line break is refused")
    t.ok(isinstance(results[2], str) and "nested" in results[2], "a set in itself is refused")


if __name__ == "__main__":
    main()
