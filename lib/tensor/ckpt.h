/*
 * ckpt: the index of a checkpoint: its tensors and storages, the places of
 * their bytes, and everything else in it. A format reader fills it
 * (format/format.h).
 *
 * Bytes are read by storage. A stream needs little memory only if storages are
 * read in their order, which is that of the source. Any other order works, but
 * keeps the bytes in between (io/source.h).
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
 * The functions of a container for an open checkpoint; the functions ckpt_* below describe them. All members but name may be NULL.
 * The defaults: storages are plain ranges at their offset, their CRC is that in struct storage, and finish is source_verify.
 *
 * pass: storages below to will not be read again, those below from were passed before. A stream forgets them.
 */
struct ckpt_ops {
	const char *name; /* "torch", "torch-legacy", "torchscript", "safetensors", "sharded", "npz", "npy", "pickle", ... */
	int (*locate)(struct ckpt *c, uint32_t storage, struct err *err);
	int (*read)(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err);
	int (*crc)(struct ckpt *c, uint32_t storage, uint32_t *crc, bool *known, struct err *err);
	int (*pass)(struct ckpt *c, uint32_t from, uint32_t to, struct err *err);
	/*
	 * Returns true if no byte before the storage is needed any more, so that a stream may forget a part of it. NULL: always
	 * true.
	 */
	bool (*leads)(struct ckpt *c, uint32_t storage);
	int (*finish)(struct ckpt *c, struct err *err);
	void (*close)(struct ckpt *c);
	struct source *(*range)(struct ckpt *c, uint32_t storage);               /* source of the storage; NULL: that of the ckpt */
	void (*describe)(const struct ckpt *c, uint32_t storage, struct buf *b); /* appends what the storage is; NULL: its key */
	/*
	 * Returns the storage of which this one is an unused second copy. Returns the storage itself, or is NULL, if it is no copy.
	 */
	uint32_t (*original)(const struct ckpt *c, uint32_t storage);
	int (*check)(const struct ckpt *c, struct err *err); /* fails if something that the index refers to is missing */
	int (*records)(struct ckpt *c, struct err *err);     /* see ckpt_check_records */
	int (*fill)(struct ckpt *c, struct str path, size_t levels, struct err *err); /* see ckpt_fill */
	bool unordered; /* storages may have any order, or overlap: nothing is forgotten before the end */
	bool proves;    /* check copied storages against their CRC, even if the CRC is copied too */
};

/*
 * What these programs store in a checkpoint: the layouts of bias tables (plan/tables.h), and a note that a shard, adapted by
 * itself, is finished. safetensors files have them in __metadata__ under these keys. A torch zip has them as the two lines of a
 * record; the second line may be missing.
 */
#define CKPT_TABLES_KEY "lnn.tables"
#define CKPT_NOTE_KEY "lnn.shard"
#define CKPT_RECORD ".data/lnn"

/* The key in __metadata__ of a distributed checkpoint's shard that tells which boxes its tensors are. */
#define CKPT_SHARDING_KEY "DCP_SHARDING_INFO"

/* How much a reader takes from an input that is cut off or damaged. */
enum ckpt_salvage {
	SALVAGE_NOT,   /* nothing: that is an error */
	SALVAGE_INDEX, /* everything that the index leads to */
	SALVAGE_SCAN,  /* everything found by scanning the input, if the container allows that */
};

enum { CKPT_LOCATIONS = 32 };

struct ckpt {
	const char *file; /* name for messages; borrowed from the source */
	const struct ckpt_ops *ops;
	void *priv;         /* state of the format reader */
	struct source *src; /* borrowed; the index file of a sharded set */
	const struct diag *diag;
	struct arena arena; /* for everything below, and for names */

	struct storage *storages; /* in the order of the source unless rank says another */
	uint32_t nstorages;
	uint32_t *rank;         /* by storage: its position in the order of the source; NULL if that is its index */
	struct tensor *tensors; /* in the order of the index; LEAF_TENSOR n is tensors[n] */
	uint32_t ntensors;
	struct str *names; /* names of the tensors; NULL if a tree names them (torch) */
	/* Maps names to indices into names, or is empty if the reader makes no such map. The first state dict takes it over. */
	struct strmap by_name;

	struct vtree *tree; /* tree of a pickle; NULL for safetensors. LEAF_STORAGE n is storages[n] */
	uint32_t root;      /* handle in tree; VALUE_ABSENT without a tree */
	uint32_t unread;    /* handle of the placeholder of each value that ckpt_fill has not read yet */
	uint32_t nunread;   /* number of values that have not been read; if 0, unread is undefined */

