/*
 * Shared by the fuzz targets. A violated property ends the program with a line that names it, and abort().
 */
#ifndef LNN_TESTS_FUZZ_H
#define LNN_TESTS_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "format/format.h"
#include "format/salvage.h"
#include "io/crc32.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* At most this many bytes of contents are read, as a small file may have large tensors (stride 0, deflated). */
enum { FUZZ_CONTENTS = 1 << 20, FUZZ_PIPE = 1 << 16 };

static inline void
promise(bool kept, const char *what)
{
	if (kept)
		return;
	fprintf(stderr, "broken promise: %s\n", what);
	abort();
}

/* A pipe with these bytes. size is at most FUZZ_PIPE. */
static inline struct source *
fuzz_pipe(const uint8_t *data, size_t size)
{
	struct source *src = NULL;
	struct err err = ERR_INIT;
	int fds[2] = { -1, -1 };

	promise(size <= FUZZ_PIPE && pipe(fds) == 0, "a pipe is made");
	promise(write(fds[1], data, size) == (ssize_t)size && close(fds[1]) == 0, "the pipe accepts the input");
	promise(source_fd(&src, fds[0], "pipe", NULL, &err) == 0, "the pipe can be read");
	return src;
}

/* A file with these bytes, which has the name /proc/self/fd/N. */
static inline int
fuzz_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	promise(fd >= 0 && write(fd, data, size) == (ssize_t)size, "there is space for a file");
	return fd;
}

/* A failure has a message of one line, a success has none. */
static inline void
fuzz_judge(int rc, const struct err *err)
{
	promise((rc < 0) == (err->code != ERR_NONE), "there is a message if and only if it failed");
	promise(rc >= 0 || (err->msg[0] != '\0' && strlen(err->msg) < sizeof(err->msg)), "the message is not empty");
}

/* ---- checkpoints, for the targets of containers */

static inline uint64_t
fuzz_contents(const struct ckpt *c)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < c->nstorages && total <= FUZZ_CONTENTS; i++)
		total += c->storages[i].nbytes < FUZZ_CONTENTS ? c->storages[i].nbytes : (uint64_t)FUZZ_CONTENTS + 1;
	return total;
}

/* Every element of every tensor is in its storage, and every name occurs once. */
static inline void
fuzz_geometry(struct ckpt *c)
{
	struct err err = ERR_INIT;

	for (uint32_t i = 0; i < c->ntensors; i++) {
		const struct tensor *t = &c->tensors[i];

		promise(t->storage == STORAGE_NONE || t->storage < c->nstorages, "a tensor's storage exists");
		promise(t->storage == STORAGE_NONE || tensor_check(t, c->storages[t->storage].nbytes, &err) == 0,
			"a tensor is inside its storage");
	}
}

static inline bool
fuzz_statedict(struct ckpt *c, struct statedict *sd)
{
	struct err err = ERR_INIT;
	int rc = statedict_open(sd, c, NULL, &err);

	fuzz_judge(rc, &err);
	for (size_t i = 0; rc == 0 && i < sd->n; i++)
		promise(statedict_find(sd, sd->entries[i].name) == &sd->entries[i], "an entry is found by its name");
	return rc == 0;
}

/* Reads all storages and writes them with the writer of that name to out (borrowed). *crc gets the CRC of everything. */
static inline int
fuzz_copy(struct ckpt *c, const char *writer, struct sink *out, uint32_t *crc, struct err *err)
{
	struct manifest m = { .tensors = c->tensors,
			      .ntensors = c->ntensors,
			      .nstorages = c->nstorages,
			      .tree = c->tree,
			      .root = c->root,
			      .names = c->names,
			      .meta_keys = c->meta_keys,
			      .meta_values = c->meta_values,
			      .nmeta = c->nmeta };
	struct writer w = { .priv = NULL };
	int rc;

	m.storages = xcalloc(c->nstorages, sizeof(*m.storages));
	for (uint32_t i = 0; i < c->nstorages; i++)
		m.storages[i] = (struct manifest_storage){ c->storages[i].nbytes, c->storages[i].dtype, c->storages[i].untyped };
	rc = format_writer(writer)->check(&m, err);
	if (rc == 0)
		rc = writer_begin(&w, format_writer(writer), &m, out, err);
	*crc = c->ntensors;
	for (uint32_t i = 0; rc == 0 && i < c->nstorages; i++) {
		size_t n = (size_t)c->storages[i].nbytes;
		uint8_t *p = xmalloc(n);
		uint32_t one;

		rc = ckpt_read(c, i, 0, p, n, err);
		one = rc == 0 ? crc32_add(0, p, n) : 0;
		if (rc == 0 && (writer_storage(&w, i, err) < 0 || sink_write(out, p, n, err) < 0 ||
				writer_stored(&w, i, one, err) < 0 || ckpt_done(c, i, err) < 0))
			rc = -1;
		/* The order of storages may differ between file and pipe. */
		*crc ^= crc32_add(crc32_add(0, c->storages[i].key.p, c->storages[i].key.len), &one, sizeof(one));
		free(p);
	}
	if (rc == 0)
		rc = ckpt_finish(c, err) < 0 || writer_finish(&w, err) < 0 ? -1 : 0;
	if (w.format != NULL)
		writer_release(&w);
	free(m.storages);
	return rc;
}

