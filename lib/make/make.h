/*
 * make: edits of bytes.
 *
 * A maker turns a tensor into another one: it casts it, resizes it, gives it a storage of its own. An entry of a plan has a chain
 * of makers, which are applied in order. An entry without makers is copied.
 *
 * A maker is a struct make: its kind and its parameters. A kind is a const struct of functions. The code that plans, seals, splits,
 * writes and reports calls these functions and knows no kind by name.
 *
 * Shapes. shape() maps the dtype and shape of the input to those of the result. They never depend on contents, so the whole output
 * is laid out before the first byte is read. A maker that must see the contents of some tensor before it can work (a bias table
 * needs its index buffer) names that tensor in waits; learn() reads it.
 *
 * Bytes. Results are pulled: the writer asks a chain for elements [first, first + n) of the result, in row-major order. The last
 * maker asks the one before it for the elements that it needs, and the first maker reads the tensor. A kind works in one of three
 * ways:
 *
 *   each: Each element of the result is made of the element in the same place. This works in any order, in several threads, and on
 *   a whole storage that several tensors share.
 *   run: A range of the result is made of ranges of the inputs (a slice, a join). This works in several threads. The kind reads
 *   each byte of an input once and in ascending order, or else sets MAKE_REREADS.
 *   begin and run: begin reads everything that it needs, one input after the other, into memory of the size that memory() has
 *   stated. run returns ranges of the finished result (a permutation, a table, a sum).
 *
 * A maker has one result. A split is therefore several entries, each with a maker that takes its part; the seal writes them in the
 * order in which their ranges lie in the input. A result of several inputs is written where the last of these inputs stands
 * (write/seal.h).
 *
 * Rounding. carries() states the dtype of the elements between two makers: kinds that compute give float64, kinds that move
 * elements leave the dtype as it is, and a cast gives its own dtype. The result of the chain is rounded to the dtype that shape()
 * states. A table that is cast, too, is therefore rounded only once.
 *
 * To add a kind NAME: write lib/make/NAME.c, which defines const struct make_kind make_kind_NAME, and add NAME to MAKE_KINDS below.
 * If the kind has parameters, their struct begins with a struct make, and lib/make/NAME.h declares its constructor. A kind without
 * parameters is made by make_new(). plan_make() (plan/plan.h) puts a maker on an entry.
 */
#ifndef LNN_MAKE_MAKE_H
#define LNN_MAKE_MAKE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "tensor/ckpt.h"
#include "text/json_write.h"

/* All kinds. */
#define MAKE_KINDS(X)  \
	X(bias_table)  \
	X(cast)        \
	X(compact)     \
	X(input_layer) \
	X(join)        \
	X(rows)        \
	X(sheet)       \
	X(sum)         \
	X(view)

/* The dtype and shape of a tensor before or after a maker. */
struct make_form {
	uint8_t dtype; /* enum dtype */
	uint8_t ndim;
	uint64_t shape[TENSOR_NDIM_MAX];
};

/* A tensor of one of the plan's inputs. */
struct make_input {
	uint32_t input, tensor;
};

/* A range of elements of a result. slot is the number of the thread that asks for it. */
struct make_span {
	uint64_t first;
	size_t n;
	unsigned slot;
};

enum { MAKE_TEXT = 256 };

enum make_flag {
	MAKE_NEW = 1,     /* The result is a new tensor, which shares nothing with names that shared the storage of the old one. */
	MAKE_REREADS = 2, /* run reads some bytes more than once, or not in ascending order. */
	/* If names of one tensor have different makers, each gets its own result. Otherwise the first name's makers decide. */
	MAKE_APART = 4,
	MAKE_STAYS = 8, /* The user asked for this result: the drop rules of a model description do not drop it. */
};

struct make;
struct make_stage;

/* A function may be NULL where its comment says what NULL means. */
struct make_kind {
	const char *name;   /* name of the kind: "cast" */
	const char *action; /* what was done to the tensor, for reports: "resampled" */
	/* name of the report's list that describes each maker of the kind; NULL: reports do not describe them */
	const char *section;
	unsigned flags; /* a set of enum make_flag */

	/* Changes the form of the tensor into that of the result. NULL: the form does not change. */
	void (*shape)(const struct make *m, struct make_form *form);
	/* Returns the dtype of the bytes that the maker gives if it reads bytes of dtype in. NULL: the dtype does not change. */
	enum dtype (*carries)(const struct make *m, enum dtype in);
	/*
	 * Returns true if the result is an unchanged run of the tensor's elements, and sets *first to its first element. Such a
	 * result can be copied if the run is contiguous in the file. NULL: never true.
	 */
	bool (*gathers)(const struct make *m, const struct make_form *in, uint64_t *first);
	/*
	 * Returns the size in bytes of the state for a tensor of this form. begin may allocate nothing else. The dtype is that of
	 * the bytes that the maker reads. NULL: no state.
	 */
	uint64_t (*memory)(const struct make *m, const struct make_form *in);

	/* Reads the tensor named by m->waits, of checkpoint c, and clears m->waits. NULL: the kind never waits. */
	int (*learn)(struct make *m, struct ckpt *c, struct err *err);
	/* Returns true if the result turned out to equal the tensor. NULL: never true. */
	bool (*idle)(const struct make *m);
	/* Returns true if two makers of this kind give the same result for the same tensor. NULL: always true. */
	bool (*same)(const struct make *a, const struct make *b);