	struct str *meta_keys, *meta_values; /* safetensors: __metadata__; see ckpt_add_meta */
	size_t nmeta, meta_cap;
	struct str tables; /* torch: first line of record .data/lnn, once it was passed; sharded set: result of ckpt_tables */
	struct str note;   /* torch: second line of record .data/lnn */
	enum ckpt_salvage salvage; /* unless SALVAGE_NOT, missing storages are only detected when they are read */
	struct str *lost;          /* salvage: names of what could not be put into tensors or the tree */
	size_t nlost, lost_cap;
	/* Locations in a pickle, such as "cpu" and "cuda:0"; further ones count as the first. */
	struct str locations[CKPT_LOCATIONS];
	uint8_t nlocations;
	bool big_endian;
	bool constants;      /* from a frozen TorchScript module: its tensors are constants, not a state dict */
	bool boxed;          /* safetensors: its tensors are boxes of larger ones (tensor_more.low) */
	const char *writer;  /* the writing program, if known ("torch 2.7 or later"); or NULL */
	const char **shards; /* file names of a sharded set */
	uint32_t nshards;
	uint8_t *done;       /* by storage: ckpt_done was called; NULL before its first call */
	uint32_t passed;     /* storages below this were passed */
	struct str *damaged; /* index records whose CRC does not match their bytes */
	size_t ndamaged, damaged_cap;
	struct ckpt_proof *proof; /* set by ckpt_verify */
	void *owned[2];           /* arrays outside the arena, freed by ckpt_close */
};

/*
 * Reads values of a distributed checkpoint, which are not read when it is opened: those at path (dotted; empty for the root), those
 * up to levels steps below path, and those that path leads into. It may add tensors and storages, so it must be called before
 * data is read. Tensors do not move. A value that cannot be read is an error, also of ckpt_check_index later.
 */
int ckpt_fill(struct ckpt *c, struct str path, size_t levels, struct err *err);

/* Determines storages[storage].offset (and packed, flags). On a file they are always known; on a stream this may look ahead. */
int ckpt_locate(struct ckpt *c, uint32_t storage, struct err *err);

/* Reads n bytes at off of the unpacked contents of a storage. */
int ckpt_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err);

/*
 * Like ckpt_read for sequential, single-pass reads: on a stream, bytes are not buffered after they are returned, unless something
 * before them is still needed.
 */
int ckpt_next(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err);

/*
 * Returns the source in which the bytes of a located storage are a plain range, for sink_copy. Returns NULL if they must be read
 * with ckpt_read (deflated).
 */
struct source *ckpt_range(struct ckpt *c, uint32_t storage, uint64_t *offset);

/*
 * Returns the CRC-32 that the source states for a storage. *known is false if it states none (0 counts as none). Call it after the
 * bytes were read.
 */
int ckpt_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, bool *known, struct err *err);

/* Reads all bytes of a storage and computes their CRC, whatever was read before. The CRC is not compared. */
int ckpt_read_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, struct err *err);

/*
 * From now on, compares what is read with the CRCs that the source states, in whatever order and pieces it is read. If a storage
 * that is read completely has another CRC, the read of its last byte fails or, if the CRC follows the bytes (a stream), ckpt_pass.
 * A storage that is read only in part is not checked.
 */
void ckpt_verify(struct ckpt *c);

/* Returns true if a located storage has a CRC that is checked. */
bool ckpt_verifies(const struct ckpt *c, uint32_t storage);

/* Notes that len bytes at off of a storage were read without ckpt_read, and that crc is their CRC. */
int ckpt_copied(struct ckpt *c, uint32_t storage, uint64_t off, uint64_t len, uint32_t crc, struct err *err);

/*
 * Fails with ERR_INPUT if a record of the index is damaged, or a file that it refers to is missing or too short. On a stream this
 * is only known after ckpt_finish.
 */
int ckpt_check_index(const struct ckpt *c, struct err *err);
void ckpt_warn_index(const struct ckpt *c); /* reports the errors of ckpt_check_index as warnings */

/*
 * Declares that the storage will not be read again. Storages may be finished in any order; a stream forgets those before the first
 * unfinished one.
 */
int ckpt_done(struct ckpt *c, uint32_t storage, struct err *err);

/* Declares that nothing before byte off of storage will be read again. storage may be nstorages, with off 0. */
int ckpt_pass(struct ckpt *c, uint32_t storage, uint64_t off, struct err *err);

