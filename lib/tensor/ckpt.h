/*
 * ckpt: the index of a checkpoint: which tensors and storages it has, where their
 * bytes are, and everything else in it. A format reader fills it (format/format.h).
 *
 * Bytes are asked for by storage. On a stream they must be asked for in the order
 * of the storages (which is the order of the source) to pass in little memory;
 * any other order works too but keeps what lies between (io/source.h).
 */
#ifndef LNN_TENSOR_CKPT_H
#define LNN_TENSOR_CKPT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/strmap.h"
#include "pickle/value.h"
#include "io/source.h"
#include "tensor/tensor.h"

struct ckpt;

/*
 * What a container offers to those who hold an open checkpoint; see the functions ckpt_* below. All but name may be
 * NULL: then storages lie at their offset as they are, their crc is that of the struct, finish
 * is source_verify.
 *
 * pass: storages below to will not be read again; those below from were passed before. A stream forgets them.
 */
struct ckpt_ops {
	const char *name; /* "torch", "torch-legacy", "torchscript", "safetensors", "sharded", "npz", "npy", "pickle", ... */
	int (*locate)(struct ckpt *c, uint32_t storage, struct err *e);
	int (*read)(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e);
	int (*crc)(struct ckpt *c, uint32_t storage, uint32_t *crc, bool *known, struct err *e);
	int (*pass)(struct ckpt *c, uint32_t from, uint32_t to, struct err *e);
	/* True if no byte before the storage is needed any more, so that a stream may forget a part of it; NULL: always. */
	bool (*leads)(struct ckpt *c, uint32_t storage);
	int (*finish)(struct ckpt *c, struct err *e);
	void (*close)(struct ckpt *c);
	struct source *(*range)(struct ckpt *c, uint32_t storage);               /* which source; NULL: that of the ckpt */
	void (*describe)(const struct ckpt *c, uint32_t storage, struct buf *b); /* what it is; NULL: its key says it */
	/* The storage of which this one is a second copy, that nothing reads; NULL or itself: it is none. */
	uint32_t (*original)(const struct ckpt *c, uint32_t storage);
	int (*check)(const struct ckpt *c, struct err *e); /* fails if what the index says is not there */
	int (*records)(struct ckpt *c, struct err *e);     /* ckpt_check_records */
	bool unordered; /* storages lie in any order, or over each other: nothing is forgotten before the end */
	bool proves;    /* what is copied is held against its CRC, too, although the CRC goes along */
};

/*
 * What we state in a checkpoint: the layouts of bias tables (plan/tables.h), and of a shard that is adapted by itself that
 * it is finished. In __metadata__ of safetensors under these keys; in a torch zip as the two lines of a record, of which
 * the second may be missing.
 */
#define CKPT_TABLES_KEY "lnn.tables"
#define CKPT_NOTE_KEY "lnn.shard"
#define CKPT_RECORD ".data/lnn"

/* Where __metadata__ of a shard of a distributed checkpoint says of which boxes its tensors are. */
#define CKPT_SHARDING_KEY "DCP_SHARDING_INFO"

/* How much a reader takes of an input that is cut off or damaged. */
enum ckpt_salvage {
	SALVAGE_NOT,   /* nothing: that is an error */
	SALVAGE_INDEX, /* whatever the index leads to */
	SALVAGE_SCAN,  /* what stands where, as found by looking through the input, if the container allows that */
};

enum { CKPT_LOCATIONS = 32 };

struct ckpt {
	const char *file; /* for messages; borrowed from the source */
	const struct ckpt_ops *ops;
	void *priv;         /* the format's own */
	struct source *src; /* borrowed; of a sharded set the index file */
	const struct diag *diag;
	struct arena arena; /* everything below, and names */

	struct storage *storages; /* in the order of the source */
	uint32_t nstorages;
	struct tensor *tensors; /* in the order in which the index has them: LEAF_TENSOR n is tensors[n] */
	uint32_t ntensors;
	struct str *names; /* of the tensors; NULL where a tree names them (torch) */

	struct vtree *tree; /* of a pickle; NULL for safetensors. LEAF_STORAGE n is storages[n] */
	uint32_t root;      /* handle; VALUE_ABSENT without a tree */