	/*
	 * Makes the n elements of out from those of in. Elements are little-endian, as in files; this also holds for run. Returns
	 * how many finite values became infinite or NaN.
	 */
	uint64_t (*each)(const struct make_stage *s, const void *in, size_t n, void *out);
	/* Reads the inputs with make_read and fills s->state. */
	int (*begin)(struct make_stage *s, struct err *err);
	/* Makes the elements of span. */
	int (*run)(const struct make_stage *s, const struct make_span *span, void *out, struct err *err);

	/* Describes for people what the maker does to m->name, in at most MAKE_TEXT bytes. NULL if section is NULL. */
	void (*describe)(const struct make *m, char *text);
	/* Writes the members of the maker's object in the list section. NULL if section is NULL. */
	void (*report)(const struct make *m, struct json_writer *w);
};

struct make {
	const struct make_kind *kind;
	/* name of the tensor in the input, for messages; empty for a maker that works on several tensors */
	struct str name;
	const struct make_input *more; /* tensors that the maker reads besides that of the entry; make_read numbers them from 1 */
	unsigned nmore;
	const struct make_input *waits; /* tensor whose contents the maker must learn before it can work; NULL: none */
};

struct make_chain {
	struct make **v; /* in the order of application */
	unsigned n;
};

#define MAKE_DECLARE(name) extern const struct make_kind make_kind_##name;
MAKE_KINDS(MAKE_DECLARE)
#undef MAKE_DECLARE

/* All kinds in the order of their names, then NULL. */
extern const struct make_kind *const make_kinds[];

/* Returns a maker of a kind without parameters. */
struct make *make_new(struct arena *a, const struct make_kind *kind);

/* Appends m to a chain. Copies of the chain made before do not change. */
void make_append(struct make_chain *chain, struct arena *a, struct make *m);

/* ---- properties of a chain */

void make_form_of(struct make_form *form, const struct tensor *t);
void make_shape(const struct make_chain *chain, struct make_form *form);
uint64_t make_count(const struct make_form *form); /* number of elements */

enum make_trait {
	MAKE_ALL_EACH = 1,   /* all makers work on each element by itself */
	MAKE_ANY_NEW = 2,    /* some maker gives a new tensor (MAKE_NEW) */
	MAKE_ANY_EFFECT = 4, /* some maker with MAKE_NEW is not idle */
	MAKE_ANY_APART = 8,  /* some maker has MAKE_APART */
	MAKE_ANY_STAYS = 16, /* some maker has MAKE_STAYS */
};

/* Returns the set of enum make_trait that a chain has. The empty chain has MAKE_ALL_EACH. */
unsigned make_traits(const struct make_chain *chain);

/* Returns true if all makers gather: then the result is a run of the elements of a tensor of this form, from *first on. */
bool make_gathers(const struct make_chain *chain, const struct make_form *in, uint64_t *first);

/* Returns true if both chains give the same result for the same tensor. */
bool make_same(const struct make_chain *a, const struct make_chain *b);

/* Returns the size of the states of all makers of a chain, for a tensor of this form. */
uint64_t make_memory(const struct make_chain *chain, const struct make_form *in);

/* ---- running a chain */

struct make_task {
	struct ckpt *const *inputs; /* checkpoints by input number */
	uint32_t input;
	const struct tensor *tensor; /* of inputs[input] */
	const struct make_chain *chain;
	uint64_t piece;                                                   /* elements made at a time; 0: chosen by make_all */
	int (*take)(void *arg, const void *p, size_t n, struct err *err); /* receives the bytes of the result, in order */
	void *arg;
};

/* A maker of the chain that is being run. */
struct make_stage {
	const struct make *make;
	struct make_form in, out;
	uint8_t from, to; /* dtypes of the bytes that it reads and of those that it gives */
	void *state;      /* as many bytes as memory() states */
	struct make_work *work;
	unsigned number; /* index in the chain */
};

/* Runs chains one after the other, and keeps the buffers in between. */
struct make_work {
	struct pool *pool; /* may be NULL */
	unsigned slots;
	struct make_task task;
	struct make_stage *stages;
	unsigned nstages, cap;
	struct buf **buffers; /* buffers of each stage, by stage and slot */
	unsigned nbuffers;
	struct buf *made;     /* finished pieces of the result, by slot */
	uint64_t *lost;       /* values that are no longer finite, by slot */
	bool once;            /* no maker reads a byte twice (MAKE_REREADS) */
	uint64_t count, each; /* number of elements in the result, and in a piece */
	size_t size;          /* bytes of an element of the result */
};

void make_work_init(struct make_work *w, struct pool *pool);
void make_work_release(struct make_work *w);

/*
 * Does a task. Its makers must not wait for contents. Several threads work if all tensors are contiguous or made of boxes in
 * seekable files. Adds to *lost how many finite values are no longer finite. Returns < 0 if reading fails or take does.
 */
int make_all(struct make_work *w, const struct make_task *t, uint64_t *lost, struct err *err);

/* For kinds: reads elements of input i. Input 0 is the result of the maker before this one, or the entry's tensor. */
int make_read(const struct make_stage *s, unsigned i, const struct make_span *span, void *p, struct err *err);

/* For kinds with run: returns a buffer of size bytes, which belongs to the slot until run returns. */
void *make_buffer(const struct make_stage *s, unsigned slot, size_t size);

/* For kinds: writes a grid as a member of a report: [height, width], or [height] if width is 0. */
void make_put_grid(struct json_writer *w, const char *key, uint32_t height, uint32_t width);

/* For kinds: returns the span of all elements of input 0. */
struct make_span make_whole(const struct make_stage *s);

#endif