/*
 * Reads to the end of the input and verifies it: sizes, the directory against the records that were seen, and that a file did not
 * change.
 */
int ckpt_finish(struct ckpt *c, struct err *err);

/*
 * Sets *text to what the checkpoint states of its bias tables (plan/tables.h), from record .data/lnn or from lnn.tables in
 * __metadata__; empty if there is nothing. For a sharded set, it is the different texts of the shards, separated by NUL. A stream
 * is read up to its first storage.
 */
int ckpt_tables(struct ckpt *c, struct str *text, struct err *err);

/*
 * Checks the CRCs of records that are neither storages nor part of the index. Those that fail are added to c->damaged, on a stream
 * only at its end. Call it before the data is read.
 */
int ckpt_check_records(struct ckpt *c, struct err *err);

void ckpt_close(struct ckpt *c); /* frees c, which may be NULL, but not the source */

/* Functions for format readers. */
struct ckpt *ckpt_new(struct source *src, const struct diag *diag);
void ckpt_add_meta(struct ckpt *c, struct str key, struct str value); /* both texts must be in the arena */
void ckpt_damaged(struct ckpt *c, struct str record);                 /* adds a name to c->damaged */
void ckpt_lose(struct ckpt *c, struct str name);                      /* adds a name to c->lost */

/* ---- the state dict of a checkpoint */

enum sd_kind {
	SD_TENSOR,    /* tensor is an index into ckpt.tensors */
	SD_COMPOSITE, /* a tensor without data of its own (composite.h); value is the call that makes it */
	SD_OTHER,     /* not a tensor; see value */
};

struct sd_entry {
	struct str name;
	uint32_t tensor;      /* SD_TENSOR */
	uint32_t value;       /* handle in the tree; VALUE_ABSENT for safetensors */
	uint32_t made;        /* 0, or 1 + index into statedict.composites */
	uint32_t inside : 30; /* 0, or 1 + index into statedict.insides if the entry is in a container of the state dict */
	uint32_t kind : 2;    /* enum sd_kind */
};

/* A list, dict or similar item of the state dict that holds tensors, such as "_extra_state". */
struct sd_container {
	struct str name; /* key of the item; names of its entries begin with it and a dot */
	uint32_t value;  /* handle of the item */
};

/* The position of an entry in a container. */
struct sd_inside {
	uint32_t container;    /* index into statedict.containers */
	uint32_t parent, item; /* handle of the dict, list or tuple that has the entry, and the entry's index in it */
};

struct statedict {
	struct ckpt *ckpt; /* borrowed */
	struct arena arena;
	struct str key;           /* dotted path of the place; empty for the root */
	struct sd_entry *entries; /* in the order of the checkpoint */
	size_t n;
	struct strmap by_name;     /* maps names to indices into entries */
	struct tensor *composites; /* tensors with parts: all SD_COMPOSITE, and SD_TENSOR that are quantised or subclasses */
	size_t ncomposites;
	struct sd_container *containers;
	size_t ncontainers;
	struct sd_inside *insides;
	size_t ninsides;
	uint32_t place;    /* handle of the container; VALUE_ABSENT for safetensors */
	uint32_t metadata; /* handle of the dict _metadata, or VALUE_ABSENT */
	bool ordered;      /* the place is an OrderedDict */
	bool module;       /* the place is a pickled nn.Module */
};

/*
 * Opens the state dict at the dotted path key. If key is NULL, the rule of tensor/place.h chooses the place; it is an error if the
 * rule does not decide. Tensors in nested containers get dotted names. Other values in such containers are SD_OTHER under their
 * dotted path. Fails with ERR_INPUT if place_find fails, if a name occurs twice, or if a dotted path equals another name. Reads no
 * values (ckpt_fill).
 */
int statedict_open(struct statedict *sd, struct ckpt *c, const char *key, struct err *err);
/*
 * Like statedict_open, but opens the place that ask names (tensor/place.h). First reads the values of this place that were not
 * read (ckpt_fill). It ignores errors of reading them, which ckpt_check_index reports.
 */
struct place_ask;
int statedict_open_place(struct statedict *sd, struct ckpt *c, const struct place_ask *ask, struct err *err);
void statedict_release(struct statedict *sd);

/* Returns the entry with that name, or NULL. */
const struct sd_entry *statedict_find(const struct statedict *sd, struct str name);

/* Returns the tensor of an entry, with its parts in more; NULL for SD_OTHER. */
const struct tensor *sd_tensor(const struct statedict *sd, const struct sd_entry *entry);

#endif