	struct str *meta_keys, *meta_values; /* safetensors: __metadata__; by ckpt_add_meta */
	size_t nmeta, meta_cap;
	struct str tables; /* torch: the first line of the record .data/lnn, once it was passed; of a set: what ckpt_tables says */
	struct str note;   /* torch: its second line */
	enum ckpt_salvage salvage; /* unless SALVAGE_NOT, storages that are not there are found out when they are read */
	struct str *lost;          /* salvage: names of what cannot be in tensors or in the tree */
	size_t nlost, lost_cap;
	struct str locations[CKPT_LOCATIONS]; /* of a pickle, "cpu" and "cuda:0"; further ones count as the first */
	uint8_t nlocations;
	bool big_endian;
	bool constants;      /* of a frozen TorchScript module: its tensors are constants, and no state dict */
	bool boxed;          /* safetensors: its tensors are boxes of larger ones (tensor_more.low) */
	const char *writer;  /* who wrote it, as far as that can be told ("torch 2.7 or later"); or NULL */
	const char **shards; /* file names of a sharded set */
	uint32_t nshards;
	uint8_t *done;       /* by storage: ckpt_done was called; NULL before the first call */
	uint32_t passed;     /* storages below were passed */
	struct str *damaged; /* records of the index whose CRC is not that of their bytes */
	size_t ndamaged, damaged_cap;
	struct ckpt_proof *proof; /* NULL before ckpt_verify */
	void *owned[2];           /* freed at the end: arrays above that lie outside the arena */
};

/*
 * Makes storages[storage].offset (and packed, flags) known. Always known on files; on a stream it may
 * look ahead.
 */
int ckpt_locate(struct ckpt *c, uint32_t storage, struct err *e);

/* Reads n bytes at off of the unpacked contents of a storage. */
int ckpt_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e);

/*
 * The same for one who goes through the storage once and in order: on a stream, what is read is not kept if nothing
 * before it is waited for.
 */
int ckpt_next(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e);

/*
 * The source that a located storage's bytes lie in as a plain range, for sink_copy; NULL if they
 * must go through ckpt_read (deflated).
 */
struct source *ckpt_range(struct ckpt *c, uint32_t storage, uint64_t *offset);

/*
 * CRC-32 of a storage as the source states it; *known false where it states none (0 counts as none). To be asked after
 * the bytes were read.
 */
int ckpt_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, bool *known, struct err *e);

/* Reads all bytes of a storage for their CRC, whatever was read of it before. Nothing is held against it. */
int ckpt_read_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, struct err *e);

/* Appends what a storage is, for messages: "storage '3'", "tensor 'w', box [2,3] at [0,0]". */
void ckpt_describe(const struct ckpt *c, uint32_t storage, struct buf *b);

/*
 * From here on what is read is held against the CRCs that the source states, in whatever order and in how many pieces it is
 * read. A storage that is read whole and has another CRC makes the read fail that brings its last byte, or, where the CRC
 * stands behind the bytes (a stream), ckpt_pass. Of a storage that is read in part nothing is known.
 */
void ckpt_verify(struct ckpt *c);

/* May the CRC of a located storage be held against its bytes? */
bool ckpt_verifies(const struct ckpt *c, uint32_t storage);

/* For one who read len bytes at off of a storage without ckpt_read: their CRC is crc. */
int ckpt_copied(struct ckpt *c, uint32_t storage, uint64_t off, uint64_t len, uint32_t crc, struct err *e);

/*
 * ERR_INPUT if a record of the index is damaged, or a file that it names is missing or too short. On a stream this is known
 * behind ckpt_finish.
 */
int ckpt_check_index(const struct ckpt *c, struct err *e);
void ckpt_warn_index(const struct ckpt *c); /* the same as warnings */

/*
 * The storage will not be read again. Storages may be finished with in any order; a stream forgets those before the first
 * one that may be read again.
 */
int ckpt_done(struct ckpt *c, uint32_t storage, struct err *e);

/* Nothing before byte off of storage will be read again. storage may be nstorages, with off 0. */
int ckpt_pass(struct ckpt *c, uint32_t storage, uint64_t off, struct err *e);

