/*
 * limits: the largest inputs that the readers accept. Input beyond a limit is refused before anything is allocated for it, with a
 * message that names the limit. lnn-tools(7) lists these limits.
 *
 * One more rule holds everywhere: a size in the input is compared with what is left of the input before memory is allocated for it.
 * A file of n bytes therefore never costs more than a fixed amount plus a small multiple of n. tests/bats/hostile.bats tests this.
 */
#ifndef LNN_BASE_LIMITS_H
#define LNN_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* ---- pickles */
enum {
	PICKLE_NODES_MAX = 64 * 1024 * 1024, /* values that one pickle creates; also the largest memo */
	PICKLE_STACK_MAX = 16 * 1024 * 1024, /* values on the stack */
	PICKLE_DEPTH_MAX = 200,              /* nesting of values, when a tree is walked and when it is written */
	PICKLE_DIGITS_MAX = 4300,            /* decimal digits of one integer; as sys.int_info.default_max_str_digits */
	PICKLE_DOTS_MAX = 32,                /* dots in the name of a global; real names have far fewer */
};
/* Slots of one container. Twice this count still fits 32 bits. */
#define PICKLE_SLOTS_MAX ((size_t)1 << 30)

/*
 * A deflated pickle is unpacked in memory. Up to UNPACK_FREE bytes are always allowed; a larger one may be at most UNPACK_RATIO
 * times its compressed size. (Deflate reaches a ratio of 1032; pickles of state dicts reach 10 to 20.) A storage is unpacked in
 * pieces, and only to the size that its tensors need.
 */
enum { UNPACK_FREE = 1 << 20, UNPACK_RATIO = 64 };

/* ---- tensors */
enum {
	TENSOR_NDIM_MAX = 64,  /* dimensions; torch's own limit */
	TENSOR_WRAPS_MAX = 16, /* calls around one tensor */
};

/* ---- safetensors and indexes of sharded sets */
#define SAFETENSORS_HEADER_MAX ((uint64_t)100000000) /* bytes; the reference reader's limit */
#define SHARD_INDEX_MAX ((uint64_t)1 << 29)          /* bytes of an index; a million names take about 100 MB */
enum {
	SAFETENSORS_NESTING_MAX = 127, /* nesting of JSON that the reference reader accepts */
	SHARDED_META_MAX = 1000,       /* entries of __metadata__ kept of a set; each is compared with all others */
	JSON_MAX_DEPTH = 128,
};

/* ---- texts */
enum {
	YAML_MAX_DEPTH = 64,         /* nesting, seen through aliases */
	YAML_MAX_NODES = 1000000,    /* nodes; an alias counts as many as its anchor has */
	YAML_MAX_BYTES = 16 << 20,   /* bytes of input */
	CONFIG_MAX_FILES = 64,       /* files: an experiment and its bases */
	LIST_MAX_LINE = 16 << 20,    /* bytes of one line of a tensor list */
	KEYMAP_FAN_OUT_MAX = 100000, /* names that a key map makes of one name */
	KEYMAP_VALUES_MAX = 2000000, /* values that the indexes of a key map take, over all names */
};

/* ---- regular expressions */
enum {
	PYRE_NESTING_MAX = 200,    /* depth of nested groups */
	PYRE_MATCH_MAX = 10000000, /* steps of one search; about a second of backtracking */
};

#endif
