#include "operand.h"

#include <string.h>

#include "common/file.h"
#include "model/config.h"
#include "model/list.h"
#include "tensor/place.h"

/* Does head contain a complete line that is neither blank nor a comment? */
static bool
has_line(struct str head)
{
	struct str line;

	while (str_split(&head, '\n', &line)) {
		if (head.p == NULL)
			return false;
		if (line.len > 0 && line.p[0] != '#' && line.p[0] != '\r')
			return true;
	}
	return false;
}

/* With -0, names may contain any byte except NUL. Even so, they do not begin like containers. */
static bool
is_raw_list(struct str head, bool null)
{
	const unsigned char first = head.len ? (unsigned char)head.p[0] : 0;
	struct str eight = str_n(head.p, head.len < 8 ? head.len : 8);

	return null && first >= ' ' && (first < 0x80 || first >= 0xc0) && !str_contains(eight, str_n("\0\0\0", 3)) &&
	       !str_starts(head, str_c("PK\x03\x04"));
}

static bool
is_checkpoint(struct str head, bool null)
{
	return !is_raw_list(head, null) && input_probe((const uint8_t *)head.p, head.len);
}

/*
 * Reads as much of the beginning as is needed to recognise the format. Reads no more, because a list that arrives slowly is
 * processed line by line.
 */
static int
look(struct source *src, bool null, struct str *head, struct err *err)
{
	size_t least = 1, got;
	const uint8_t *p;

	for (;;) {
		uint64_t ready;

		if (source_look(src, 0, least, &p, &got, err) < 0)
			return -1;
		ready = source_ready(src, 0);
		if (got < least || least == SOURCE_LOOK_MAX)
			break;
		if (ready > least) {
			least = ready < SOURCE_LOOK_MAX ? (size_t)ready : SOURCE_LOOK_MAX;
			continue;
		}
		*head = str_n((const char *)p, got);
		if (got >= 8 && (is_raw_list(*head, null) || is_checkpoint(*head, null)))
			break;
		if (p[0] != '{' && p[0] >= ' ' && has_line(*head))
			break;
		least++;
	}
	*head = str_n((const char *)p, got);
	return 0;
}

static int
load_model(struct operand *x, struct err *err)
{
	struct buf text = BUF_INIT;
	int rc = config_slurp(x->src, &text, err);

	if (rc == 0)
		rc = model_load_yaml(&x->model, x->file, buf_str(&text), err);
	buf_release(&text);
	if (rc == 0 && !x->model.has_state_dict)
		return err_input(err, x->file,
				 "a description without state_dict has no parameters to choose from: "
				 "give it with -m, and a list");
	return rc;
}

int
operand_open(struct operand *x, const char *name, const struct tool_settings *s, struct err *err)
{
	struct place_ask ask = { .key = s->key, .diag = tool_diag() };
	struct source *src;
	struct str head;

	memset(x, 0, sizeof(*x));
	if (file_checkpoint(name, FILE_TEXT, &x->src, err) < 0)
		return -1;
	x->file = source_name(x->src);
	if (look(x->src, s->null, &head, err) < 0)
		return -1;
	if (is_checkpoint(head, s->null)) {
		x->kind = OPERAND_CKPT;
		src = x->src;
		x->src = NULL;
		return input_open_source(&x->input, src, &ask, err);
	}
	if (s->key != NULL)
		return err_set(err, ERR_USAGE, "-k %s: %s is no checkpoint", s->key, x->file);
	if (memchr(head.p, '\0', head.len) || !model_probe(head))
		return 0;
	x->kind = OPERAND_MODEL;
	model_init(&x->model);
	return load_model(x, err);
}

void
operand_close(struct operand *x)
{
	if (x->kind == OPERAND_CKPT)
		input_close(&x->input);
	if (x->kind == OPERAND_MODEL)
		model_release(&x->model);
	source_close(x->src);
	memset(x, 0, sizeof(*x));
}

static int
each_line(struct operand *x, const struct operand_reader *r, uint64_t *n, struct err *err)
{
	struct list_reader reader;
	struct list_line line;
	int rc;

	list_open(&reader, x->src, r->null);
	do {
		struct operand_item item = { .entry = &line.entry, .file = reader.file };

		if (!list_pending(&reader))
			r->wait(r->arg);
		rc = list_next(&reader, &line, err);
		if (rc <= 0)
			break;
		++*n;
		item.raw = line.raw;
		item.line = line.number;
		rc = r->each(r->arg, &item, err);
	} while (rc == 0);
	list_release(&reader);
	return rc;
}

/* Passes an entry to each, with the line that lnn-ckpt-inspect would write for it. */
static int
give(const struct operand *x, const struct operand_reader *r, const struct entry *entry, struct buf *line, struct err *err)
{
	struct operand_item item = { entry->name, entry, x->file, 0 };
	struct err why = ERR_INIT;

	buf_clear(line);
	if (!r->null) {
		if (list_put(line, entry, LIST_OPEN, &why) < 0)
			return err_input(err, x->file, "%s", why.msg);
		item.raw = buf_str(line);
	} else if (entry->name.len && memchr(entry->name.p, '\0', entry->name.len)) {
		return err_input(err, x->file, "a name contains a NUL byte: only JSON can show it");
	}
	return r->each(r->arg, &item, err);
}

static int
each_tensor(struct operand *x, const struct operand_reader *r, uint64_t *n, struct err *err)
{
	const struct statedict *sd = &x->input.sd;
	struct buf line = BUF_INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sd->n; i++) {
		const struct tensor *t = sd_tensor(sd, &sd->entries[i]);
		struct entry entry;

		if (t == NULL)
			continue;
		++*n;
		entry = entry_of_tensor(sd->entries[i].name, t);
		rc = give(x, r, &entry, &line, err);
	}
	buf_release(&line);
	if (rc != 0)
		return rc;
	if (source_is_stream(x->input.src))
		r->wait(r->arg);
	if (input_finish(&x->input, err) != 0)
		return -1;
	ckpt_warn_index(x->input.ckpt);
	return 0;
}

static int
each_entry(struct operand *x, const struct operand_reader *r, uint64_t *n, struct err *err)
{
	struct buf line = BUF_INIT;
	int rc = 0;

	for (; rc == 0 && *n < x->model.n; ++*n)
		rc = give(x, r, &x->model.entries[*n], &line, err);
	buf_release(&line);
	return rc;
}

int
operand_each(struct operand *x, const struct operand_reader *r, uint64_t *n, struct err *err)
{
	if (x->kind == OPERAND_CKPT)
		return each_tensor(x, r, n, err);
	return x->kind == OPERAND_MODEL ? each_entry(x, r, n, err) : each_line(x, r, n, err);
}
