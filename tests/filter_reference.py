#!/usr/bin/env python3
"""An independent implementation of lnn-rules(5), and a comparison with lnn-filter.

Usage: filter_reference.py [ROUNDS [SEED]]    (lnn-filter is found in PATH; only Python's own library is needed)

Random lists go through random rules, groups and metadata in lnn-filter and in the functions below. The output and the exit status must
be equal. Rules are written as JSON, which is YAML. A failure leaves its files in the folder that it names.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

# ---- the meaning of rules


class Missing(Exception):
    """A rule that was reached needs a shape or a layer type that is missing."""


def plain(name):
    return name[7:] if name.startswith("module.") else name


def stage_of(name, stages):
    found = None
    for stage, patterns in stages.items():
        if any(p in name for p in patterns):
            found = stage
    return found


def need(value):
    if value is None:
        raise Missing
    return value


def matches(rule, t, env):
    """t: dict of name, shape (list or None), layer (text or None); env: stages, reference."""
    kind, name = rule["TYPE"].lower(), plain(t["name"])
    if kind == "name":
        how = rule.get("MATCH_TYPE", "contains").lower()
        test = {
            "contains": lambda p: p in name,
            "startswith": name.startswith,
            "endswith": name.endswith,
            "regex": lambda p: re.search(p, name) is not None,
        }[how]
        return any(test(p) for p in rule["PATTERNS"])
    if kind == "dimension":
        return len(need(t["shape"])) in rule["DIMENSIONS"]
    if kind == "convolutional":
        if len(need(t["shape"])) != 4:
            return False
        if rule.get("NAME_PATTERNS") and not any(p in name for p in rule["NAME_PATTERNS"]):
            return False
        return not rule.get("LAYER_TYPES") or need(t["layer"]) in rule["LAYER_TYPES"]
    if kind == "layer_type":
        return need(t["layer"]) in rule["LAYER_TYPES"]
    if kind == "initialization":
        if env["reference"] is None or name not in env["reference"]:
            return True
        return env["reference"][name] != need(t["shape"])
    if kind == "stage_based":
        return stage_of(name, env["stages"]) in rule["STAGES"]
    if kind == "and":
        return all(matches(r, t, env) for r in rule["FILTERS"])
    if kind == "or":
        return any(matches(r, t, env) for r in rule["FILTERS"])
    return not matches(rule["FILTER" if kind == "not" else "EXCEPT"], t, env)


def is_buffer(t):
    if t["kind"]:
        return t["kind"] == "buffer"
    ends = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
    return t["dtype"] in ("int64", "bool", "uint8") or t["name"].endswith(ends)


def run_rule(rule, tensors, env, invert):
    out = []
    for t in tensors:
        if not is_buffer(t) and matches(rule, t, env) != invert:
            out.append(t["line"])
    return out


def groups_of(groups, t, env, first):
    """The groups of a tensor in order. A trained tensor without a group is in DEFAULT."""
    found = []
    for group, settings in groups.items():
        if group in ("ENABLED", "DEFAULT"):
            continue
        if matches(settings["FILTER"], t, env):
            found.append(group)
            if first:
                break
    if not found and t["grad"] is not False:
        found = ["DEFAULT"]
    return found


def run_groups(groups, tensors, env, first):
    return [f"{g}\t{t['line']}" for t in tensors if not is_buffer(t) for g in groups_of(groups, t, env, first)]


def run_metadata(metadata, tensors):
    out, used = [], set()
    flat = []
    for category, value in metadata.items():
        for key, patterns in value.items() if isinstance(value, dict) else [(None, value)]:
            flat.append((f"{category}.{key}" if key else category, patterns))
    for t in tensors:
        if is_buffer(t):
            continue
        for title, patterns in flat:
            hits = [p for p in patterns if p in plain(t["name"])]
            used.update((title, p) for p in hits)
            if hits:
                out.append(f"{title}\t{t['line']}")
    dead = any((title, p) not in used for title, patterns in flat for p in patterns)
    return out, dead


def run_inspect(groups, tensors, env):
    """The names of every optimizer group, as training forms them."""
    default = groups.get("DEFAULT", {})
    default_optimizer = default.get("OPTIMIZER", "adamw")
    shares = {}
    for group, settings in groups.items():
        if group not in ("ENABLED", "DEFAULT"):
            shares[group] = []
    rest = ["DEFAULT_MUON", "DEFAULT_ADAMW"] if default_optimizer.lower() == "muon" else ["DEFAULT"]
    included, excluded = [], []
    late = {name: [] for name in rest}
    for t in tensors:
        if is_buffer(t):
            continue
        for group in groups_of(groups, t, env, False):
            optimizer = groups.get(group, {}).get("OPTIMIZER", default_optimizer).lower()
            flat = optimizer == "muon" and len(need(t["shape"])) not in (2, 4)
            if group == "DEFAULT":
                late[rest[1 if flat else 0]].append(t["name"])
            else:
                shares.setdefault(group + "_ADAMW" if flat else group, []).append(t["name"])
        out = t["grad"] is False or "head" in plain(t["name"]) or "meta_" in plain(t["name"])
        (excluded if out else included).append(t["name"])
    shares.update(late)
    return shares, included, excluded


# ---- random inputs

PARTS = [
    "head", "headroom", "meta_time_1", "stem", "stages", "stage_3", "attn", "qkv", "norm", "prenorm", "bn", "conv", "freqs",
    "cls_token", "weight", "bias", "module", "gamma", "0", "1", "2", "10", "ä", "Ünorm", "a b", "x+y", "(p)", "*", "\t", "\\",
]
LAYERS = ["Linear", "Conv2d", "LayerNorm", "BatchNorm2d", "Two Words"]
REGEXES = [
    r"^head", r"\.(0|1)\.", r"norm$", r"\bnorm\b", r"(?i)HEAD", r"stages?\.\d+", r"[^a-z.]", r"(a|b)+", r"(?<!pre)norm",
    r"^(?!.*bias$)", r"\w+\.\w+$", r"(.)\1", r"ä|ü", r"\d{2,}", r".*?weight", r"^$", r"\s", r"(?P<x>n)orm", r"\.bias\Z", r"[\w]\.",
]
STAGES = ["early", "late", "freqs", "two words"]


def escape(text):
    text = text.replace("\\", "\\\\").replace("\t", "\\t")
    return "\\e" if text == "" else "\\" + text if text.startswith("#") else text


def random_pattern(rng):
    part = rng.choice(PARTS)
    start = rng.randrange(len(part))
    part = part[start:start + rng.randint(1, 6)]
    return rng.choice(["", "."]) + part + rng.choice(["", "", "."])


def random_patterns(rng):
    return [random_pattern(rng) for _ in range(rng.randint(1, 4))]


def random_tensor(rng, complete):
    name = ".".join(rng.choice(PARTS) for _ in range(rng.randint(1, 5)))
    if rng.random() < 0.1:
        name = "module." + name
    if rng.random() < 0.05:
        name += rng.choice([".running_mean", ".num_batches_tracked", ".relative_position_index"])
    t = {
        "name": name,
        "dtype": rng.choice(["float32"] * 8 + ["bfloat16", "int64", "bool"]),
        "shape": [rng.randint(0, 5) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 4, 5]))],
        "layer": rng.choice(LAYERS),
        "kind": "buffer" if rng.random() < 0.05 else None,
        "grad": False if rng.random() < 0.1 else True if rng.random() < 0.05 else None,
    }
    if not complete and rng.random() < 0.2:
        t["layer"] = None
    if not complete and rng.random() < 0.1:
        t["shape"] = None
    fields = [escape(name), t["dtype"]]
    if t["shape"] is not None:
        fields.append("[" + ",".join(map(str, t["shape"])) + "]")
    else:
        fields.append("")
    rest = []
    if t["layer"]:
        rest.append("layer_type=" + t["layer"])
    if t["kind"]:
        rest.append("kind=" + t["kind"])
    if t["grad"] is not None:
        rest.append("requires_grad=" + str(t["grad"]).lower())
    if rng.random() < 0.1:
        rest.append("other=1")
    rng.shuffle(rest)
    t["line"] = "\t".join(fields + rest)
    return t


def any_case(rng, word):
    return rng.choice([word, word.upper(), word.capitalize()])


def random_rule(rng, depth):
    kinds = ["name", "name", "name", "dimension", "convolutional", "layer_type", "initialization", "stage_based"]
    if depth > 0:
        kinds += ["and", "or", "not", "all_except"] * 2
    kind = rng.choice(kinds)
    rule = {"TYPE": any_case(rng, kind)}
    if kind == "name":
        how = rng.choice(["contains", "startswith", "endswith", "regex", None])
        rule["PATTERNS"] = random_patterns(rng)
        if how == "regex":
            rule["PATTERNS"] = [rng.choice(REGEXES) for _ in range(rng.randint(1, 3))]
        if how:
            rule["MATCH_TYPE"] = any_case(rng, how)
    elif kind == "dimension":
        rule["DIMENSIONS"] = rng.sample(range(6), rng.randint(1, 3))
    elif kind == "convolutional":
        if rng.random() < 0.5:
            rule["NAME_PATTERNS"] = rng.choice([None, [], random_patterns(rng)])
        if rng.random() < 0.5:
            rule["LAYER_TYPES"] = rng.choice([None, [], rng.sample(LAYERS, 2)])
    elif kind == "layer_type":
        rule["LAYER_TYPES"] = rng.sample(LAYERS, rng.randint(1, 3))
        if rng.random() < 0.3:
            rule["model"] = "@MODEL"
    elif kind == "stage_based":
        rule["STAGES"] = rng.sample(STAGES + ["no such stage"], rng.randint(1, 2))
    elif kind in ("and", "or"):
        rule["FILTERS"] = [random_rule(rng, depth - 1) for _ in range(rng.randint(1, 4))]
    elif kind == "not":
        rule["FILTER"] = random_rule(rng, depth - 1)
    elif kind == "all_except":
        rule["EXCEPT"] = random_rule(rng, depth - 1)
    return rule


def random_groups(rng):
    groups = {"ENABLED": rng.choice([True, False])}
    for i in range(rng.randint(1, 5)):
        group = {"FILTER": random_rule(rng, 2)}
        if rng.random() < 0.5:
            group["OPTIMIZER"] = rng.choice(["adamw", "muon", "Muon", "sgd"])
        groups[f"G{i}"] = group
    if rng.random() < 0.5:
        groups["DEFAULT"] = {"OPTIMIZER": rng.choice(["adamw", "muon"]), "LR_MULTIPLIER": 1.0}
    return groups


# ---- comparison


class Differs(Exception):
    pass


def call(args, where):
    run = subprocess.run(["lnn-filter", *args], cwd=where, capture_output=True, stdin=subprocess.DEVNULL)
    return run.returncode, run.stdout.decode().splitlines(), run.stderr.decode()


def expect(what, got, expected_status, expected_lines):
    status, lines, stderr = got
    if status != expected_status:
        raise Differs(f"{what}: status {status}, not {expected_status}\n{stderr}")
    if expected_lines is not None and lines != expected_lines:
        raise Differs(f"{what}: printed\n" + "\n".join(lines) + "\ninstead of\n" + "\n".join(expected_lines))


def with_missing(what, got, function):
    """A rule that was reached and lacks data gives status 2."""
    try:
        lines = function()
    except Missing:
        expect(what, got, 2, None)
        return
    expect(what, got, 0 if lines else 1, lines)


def one_round(rng, where):
    def put(name, text):
        with open(os.path.join(where, name), "w", encoding="utf-8", newline="\n") as f:
            f.write(text)

    tensors = [random_tensor(rng, rng.random() < 0.8) for _ in range(rng.randint(1, 60))]
    stages = {s: random_patterns(rng) for s in STAGES}
    metadata = {"stages": stages, "embeddings": random_patterns(rng), "heads": {"h": random_patterns(rng)}}
    reference = {}
    for t in rng.sample(tensors, len(tensors) // 2):
        if t["shape"] is not None:
            reference[plain(t["name"])] = t["shape"] if rng.random() < 0.6 else t["shape"] + [1]
    env = {"stages": stages, "reference": reference}
    rule, groups = random_rule(rng, 3), random_groups(rng)

    put("list.tsv", "".join(t["line"] + "\n" for t in tensors))
    put("model.yaml", json.dumps({"parameter_groups_metadata": metadata}, ensure_ascii=False))
    put("ref.yaml", json.dumps({"state_dict": [{"name": n, "shape": s} for n, s in reference.items()]}, ensure_ascii=False))
    put("rule.yaml", json.dumps(rule, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1])))
    put("exp.yaml", json.dumps({"OPTIMIZER": {"PARAMETER_GROUPS": groups}}, ensure_ascii=False))

    with_ref = ["-r", "ref.yaml"] if reference else []
    if not reference:
        env["reference"] = None
    common = ["-m", "model.yaml", *with_ref]
    invert = rng.random() < 0.5
    with_missing(
        "rule", call(["-c", "rule.yaml", *(["-v"] if invert else []), *common, "list.tsv"], where),
        lambda: run_rule(rule, tensors, env, invert))
    with_missing(
        "explain", explained(call(["-c", "rule.yaml", "--explain", *common, "list.tsv"], where)),
        lambda: run_rule(rule, tensors, env, False))
    first = rng.random() < 0.5
    with_missing(
        "groups", call(["-c", "exp.yaml", *(["--first-match"] if first else []), *common, "list.tsv"], where),
        lambda: run_groups(groups, tensors, env, first))
    lines, dead = run_metadata(metadata, tensors)
    expect("metadata", call(["--metadata", "-m", "model.yaml", "list.tsv"], where), 1 if dead else 0, lines)
    compare_inspect(call(["-c", "exp.yaml", "--inspect", "--format=json", *common, "list.tsv"], where), groups, tensors, env)


def explained(got):
    """The lines for which --explain prints yes."""
    status, lines, stderr = got
    return status, [line[4:] for line in lines if line.startswith("yes\t")], stderr


def compare_inspect(got, groups, tensors, env):
    try:
        shares, included, excluded = run_inspect(groups, tensors, env)
    except Missing:
        expect("inspect", got, 2, None)
        return
    expect("inspect", got, 0 if any(not is_buffer(t) for t in tensors) else 1, None)
    have = json.loads("\n".join(got[1]))
    if {k: v["matched_names"] for k, v in have["groups"].items()} != shares:
        raise Differs(f"inspect: {have['groups']}\ninstead of\n{shares}")
    if have["gradnorm"]["included"] != included or have["gradnorm"]["excluded"] != excluded:
        raise Differs("inspect: GradNorm differs")
    if have["enabled"] != groups["ENABLED"]:
        raise Differs("inspect: enabled differs")
    by_name = {}
    for t in tensors:
        by_name.setdefault(t["name"], []).append(t)
    for title, share in have["groups"].items():
        if len(share["matched_names"]) != share["matched_count"]:
            raise Differs(f"inspect: {title} counts {share['matched_count']}")
        same = [by_name[n] for n in share["matched_names"]]
        if all(len(ts) == 1 and ts[0]["shape"] is not None for ts in same):
            total = 0
            for (t,) in same:
                size = 1
                for n in t["shape"]:
                    size *= n
                total += size
            if share["total_params"] != total:
                raise Differs(f"inspect: {title} has {total} elements, not {share['total_params']}")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    where = tempfile.mkdtemp(prefix="lnn-filter-reference-")
    for i in range(rounds):
        try:
            one_round(random.Random(seed * 1000003 + i), where)
        except Differs as e:
            print(f"round {i} of seed {seed}, files in {where}:\n{e}")
            sys.exit(1)
    shutil.rmtree(where)
    print(f"{rounds} rounds agree")


if __name__ == "__main__":
    main()
