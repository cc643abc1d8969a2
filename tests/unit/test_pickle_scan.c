/* pickle_scan: globals, verdicts, reasons. tests/torch/test_pickle_scan.py compares the verdicts with torch. */
#include "format/scan.h"

#include "base/buf.h"
#include "tap.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static int
found(void *arg, const struct pickle_found *f, struct err *err)
{
	static const char *const how[] = { "", "stack ", "computed ", "inst " };

	(void)err;
	buf_addf(arg, "%s%s %u@%" PRIu64 " %.*s.%.*s\n", how[f->ref], pickle_verdict_text(f->verdict), f->pickle, f->off,
		 STR_ARG(f->module), STR_ARG(f->name));
	return 0;
}

static struct pickle_scan
scan(const char *p, size_t n, bool legacy, struct buf *globals)
{
	struct pickle_scan s = { .found = found, .arg = globals, .rest = true, .legacy = legacy };
	struct source *src = source_memory(p, n, "mem");
	struct err err = ERR_INIT;

	buf_clear(globals);
	buf_adds(globals, "");
	if (pickle_scan(&s, src, 0, n, &err) < 0)
		tap_bail(err.msg);
	source_close(src);
	return s;
}

/* why NULL: torch would load it. */
static void
says(const char *p, size_t n, const char *why, uint64_t off, const char *globals)
{
	struct buf b = BUF_INIT;
	struct pickle_scan s = scan(p, n, false, &b);

	is_str(s.loads ? NULL : s.why, why, why ? why : "it loads");
	is_uint(s.why_off, off, "the offset of the refused opcode is right");
	is_str(b.p ? b.p : "", globals, "the globals");
	buf_release(&b);
}

static void
reasons(void)
{
	says(BYTES("\x80\2}X\1\0\0\0aK\1s."), NULL, 0, "");
	says(BYTES("\x80\2ccollections\nOrderedDict\n)RX\1\0\0\0aK\1s}b."), NULL, 0, "allowed 0@2 collections.OrderedDict\n");
	says(BYTES("\x80\2cos\nsystem\nX\2\0\0\0id\x85R."), "GLOBAL os.system was not an allowed global by default", 2,
	     "unsafe 0@2 os.system\n");
	says(BYTES("\x80\2cargparse\nNamespace\n)\x81}b."), "GLOBAL argparse.Namespace was not an allowed global by default", 2,
	     "unknown 0@2 argparse.Namespace\n");
	says(BYTES("\x80\2c__builtin__\neval\n."), "GLOBAL builtins.eval was not an allowed global by default", 2,
	     "unsafe 0@2 __builtin__.eval\n");
	says(BYTES("\x80\2ctorch.distributed.tensor\nDTensor\n."),
	     "GLOBAL torch.distributed.tensor.DTensor was not an allowed global by default", 2,
	     "unknown 0@2 torch.distributed.tensor.DTensor\n");
	says(BYTES("\x80\4\x95\2\0\0\0\0\0\0\0N."), "Unsupported operand 149 (FRAME)", 2, "");
	says(BYTES("N\n."), "Unsupported operand 10", 1, "");
	says(BYTES("\x80\2(X\2\0\0\0osX\6\0\0\0systemt0K\1K\2\x93."), "Unsupported operand 48 (POP)", 22,
	     "computed unsafe 0@27 .\n");
	says(BYTES("\x8c\2os\x8c\6system\x93."), "Unsupported operand 140 (SHORT_BINUNICODE)", 0, "stack unsafe 0@12 os.system\n");
	says(BYTES("(ios\nsystem\n."), "Unsupported operand 105 (INST)", 1, "inst unsafe 0@1 os.system\n");
	says(BYTES(")K\1a."), "Can only append to lists", 3, "");
	says(BYTES(")(K\1e."), "Can only append to lists", 4, "");
	says(BYTES("]K\1K\2s."), "Can only SETITEM for dict, collections.OrderedDict, collections.Counter", 5, "");
	says(BYTES("}]K\1s."), "a dict with such a key: torch.save writes nothing of the kind", 4, "");
	says(BYTES("}}b."), "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`", 2, "");
	says(BYTES("h\1."), "memo entry 1 was never stored", 0, "");
	says(BYTES("U\1\xff."), "a string that is not UTF-8", 0, "");
	says(BYTES("K\1Q."), "a persistent id with such parts: torch.save writes nothing of the kind", 2, "");
	says(BYTES("X\1\0\0\0aQ."), "a persistent id with such parts: torch.save writes nothing of the kind", 6, "");
	says(BYTES("K\1\x85Q."), "Only persistent_load of storage is allowed", 3, "");
	says(BYTES("X\1\0\0\0a)R."), "Trying to call reduce for unrecognized function", 7, "");
	says(BYTES("ctorch\nfloat32\n)R."), "float32 with such arguments: torch.save writes nothing of the kind", 16,
	     "tensor 0@0 torch.float32\n");
	says(BYTES("K\1"), "mem: at byte 2: the record ends within a pickle", 0, "");
	says(BYTES("cos\nsystem\nK"), "GLOBAL os.system was not an allowed global by default", 0, "unsafe 0@0 os.system\n");
}