/* Reads on to the end of the input and verifies it: sizes, the directory against what was seen, that a file did not change. */
int ckpt_finish(struct ckpt *c, struct err *e);

/*
 * What it states of its bias tables (plan/tables.h): the record .data/lnn, or lnn.tables of __metadata__; empty if
 * nothing. Of a set it is the different texts of its shards, with a NUL between them. A stream is read up to its first
 * storage.
 */
int ckpt_tables(struct ckpt *c, struct str *text, struct err *e);

/*
 * Holds the CRCs of records against their bytes that are neither storages nor say what the tensors are: those that are
 * wrong are damaged ones afterwards, on a stream only at its end. To be called before the data is read.
 */
int ckpt_check_records(struct ckpt *c, struct err *e);

void ckpt_close(struct ckpt *c); /* frees c; not the source. May be NULL */

/* For format readers. */
struct ckpt *ckpt_new(struct source *src, const struct diag *diag);
void ckpt_add_meta(struct ckpt *c, struct str key, struct str value); /* their text is in the arena */
void ckpt_damaged(struct ckpt *c, struct str record);                 /* adds a name to c->damaged */
void ckpt_lose(struct ckpt *c, struct str name);                      /* adds a name to c->lost */

/* ---- the state dict of a checkpoint */

enum sd_kind {
	SD_TENSOR,    /* tensor is an index into the checkpoint's tensors */
	SD_COMPOSITE, /* a tensor without data of its own (composite.h): value is the call that makes it */
	SD_OTHER,     /* not a tensor: value */
};

struct sd_entry {
	struct str name;
	uint32_t tensor;      /* SD_TENSOR */
	uint32_t value;       /* handle in the tree; VALUE_ABSENT for safetensors */
	uint32_t made;        /* 0, or 1 + its index in the state dict's composites */
	uint32_t inside : 30; /* 0, or 1 + its index in the state dict's insides: it stands in a container of the state dict */
	uint32_t kind : 2;    /* enum sd_kind */
};

/* A list, dict or the like that is an item of the state dict and holds tensors: "_extra_state". */
struct sd_container {
	struct str name; /* its key; those of its entries begin with it and a dot */
	uint32_t value;  /* handle of the item */
};

/* Where an entry stands in a container. */
struct sd_inside {
	uint32_t container;    /* index into the state dict's containers */
	uint32_t parent, item; /* handle of the dict, list or tuple whose item it is, and which */
};

struct statedict {
	struct ckpt *ckpt; /* borrowed */
	struct arena arena;
	struct str key;           /* dotted path of the place; empty for the root */
	struct sd_entry *entries; /* in the order of the checkpoint */
	size_t n;
	struct strmap by_name;     /* to index in entries */
	struct tensor *composites; /* tensors with parts: of SD_COMPOSITE, and of SD_TENSOR that are quantised or subclasses */
	size_t ncomposites;
	struct sd_container *containers;
	size_t ncontainers;
	struct sd_inside *insides;
	size_t ninsides;
	uint32_t place;    /* handle of the container; VALUE_ABSENT for safetensors */
	uint32_t metadata; /* handle of the dict in _metadata, or VALUE_ABSENT */
	bool ordered;      /* the place is an OrderedDict */
	bool module;       /* ... a pickled nn.Module */
};

/*
 * The state dict at key (dotted path); key NULL: where the rule of tensor/place.h finds it, which must decide. Nested
 * tensors get dotted names. ERR_INPUT for: what place_find refuses; a name that occurs twice; a dotted path equal to
 * another name. Other values in nested containers that hold tensors are SD_OTHER under their dotted path.
 */
int statedict_open(struct statedict *sd, struct ckpt *c, const char *key, struct err *e);
/* Like statedict_open, at the place that ask names (tensor/place.h). */
struct place_ask;
int statedict_open_place(struct statedict *sd, struct ckpt *c, const struct place_ask *ask, struct err *e);
void statedict_release(struct statedict *sd);

/* Entry by name, or NULL. */
const struct sd_entry *statedict_find(const struct statedict *sd, struct str name);

/* Tensor of an entry, with what it is made of in its more; NULL for SD_OTHER. */
const struct tensor *sd_tensor(const struct statedict *sd, const struct sd_entry *entry);

#endif
