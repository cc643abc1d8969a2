"""Compares two graphs of Python objects: values, types, identities and cycles."""

import collections
import struct
import types

ATOMS = (type(None), bool, int, str, bytes, type, types.FunctionType, types.BuiltinFunctionType, type(Ellipsis))
KINDS = (list, dict, collections.OrderedDict, tuple, set, frozenset, bytearray)


class Different(Exception):
    pass


class Same:
    """Walks two graphs side by side. If an object is met again, it must be paired with the same object as before."""

    def __init__(self):
        self.pairs = {}
        self.keep = []

    def check(self, a, b, where="x"):
        todo = [(a, b, where)]
        while todo:
            self.one(*todo.pop(), todo)

    def differ(self, where, a, b):
        raise Different(f"{where}: {a!r:.200} {b!r:.200}")

    def one(self, a, b, where, todo):
        if type(a) is not type(b):
            self.differ(where, type(a), type(b))
        if isinstance(a, ATOMS) or a is b:
            if a != b:
                self.differ(where, a, b)
            return
        if isinstance(a, float):
            if struct.pack(">d", a) != struct.pack(">d", b):
                self.differ(where, a, b)
            return
        if not (isinstance(a, (tuple, frozenset)) and len(a) == 0):
            for table, key, value in ((self.pairs, id(a), id(b)), (self.pairs, -id(b), -id(a))):
                if table.setdefault(key, value) != value:
                    self.differ(where, "another identity", (a, b))
            if ("seen", id(a)) in self.pairs:
                return
            self.pairs[("seen", id(a))] = True
        self.keep += [a, b]
        self.parts(a, b, where, todo)

    def parts(self, a, b, where, todo):
        kind = type(a)
        if kind in (list, tuple):
            if len(a) != len(b):
                self.differ(where, a, b)
            todo += [(x, y, f"{where}[{i}]") for i, (x, y) in enumerate(zip(a, b))]
        elif kind in (dict, collections.OrderedDict):
            if len(a) != len(b):
                self.differ(where, a, b)
            todo += [(x, y, f"{where} key {i}") for i, (x, y) in enumerate(zip(a, b))]
            todo += [(x, y, f"{where}.{i}") for i, (x, y) in enumerate(zip(a.values(), b.values()))]
            if kind is collections.OrderedDict:
                todo.append((a.__dict__, b.__dict__, f"{where}.__dict__"))
        elif kind in (set, frozenset, bytearray):
            if kind is bytearray and a != b or len(a) != len(b):
                self.differ(where, a, b)
            if kind is not bytearray:
                todo.append((sorted(a, key=order), sorted(b, key=order), f"{where} items"))
                self.keep.append(todo[-1])
        else:
            x, y = reduced(a), reduced(b)
            self.keep += [x, y]
            todo.append((x, y, f"{where} of {kind.__name__}"))


def order(item):
    return (type(item).__name__, item.name if hasattr(item, "name") else repr(item))


def reduced(obj):
    """The parts that determine an object."""
    if hasattr(obj, "persistent_key"):
        return [obj.persistent_key]
    out = obj.__reduce_ex__(4)
    if isinstance(out, str):
        return [out]
    return [list(part) if i >= 3 and part is not None else part for i, part in enumerate(out)]
