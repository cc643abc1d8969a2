/*
 * make: edits of bytes.
 *
 * A maker turns a tensor into another one: it casts it, resizes it, gives it a storage of its own. An entry of a plan has
 * a chain of makers, which are applied in order. An entry without makers is copied.
 *
 * A maker is a struct make: its kind and its parameters. A kind is a const struct of functions. What plans, seals,
 * splits, writes and reports calls these functions and knows no kind by name.
 *
 * Shapes. shape() gives dtype and shape of the result for those of the tensor. They never depend on contents, so that the
 * whole output is laid out before the first byte is read. A maker that has to see the contents of some tensor before it
 * works (a bias table: its index buffer) names it in waits; learn() reads it.
 *
 * Bytes. Results are pulled: the writer asks a chain for elements [first, first + n) of the result, in row-major order.
 * The last maker asks the one before it for the elements that it needs, and the first maker reads the tensor. A kind
 * works in one of three ways:
 *
 *   each          Each element of the result is made of the element in the same place. Works in any order, in several
 *                 threads, and on a whole storage that several tensors look at.
 *   run           A range of the result is made of ranges of the inputs (a slice, a join). Works in several threads. Reads
 *                 each byte of an input once and goes forward, or else sets MAKE_REREADS.
 *   begin and run begin reads all it needs, one input after the other, into the memory that memory() has stated. run
 *                 gives ranges of what is there (a permutation, a table, a sum).
 *
 * Results have one tensor. A split is as many entries as it has parts, each with a maker that takes its part; the seal
 * orders them as their ranges lie in the input. A result of several inputs is made where the last of them comes by.
 *
 * Rounding. Between two makers elements have the dtype that carries() tells: kinds that compute give float64, kinds that
 * move elements leave them as they are, a cast gives its own. What leaves the chain is rounded to the dtype that shape()
 * tells, so that a table that is cast, too, is rounded once.
 *
 * To add a kind NAME: write lib/make/NAME.c, which defines const struct make_kind make_kind_NAME, and add NAME to
 * MAKE_KINDS below. A kind with parameters begins their struct with a struct make and declares its constructor in
 * lib/make/NAME.h; one without is made by make_new(). plan_make() (plan/plan.h) puts a maker on an entry.
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

/* What a tensor is between two makers. */
struct make_form {
	uint8_t dtype; /* enum dtype */
	uint8_t ndim;
	uint64_t shape[TENSOR_NDIM_MAX];
};

/* A tensor of an input of the plan. */
struct make_input {
	uint32_t input, tensor;
};

/* Part of a result, in elements. slot: which of the threads asks. */
struct make_span {
	uint64_t first;
	size_t n;
	unsigned slot;
};

enum { MAKE_TEXT = 256 };

enum make_flag {
	MAKE_NEW = 1,     /* The result is a new tensor: names that shared the old one's storage have nothing in common with it. */
	MAKE_REREADS = 2, /* run reads some bytes again, or goes backward. */
	MAKE_APART = 4,   /* Other makers of the same tensor give tensors of their own. (Else the first name's makers decide.) */
	MAKE_STAYS = 8,   /* The result was asked for: what a description drops by itself does not drop it. */
};

struct make;
struct make_stage;

/* Functions may be NULL where that is said. */
struct make_kind {
	const char *name;    /* "cast" */
	const char *action;  /* what was done to the tensor, for reports: "resampled" */
	const char *section; /* the list of the report that describes each maker of the kind; NULL: there is none */
	unsigned flags;      /* enum make_flag */

	/* Turns the form of the tensor into that of the result. NULL: they are the same. */
	void (*shape)(const struct make *m, struct make_form *form);
	/* The dtype of the bytes of the result for that of the bytes it reads. NULL: the same. */
	enum dtype (*carries)(const struct make *m, enum dtype in);
	/*
	 * True if the result is a run of the tensor's elements as they are, which begins at *first: it can be copied if it
	 * lies so. NULL: never.
	 */
	bool (*gathers)(const struct make *m, const struct make_form *in, uint64_t *first);
	/*
	 * Bytes of state that begin needs for a tensor of this form, which are all that it may need. The dtype is that of
	 * the bytes that it reads. NULL: none.
	 */
	uint64_t (*memory)(const struct make *m, const struct make_form *in);

	/* Reads the tensor named by m->waits, of checkpoint c, and clears m->waits. NULL: the kind never waits. */
	int (*learn)(struct make *m, struct ckpt *c, struct err *err);
	/* True if the result is the tensor as it was, after all. NULL: never. */
	bool (*idle)(const struct make *m);
	/* True if two makers of the kind give the same result for the same tensor. NULL: always. */
	bool (*same)(const struct make *a, const struct make *b);

	/*
	 * Makes the n elements of out from those of in. Both are little-endian, as in files, and so is what run makes. Returns
	 * how many finite values became infinite or NaN.
	 */
	uint64_t (*each)(const struct make_stage *s, const void *in, size_t n, void *out);
	/* Fills s->state with make_read. */
	int (*begin)(struct make_stage *s, struct err *err);
	/* Makes the elements of a span. */
	int (*run)(const struct make_stage *s, const struct make_span *span, void *out, struct err *err);

