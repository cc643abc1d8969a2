/*
 * torch_forward: the state of a torch zip that is read forward, shared by its two
 * files: torch_forward.c walks over the records, torch_stream.c opens and ends.
 */
#ifndef LNN_FORMAT_TORCH_FORWARD_H
#define LNN_FORMAT_TORCH_FORWARD_H

#include "format/torch_zip.h"

/* A record that came by. */
struct seen {
	uint64_t header;
	uint64_t packed, size;
	uint32_t crc;
	uint32_t storage; /* STORAGE_NONE: some other record, */
	uint32_t name;    /* whose name is this one of others */
	uint16_t method;
};

struct torch_forward {
	struct ckpt *c;
	struct str *root;     /* that of the torch_zip */
	struct seen *seen;    /* in the order of the stream */
	size_t n, cap;
	struct str *others;   /* names of records that are no storages */
	size_t nothers, others_cap;
	struct strmap folded; /* the same in lower case */
	struct strmap keys;   /* storage key -> number of first use */
	uint32_t *place;      /* from there to the storage; NULL until the order is settled */
	uint32_t *record;     /* by storage: its record, UINT32_MAX until it came */
	uint8_t *done;        /* by storage */
	uint64_t at;          /* where the next header is or, if pending, the last record's descriptor */
	bool pending, wide;
	bool doubtful;        /* the last record's header states another size than its tensors: stated */
	uint64_t stated;
	bool at_directory;
	bool forgets;         /* what is not needed any more may go */
	size_t low;           /* records before this one are not needed */
	size_t outside;       /* records outside the root */
	size_t differing;     /* records whose CRC or size is stated in two ways */
	bool version, byteorder, format_version; /* records that came */
	struct buf name;      /* of the header read last */
	struct buf lower;     /* a name in lower case */
	struct zip_local local;
};

/* Reads the next header into f->local, or sets at_directory. */
int torch_forward_header(struct torch_forward *f, struct err *e);

/* Goes on behind the record of that header: a storage's, or another, which is read if it says something. */
int torch_forward_take(struct torch_forward *f, struct err *e);

/* Adds the record of f->local, of known packed size, and goes on behind its data. */
void torch_forward_add(struct torch_forward *f, uint64_t packed, uint64_t size, uint32_t storage);

/* Takes note of the name of the header just read, which is no storage's; refuses one that came already, or will. */
int torch_forward_other(struct torch_forward *f, struct err *e);

/* Can the record of that header be passed by? Not if it is deflated and its size is to come behind it. */
bool torch_forward_can(const struct torch_forward *f);

/* Both, until the directory. */
int torch_forward_next(struct torch_forward *f, struct err *e);

/* The descriptor of the last record, if it is still to be read. */
int torch_forward_settle(struct torch_forward *f, struct err *e);

/* Forgets what nobody needs any more. */
void torch_forward_forget(struct torch_forward *f);

/* The whole name of record i into b. */
void torch_forward_name(const struct torch_forward *f, size_t i, struct buf *b);

#endif
