/* Tensor lists: lines are read and written. The lines were written by hand from lnn-tensors(5). */
#include "model/list.h"

#include <unistd.h>

#include "tap.h"

/* Reads text as a list and adds its names and line numbers to *names. Returns 0 at the end, -1 on an error. */
static int
read_names(const char *text, size_t len, bool null, struct buf *names, struct err *err)
{
	struct source *src = source_memory(text, len, "list");
	struct list_reader r;
	struct list_line line;
	int rc;

	list_open(&r, src, null);
	while ((rc = list_next(&r, &line, err)) == 1) {
		buf_addstr(names, line.entry.name);
		buf_addf(names, "|%u\n", (unsigned)line.number);
	}
	list_release(&r);
	source_close(src);
	return rc;
}

/* Reads the fields of line number 7 of the list f. The contents of entry are valid until list_release. */
static int
parse(struct list_reader *r, const char *line, struct entry *entry, struct err *err)
{
	struct buf text = BUF_INIT;
	struct source *src;
	struct list_line out;
	int rc;

	buf_adds(&text, "\n\n\n\n\n\n");
	buf_adds(&text, line);
	src = source_memory(text.p, text.len, "f");
	list_open(r, src, false);
	rc = list_next(r, &out, err) == 1 ? 0 : -1;
	*entry = out.entry;
	source_close(src);
	buf_release(&text);
	return rc;
}

static void
test_lines(void)
{
	static const char text[] = "# a comment\n"
				   "a.weight\tfloat32\t[3,4]\n"
				   "\n"
				   "  \t \n"
				   "b\n"
				   "\\#c\t\t[]\r\n"
				   "\\e\n"
				   "d\\te\\x1b\\\\\n"
				   "last";
	struct buf names = BUF_INIT;
	struct err err = ERR_INIT;

	ok(read_names(text, sizeof(text) - 1, false, &names, &err) == 0);
	is_str(names.p, "a.weight|2\nb|5\n#c|6\n|7\nd\te\x1b\\|8\nlast|9\n", "names and line numbers are right");
	buf_release(&names);
}

static void
test_null(void)
{
	static const char text[] = "#a\0b\tc\nd\0\\e\0end";
	struct buf names = BUF_INIT;
	struct err err = ERR_INIT;

	ok(read_names(text, sizeof(text) - 1, true, &names, &err) == 0);
	is_str(names.p, "#a|1\nb\tc\nd|2\n\\e|3\nend|4\n", "records that end in NUL have raw names");
	buf_release(&names);
}

static void
test_fields(void)
{
	struct list_reader r;
	struct err err = ERR_INIT;
	struct entry x;

	ok(parse(&r, "n\tbfloat16\t[2,0,7]\tkind=buffer\tx=y\tlayer_type=A\\tB\trequires_grad=false", &x, &err) == 0);
	is_int(x.dtype, DTYPE_BFLOAT16, "dtype");
	ok(x.has_shape && x.ndim == 3 && x.shape[0] == 2 && x.shape[1] == 0 && x.shape[2] == 7);
	is_int(x.kind, ENTRY_BUFFER, "kind");
	is_int(x.requires_grad, GRAD_FALSE, "requires_grad");
	ok(str_eqc(x.layer_type, "A\tB"));
	list_release(&r);
	ok(parse(&r, "n\tfuture16\t[]", &x, &err) == 0);
	ok_msg(x.dtype == DTYPE_UNKNOWN && x.has_shape && x.ndim == 0, "an unknown dtype is accepted, and a scalar has a shape");
	list_release(&r);
	ok(parse(&r, "n\tlayer_type=Linear", &x, &err) == 0);
	ok_msg(!x.has_shape && str_eqc(x.layer_type, "Linear"), "keys may follow the name directly");
	ok(x.kind == ENTRY_UNKNOWN && x.requires_grad == GRAD_UNKNOWN);
	list_release(&r);
}

static void
test_errors(void)
{
	static const struct {
		const char *line, *message;
	} cases[] = {
		{ "n\tfloat32\t[3,x]", "f:7: [3,x]: a shape looks like [3,4]" },
		{ "n\t[3]", "f:7: [3]: a dtype comes before the shape" },
		{ "n\tfloat32\t[3]\tLinear", "f:7: Linear: KEY=VALUE was expected" },
		{ "n\tfloat32\t[3]\trequires_grad=maybe", "f:7: requires_grad=maybe: requires_grad is true or false" },
		{ "a\\qb", "f:7: a\\qb: a bad escape (known are \\t \\n \\r \\\\ \\# \\e \\xHH)" },
		{ "\tfloat32", "f:7: the name is missing (\\e stands for the empty name)" },
	};
	struct list_reader r;
	struct entry x;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = ERR_INIT;

		ok(parse(&r, cases[i].line, &x, &err) == -1);
		is_str(err.msg, cases[i].message, cases[i].line);
		list_release(&r);
	}
}