	/* What it does to m->name, for people, in at most MAKE_TEXT bytes. NULL if section is. */
	void (*describe)(const struct make *m, char *text);
	/* Members of the object that stands for the maker in section. NULL if section is. */
	void (*report)(const struct make *m, struct json_writer *w);
};

struct make {
	const struct make_kind *kind;
	struct str name;               /* of the tensor, as read, for messages; empty where one maker works on several */
	const struct make_input *more; /* tensors that it reads beside that of the entry: inputs 1, 2, ... of make_read */
	unsigned nmore;
	const struct make_input *waits; /* contents that it does not know yet; NULL: none */
};

struct make_chain {
	struct make **v; /* in order */
	unsigned n;
};

#define MAKE_DECLARE(name) extern const struct make_kind make_kind_##name;
MAKE_KINDS(MAKE_DECLARE)
#undef MAKE_DECLARE

/* All kinds, in the order of their names; NULL ends. */
extern const struct make_kind *const make_kinds[];

/* A maker without parameters. */
struct make *make_new(struct arena *a, const struct make_kind *kind);

/* Adds m to the end of a chain. Other copies of the chain stay as they are. */
void make_append(struct make_chain *chain, struct arena *a, struct make *m);

/* ---- what a chain does, before it does it */

void make_form_of(struct make_form *form, const struct tensor *t);
void make_shape(const struct make_chain *chain, struct make_form *form);
uint64_t make_count(const struct make_form *form); /* elements */

enum make_trait {
	MAKE_ALL_EACH = 1,   /* all makers work on each element by itself */
	MAKE_ANY_NEW = 2,    /* some maker gives a new tensor (MAKE_NEW) */
	MAKE_ANY_EFFECT = 4, /* such a maker is not idle */
	MAKE_ANY_APART = 8,  /* some maker has MAKE_APART */
	MAKE_ANY_STAYS = 16, /* some maker has MAKE_STAYS */
};

/* Which of enum make_trait a chain has. The empty chain has MAKE_ALL_EACH. */
unsigned make_traits(const struct make_chain *chain);

/* True if all makers gather: the result is the elements from *first on of a tensor of this form. */
bool make_gathers(const struct make_chain *chain, const struct make_form *in, uint64_t *first);

/* True if both chains give the same result for the same tensor. */
bool make_same(const struct make_chain *a, const struct make_chain *b);

/* Bytes of state of all makers of a chain, for a tensor of this form. */
uint64_t make_memory(const struct make_chain *chain, const struct make_form *in);

/* ---- doing it */

struct make_task {
	struct ckpt *const *inputs; /* checkpoints by number */
	uint32_t input;
	const struct tensor *tensor; /* of inputs[input] */
	const struct make_chain *chain;
	uint64_t piece;                                                   /* elements made at a time; 0: what is best */
	int (*take)(void *arg, const void *p, size_t n, struct err *err); /* gets the bytes of the result, in order */
	void *arg;
};

/* A maker at work. */
struct make_stage {
	const struct make *make;
	struct make_form in, out;
	uint8_t from, to; /* dtypes of the bytes that it reads and gives */
	void *state;      /* memory() bytes */
	struct make_work *work;
	unsigned number; /* in its chain */
};

/* Chains at work, one after the other. The buffers are kept from one to the next. */
struct make_work {
	struct pool *pool; /* may be NULL */
	unsigned slots;
	struct make_task task;
	struct make_stage *stages;
	unsigned nstages, cap;
	struct buf **buffers; /* what each stage reads, by stage and slot */
	unsigned nbuffers;
	struct buf *made;     /* results on their way out, by slot */
	uint64_t *lost;       /* by slot */
	bool once;            /* what is read will not be read again */
	uint64_t count, each; /* elements of the result, of a piece */
	size_t size;          /* of an element of the result */
};

void make_work_init(struct make_work *w, struct pool *pool);
void make_work_release(struct make_work *w);

/*
 * Does a task, whose makers wait for nothing. Several threads work if the tensors lie in a file as plain runs of bytes. Adds
 * to *lost how many finite values are no longer finite. Returns < 0 if reading or take fails.
 */
int make_all(struct make_work *w, const struct make_task *t, uint64_t *lost, struct err *err);

/* For kinds: reads elements of input i, which is 0 for what comes through the chain. */
int make_read(const struct make_stage *s, unsigned i, const struct make_span *span, void *p, struct err *err);

/* For kinds with run: size bytes that are the slot's until run returns. */
void *make_buffer(const struct make_stage *s, unsigned slot, size_t size);

/* For kinds: a member of a report, [h, w], or [h] where w is 0. */
void make_put_grid(struct json_writer *w, const char *key, uint32_t height, uint32_t width);

/* For kinds: all elements of input 0. */
struct make_span make_whole(const struct make_stage *s);

#endif