enum fuzz_answer { FUZZ_REFUSED, FUZZ_ACCEPTED, FUZZ_TOO_LARGE };

static inline void
fuzz_say(void *arg, enum diag_level level, const char *msg)
{
	promise(msg[0] != '\0', "a warning is not empty");
	*(unsigned *)arg += level == DIAG_WARNING;
}

/* Opens src, reads everything, copies it to out, and closes src. warnings (may be NULL) gets the number of warnings. */
static inline enum fuzz_answer
fuzz_accept(struct source *src, const char *writer, struct buf *out, uint32_t *crc, unsigned *warnings)
{
	struct diag diag = { warnings == NULL ? NULL : fuzz_say, warnings };
	struct format_opts opts = { .diag = &diag };
	struct err err = ERR_INIT;
	struct statedict sd;
	struct sink *sink = sink_memory(out, "copy");
	struct ckpt *c = NULL;
	enum fuzz_answer answer = FUZZ_REFUSED;
	int rc = format_open(&c, src, &opts, &err);

	fuzz_judge(rc, &err);
	if (rc == 0) {
		fuzz_geometry(c);
		fuzz_statedict(c, &sd);
		statedict_release(&sd);
		if (fuzz_contents(c) > FUZZ_CONTENTS) {
			answer = FUZZ_TOO_LARGE;
		} else {
			rc = fuzz_copy(c, writer, sink, crc, &err);
			fuzz_judge(rc, &err);
			answer = rc == 0 ? FUZZ_ACCEPTED : FUZZ_REFUSED;
		}
		ckpt_close(c);
	}
	source_close(src);
	if (answer != FUZZ_ACCEPTED)
		sink_abort(sink);
	else
		promise(sink_commit(sink, &err) == 0, "a sink in memory accepts all bytes");
	return answer;
}

/* The whole tensors of any input can be salvaged and copied, with and without the directory of a zip. */
static inline void
fuzz_salvage(const uint8_t *data, size_t size, const char *writer)
{
	for (int how = SALVAGE_INDEX; how <= SALVAGE_SCAN; how++) {
		struct format_opts opts = { .salvage = (enum ckpt_salvage)how };
		struct source *src = source_memory(data, size, "damaged");
		struct buf out = BUF_INIT;
		struct sink *sink = sink_memory(&out, "copy");
		struct err err = ERR_INIT;
		struct salvage s;
		struct ckpt *c = NULL;
		uint32_t crc = 0;
		int rc = format_open(&c, src, &opts, &err);

		fuzz_judge(rc, &err);
		if (rc == 0 && fuzz_contents(c) <= FUZZ_CONTENTS) {
			salvage_read(&s, c);
			salvage_take_out(&s, NULL);
			for (uint32_t i = 0; i < c->nstorages; i++)
				rc |= s.states[i] >= SALVAGE_DAMAGED;
			if (rc == 0)
				promise(fuzz_copy(c, writer, sink, &crc, &err) == 0 || err.code != ERR_NONE,
					"a salvaged checkpoint is copied, or there is a message");
			salvage_release(&s);
		}
		ckpt_close(c);
		source_close(src);
		sink_abort(sink);
		buf_release(&out);
	}
}

/*
 * The rules for every container. A file accepts what a pipe accepts, and the reverse if there is no warning. Both give the same
 * checkpoint. A copy is accepted, and a copy of the copy has the same bytes. sound: the container has no reason to refuse an input
 * on a pipe that it accepts as a file.
 */
static inline void
fuzz_container(const uint8_t *data, size_t size, const char *writer, bool sound)
{
	struct buf one = BUF_INIT, two = BUF_INIT;
	uint32_t from_file = 0, from_pipe = 0, again = 0;
	unsigned warnings = 0;
	enum fuzz_answer stream, file = fuzz_accept(source_memory(data, size, "file"), writer, &one, &from_file, &warnings);

	if (size <= FUZZ_PIPE) {
		stream = fuzz_accept(fuzz_pipe(data, size), writer, &two, &from_pipe, NULL);
		promise(stream != FUZZ_ACCEPTED || file == FUZZ_ACCEPTED, "a file accepts what a pipe accepts");
		promise(stream != FUZZ_ACCEPTED || from_file == from_pipe, "file and pipe give the same checkpoint");
		promise(file != FUZZ_ACCEPTED || stream == FUZZ_ACCEPTED || warnings > 0 || !sound,
			"a pipe accepts what a file accepts");
	}
	fuzz_salvage(data, size, writer);
	buf_clear(&two);
	if (file == FUZZ_ACCEPTED) {
		promise(fuzz_accept(source_memory(one.p, one.len, "copy"), writer, &two, &again, NULL) == FUZZ_ACCEPTED,
			"a copy is accepted");
		/* The first copy may have storages of objects that the pickle itself discards. */
		buf_clear(&one);
		promise(fuzz_accept(source_memory(two.p, two.len, "copy"), writer, &one, &again, NULL) == FUZZ_ACCEPTED,
			"a copy of the copy is accepted");
		promise(one.len == two.len && memcmp(one.p, two.p, one.len) == 0, "a copy of the copy has the same bytes");
	}
	buf_release(&one);
	buf_release(&two);
}

#endif