/* Lines that are longer than the reader's block, and one that is too long. */
static void
test_long(void)
{
	struct buf text = BUF_INIT, names = BUF_INIT;
	struct err err = ERR_INIT;

	buf_adds(&text, "a\n");
	buf_fill(&text, 'x', 1000000);
	buf_adds(&text, "\nb\n");
	ok(read_names(text.p, text.len, false, &names, &err) == 0);
	is_uint(names.len, 4 + 1000003 + 4, "a line of a million bytes is read");
	buf_clear(&text);
	buf_fill(&text, 'x', (size_t)LIST_MAX_LINE + 1);
	ok(read_names(text.p, text.len, false, &names, &err) == -1);
	is_str(err.msg, "list:1: a line of more than 16777216 bytes cannot be part of a tensor list",
	       "a line of more than 16 MiB is refused");
	buf_release(&text);
	buf_release(&names);
}

/* A line from a pipe is available as soon as it is complete. */
static void
test_pipe(void)
{
	struct source *src;
	struct list_reader r;
	struct list_line line;
	struct err err = ERR_INIT;
	int fd[2];

	if (pipe(fd) < 0)
		tap_bail("no pipe");
	ok(source_fd(&src, fd[0], "pipe", NULL, &err) == 0);
	list_open(&r, src, false);
	ok(write(fd[1], "one\ntw", 6) == 6);
	ok(list_next(&r, &line, &err) == 1 && str_eqc(line.raw, "one"));
	ok_msg(!list_pending(&r), "a line without its end is not pending");
	ok(write(fd[1], "o\n", 2) == 2);
	ok(list_next(&r, &line, &err) == 1 && str_eqc(line.raw, "two"));
	close(fd[1]);
	ok(list_next(&r, &line, &err) == 0);
	list_release(&r);
	source_close(src);
}

static void
test_put(void)
{
	const uint64_t shape[] = { 1152, 384 };
	struct entry x = entry_named(str_c("stage_3.0.attn.qkv.weight"));
	struct buf b = BUF_INIT;
	struct err err = ERR_INIT;

	ok(list_put(&b, &x, false, &err) == 0);
	is_str(b.p, "stage_3.0.attn.qkv.weight\n", "a name alone");
	buf_clear(&b);
	x.dtype = DTYPE_FLOAT32;
	x.has_shape = true;
	x.ndim = 2;
	x.shape = shape;
	x.layer_type = str_c("Linear");
	ok(list_put(&b, &x, false, &err) == 0);
	is_str(b.p, "stage_3.0.attn.qkv.weight\tfloat32\t[1152,384]\tlayer_type=Linear\n", "a line is written as in the manual");
	buf_clear(&b);
	x = entry_named(str_c("#\t\x01"));
	x.kind = ENTRY_BUFFER;
	x.requires_grad = GRAD_FALSE;
	ok(list_put(&b, &x, false, &err) == 0);
	is_str(b.p, "\\#\\t\\x01\t\t\tkind=buffer\trequires_grad=false\n",
	       "names are escaped, and unknown fields are written empty");
	buf_clear(&b);
	ok(list_put(&b, &x, true, &err) == 0 && b.len == 4 && b.p[3] == '\0');
	x.name = str_n("a\0b", 3);
	ok(list_put(&b, &x, false, &err) == -1);
	is_str(err.msg, "the name a\\x00b contains a NUL byte: only JSON can show it", "a NUL in a name is refused");
	buf_release(&b);
}

static void
test_buffers(void)
{
	static const struct {
		const char *name;
		enum dtype dtype;
		enum entry_kind kind;
		bool buffer;
	} cases[] = {
		{ "a.weight", DTYPE_FLOAT32, ENTRY_UNKNOWN, false },
		{ "a.weight", DTYPE_INT64, ENTRY_UNKNOWN, true },
		{ "a.mask", DTYPE_BOOL, ENTRY_UNKNOWN, true },
		{ "bn.running_mean", DTYPE_FLOAT32, ENTRY_UNKNOWN, true },
		{ "bn.running_var", DTYPE_UNKNOWN, ENTRY_UNKNOWN, true },
		{ "bn.num_batches_tracked", DTYPE_UNKNOWN, ENTRY_UNKNOWN, true },
		{ "x.relative_position_index", DTYPE_UNKNOWN, ENTRY_UNKNOWN, true },
		{ "running_mean.weight", DTYPE_FLOAT32, ENTRY_UNKNOWN, false },
		{ "bn.running_mean", DTYPE_FLOAT32, ENTRY_PARAMETER, false },
		{ "a.weight", DTYPE_FLOAT32, ENTRY_BUFFER, true },
		{ "a.weight", DTYPE_COMPLEX64, ENTRY_UNKNOWN, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct entry x = entry_named(str_c(cases[i].name));

		x.dtype = (uint8_t)cases[i].dtype;
		x.kind = (uint8_t)cases[i].kind;
		ok_msg(entry_is_buffer(&x) == cases[i].buffer, "%s, %s, kind %d", cases[i].name, dtype_name(cases[i].dtype),
		       (int)cases[i].kind);
	}
}

int
main(void)
{
	test_lines();
	test_null();
	test_fields();
	test_errors();
	test_long();
	test_pipe();
	test_put();
	test_buffers();
	return tap_done();
}
