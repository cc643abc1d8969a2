#include "pickle/scan.h"

#include <stdio.h>
#include <string.h>

#include "pickle/machine.h"
#include "pickle/weights.h"

/* One pickle of the row. */
struct scanner {
	struct pickle_scan *s;
	struct weights w;
	struct err *e;       /* of the callback */
	unsigned pickle;
	bool failed;         /* the callback said so */
	bool judge;          /* the first pickle, and torch would still be reading */
	bool computed;       /* the STACK_GLOBAL that is executed has operands that are no texts */
};

/* torch stops here. */
static void
refuse(struct scanner *c, uint64_t off, const char *why)
{
	c->judge = false;
	c->s->loads = false;
	c->s->why_off = off;
	snprintf(c->s->why, sizeof(c->s->why), "%.*s", (int)sizeof(c->s->why) - 1, why);
}

static void
before(void *arg, struct pickle_machine *m)
{
	struct scanner *c = arg;

	c->computed = m->in.op == OP_STACK_GLOBAL &&
		      (m->depth - m->fence < 2 || !value_is_text(m->t, m->stack[m->depth - 1]) ||
			      !value_is_text(m->t, m->stack[m->depth - 2]));
	m->passed_over[0] = '\0';
	if (c->judge && !weights_check(&c->w, m))
		refuse(c, m->in.op_off, c->w.why);
}

static int
report(struct scanner *c, const struct pickle_machine *m, enum pickle_ref ref)
{
	struct pickle_found f = { value_module(m->t, m->named), value_name(m->t, m->named), m->in.op_off, GLOBAL_UNSAFE, ref,
		c->pickle };

	if (c->s->found == NULL)
		return 0;
	if (ref == REF_COMPUTED)
		f.module = f.name = str_n("", 0);
	else
		f.verdict = pickle_verdict(f.module, f.name);
	return c->s->found(c->s->arg, &f, c->e);
}

/* Where the machine was lenient torch is not: these opcodes leave it no way on. */
static bool
fatal(uint8_t op)
{
	return op == OP_BINGET || op == OP_LONG_BINGET || op == OP_GLOBAL || op == OP_SETITEMS;
}

static int
after(void *arg, struct pickle_machine *m)
{
	struct scanner *c = arg;
	int rc = 0;

	if (m->in.op == OP_GLOBAL)
		rc = report(c, m, REF_GLOBAL);
	else if (m->in.op == OP_STACK_GLOBAL)
		rc = report(c, m, c->computed ? REF_COMPUTED : REF_STACK_GLOBAL);
	else if (m->in.op == OP_INST)
		rc = report(c, m, REF_INST);
	c->failed = rc < 0;
	if (rc == 0 && c->judge && m->passed_over[0] != '\0' && fatal(m->in.op))
		refuse(c, m->in.op_off, m->passed_over);
	if (rc == 0 && c->judge && !weights_after(&c->w, m))
		refuse(c, m->in.op_off, c->w.why);
	return rc;
}

/* The result of a damaged pickle. */
static void
report_damage(struct scanner *c, uint64_t off, const char *damage)
{
	struct pickle_scan *s = c->s;

	s->broken = true;
	snprintf(s->damage, sizeof(s->damage), "%.*s", (int)sizeof(s->damage) - 1, damage);
	if (c->judge)
		refuse(c, off, damage);
}

/*
 * Scans one pickle; place->end is where it ended or broke off. 1 if it has a STOP; 0 if it is damaged; -1 on error.
 */
static int
scan_one(struct pickle_scan *s, struct pickle_place *place, unsigned number, struct err *e)
{
	struct vtree *t = vtree_new();
	struct scanner c = { .s = s, .e = e, .pickle = number, .judge = number == 0 };
	struct pickle_watch watch = { before, after, &c };
	struct err damage = ERR_INIT;
	int rc;

	weights_init(&c.w, s->legacy);
	rc = pickle_watch(t, place, &watch, &damage) == 0;
	if (damage.code == ERR_SYSTEM)
		*e = damage;
	if (damage.code == ERR_SYSTEM || c.failed)
		rc = -1;
	else if (rc == 0 && number == 0)
		report_damage(&c, place->end, damage.msg);
	weights_release(&c.w);
	vtree_free(t);
	return rc;
}

/* The bytes behind the first pickle: how many, and what pickles they begin with. */
static int
scan_rest(struct pickle_scan *s, struct source *src, uint64_t limit, struct err *e)
{
	struct pickle_place place = { .src = src, .off = s->end };
	int rc = 1;

	if (limit == UINT64_MAX && source_size(src, &limit, e) < 0)
		return -1;
	place.limit = limit;
	s->extra = limit > s->end ? limit - s->end : 0;
	while (rc == 1 && place.off < limit) {
		rc = scan_one(s, &place, s->more + 1, e);
		place.off = place.end;
		s->more += rc == 1;
	}
	return rc < 0 ? -1 : 0;
}

int
pickle_scan(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, struct err *e)
{
	struct pickle_place place = { .src = src, .off = off, .limit = limit };
	int rc;

	s->loads = true;
	s->broken = false;
	s->why[0] = s->damage[0] = '\0';
	s->why_off = s->extra = 0;
	s->more = 0;
	rc = scan_one(s, &place, 0, e);
	s->end = place.end;
	if (rc <= 0 || !s->rest)
		return rc < 0 ? -1 : 0;
	return scan_rest(s, src, limit, e);
}