/* The persistent id of a storage has five parts in a zip and six in a legacy stream. */
static void
storages(void)
{
	static const char zip[] = "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\4tQ.";
	static const char old[] = "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\4NtQ.";
	struct buf b = BUF_INIT;

	ok(scan(zip, sizeof(zip) - 1, false, &b).loads);
	is_str(scan(zip, sizeof(zip) - 1, true, &b).why, "a persistent id of 5 parts instead of 6",
	       "a persistent id of five parts is refused in a legacy stream");
	ok(scan(old, sizeof(old) - 1, true, &b).loads);
	is_str(scan(old, sizeof(old) - 1, false, &b).why, "a persistent id of 6 parts instead of 5",
	       "a persistent id of six parts is refused in a zip");
	buf_release(&b);
}

static void
behind(void)
{
	static const char two[] = "\x80\2N.\x80\2cos\nsystem\n.junk", zeros[] = "N.\0\0\0", cut[] = "cos\nsystem\nK\1\xff";
	struct buf b = BUF_INIT;
	struct pickle_scan s = scan(two, sizeof(two) - 1, false, &b);

	ok(s.loads && !s.broken);
	is_uint(s.end, 4, "the end of the first pickle is reported");
	is_uint(s.extra, 18, "the bytes after the first pickle are counted");
	is_uint(s.more, 1, "the pickles after the first one are counted");
	is_str(b.p, "unsafe 1@6 os.system\n", "a global after STOP is reported");
	s = scan(zeros, sizeof(zeros) - 1, false, &b);
	ok(s.loads && s.extra == 3 && s.more == 0);
	s = scan(cut, sizeof(cut) - 1, false, &b);
	ok(s.broken && s.end == 13 && s.extra == 0);
	is_str(s.damage, "mem: at byte 13: byte 0xff is not a pickle opcode", "damage");
	is_str(b.p, "unsafe 0@0 os.system\n", "a global before damage is reported");
	buf_release(&b);
}

static int
stop(void *arg, const struct pickle_found *f, struct err *err)
{
	(void)arg, (void)f;
	return err_set(err, ERR_USAGE, "enough");
}

static void
stopped(void)
{
	struct pickle_scan s = { .found = stop };
	struct source *src = source_memory(BYTES("cos\nsystem\n."), "mem");
	struct err err = ERR_INIT;

	ok(pickle_scan(&s, src, 0, UINT64_MAX, &err) < 0);
	is_str(err.msg, "enough", "an error of the callback ends the scan");
	source_close(src);
}

static int
note_verdict(void *arg, const struct pickle_found *f, struct err *err)
{
	(void)err;
	*(enum pickle_verdict *)arg = f->verdict;
	return 0;
}

/* The verdict of the scan on a global that a pickle names. */
static enum pickle_verdict
verdict_of(struct str module, struct str name)
{
	enum pickle_verdict v = GLOBAL_ALLOWED;
	struct pickle_scan s = { .found = note_verdict, .arg = &v };
	struct buf b = BUF_INIT;
	struct source *src;
	struct err err = ERR_INIT;

	buf_addc(&b, 'c');
	buf_addstr(&b, module);
	buf_addc(&b, '\n');
	buf_addstr(&b, name);
	buf_adds(&b, "\n.");
	src = source_memory(b.p, b.len, "mem");
	ok(pickle_scan(&s, src, 0, b.len, &err) == 0);
	source_close(src);
	buf_release(&b);
	return v;
}

static void
verdicts(void)
{
	static const struct {
		const char *module, *name;
		enum pickle_verdict verdict;
	} all[] = {
		{ "torch", "BFloat16Storage", GLOBAL_TENSOR },
		{ "torch.cuda", "FloatStorage", GLOBAL_TENSOR },
		{ "torch.cuda", "QInt8Storage", GLOBAL_UNKNOWN },
		{ "torch.sparse", "FloatTensor", GLOBAL_TENSOR },
		{ "torch.sparse", "BoolTensor", GLOBAL_UNKNOWN },
		{ "torch.nn", "parameter.Parameter", GLOBAL_TENSOR },
		{ "__builtin__", "set", GLOBAL_ALLOWED },
		{ "__builtin__", "frozenset", GLOBAL_UNKNOWN },
		{ "numpy.core.multiarray", "scalar", GLOBAL_UNKNOWN },
		{ "osmium", "x", GLOBAL_UNKNOWN },
		{ "os.path", "join", GLOBAL_UNSAFE },
		{ "mymodel.os", "system", GLOBAL_UNSAFE },
		{ "mymodel", "os.system", GLOBAL_UNSAFE },
		{ "mymodel", "system", GLOBAL_UNKNOWN },
		{ "mymodel", "Net.__init__.__globals__", GLOBAL_UNSAFE },
		{ "builtins", "getattr", GLOBAL_UNSAFE },
		{ "__builtin__", "reduce", GLOBAL_UNSAFE },
		{ "", "", GLOBAL_UNKNOWN },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		ok_msg(verdict_of(str_c(all[i].module), str_c(all[i].name)) == all[i].verdict, "%s %s is %s", all[i].module,
		       all[i].name, pickle_verdict_text(all[i].verdict));
	ok_msg(verdict_of(str_n("os\0", 3), str_c("system")) == GLOBAL_UNSAFE, "a name with a NUL is unsafe");
}

int
main(void)
{
	reasons();
	storages();
	behind();
	stopped();
	verdicts();
	return tap_done();
}
