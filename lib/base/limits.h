/*
 * limits: how much of anything the readers take. What goes beyond is refused with a message that says the limit, before
 * anything is allocated for it; lnn-tools(7) lists these.
 *
 * Beside them one rule holds everywhere: a number in the input is held against what is left of the input before memory is
 * taken for it, so that a file of n bytes never costs more than a fixed amount and a small multiple of n. Tests:
 * tests/bats/hostile.bats.
 */
#ifndef LNN_BASE_LIMITS_H
#define LNN_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* ---- pickles */
enum {
	PICKLE_NODES_MAX = 64 * 1024 * 1024, /* values that one pickle makes; its memo holds no more */
	PICKLE_STACK_MAX = 16 * 1024 * 1024, /* values on the stack */
	PICKLE_DEPTH_MAX = 200,              /* nesting that walkers of a tree follow, and of what is written */
	PICKLE_DIGITS_MAX = 4300,            /* of a number in decimal digits; sys.int_info.default_max_str_digits */
	PICKLE_DOTS_MAX = 32,                /* in a global's name; nothing that a program has is nested deeper */
};
/* Slots of one container, so that a count of them fits 32 bits when it is doubled. */
#define PICKLE_SLOTS_MAX ((size_t)1 << 30)

/*
 * A deflated pickle is unpacked in memory: to any size up to the first, beyond it to so many times its packed size. (Deflate
 * could make 1032 bytes of one; pickles of state dicts come to 10 or 20.) A storage is unpacked in pieces, and to exactly
 * the size that its tensors need.
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
	SAFETENSORS_NESTING_MAX = 127, /* how deep the reference reader's JSON goes */
	SHARDED_META_MAX = 1000,       /* entries of __metadata__ that a set takes over; each is compared with all */
	JSON_MAX_DEPTH = 128,
};

/* ---- texts */
enum {
	YAML_MAX_DEPTH = 64,         /* nesting, seen through aliases */
	YAML_MAX_NODES = 1000000,    /* nodes, every alias counted as what it stands for */
	YAML_MAX_BYTES = 16 << 20,   /* of input */
	CONFIG_MAX_FILES = 64,       /* an experiment and its bases */
	LIST_MAX_LINE = 16 << 20,    /* bytes of one line of a tensor list */
	KEYMAP_FAN_OUT_MAX = 100000, /* names that a key map makes of one */
	KEYMAP_VALUES_MAX = 2000000, /* values that its indexes take, for all names */
};

/* ---- regular expressions */
enum {
	PYRE_NESTING_MAX = 200,    /* groups in groups */
	PYRE_MATCH_MAX = 10000000, /* steps of one search, about a second of backtracking in one name */
};

#endif
