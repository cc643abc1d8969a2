#include "pickle/scan.h"

#include <stdio.h>
#include <string.h>

#include "pickle/machine.h"
#include "pickle/weights.h"

/* One pickle of the row. */
struct scanner {
	struct pickle_scan *s;
	struct pickle_machine m;
	struct weights w;
	unsigned pickle;
	bool judge;          /* the first pickle, and torch would still be reading */
	bool computed;       /* the STACK_GLOBAL that is executed has operands that are no texts */
};

/* torch stops here. */
static void
refuse(struct scanner *c, const char *why)
{
	c->judge = false;
	c->s->loads = false;
	c->s->why_off = c->m.in.op_off;
	snprintf(c->s->why, sizeof(c->s->why), "%.*s", (int)sizeof(c->s->why) - 1, why);
}

static void
before(struct scanner *c)
{
	const struct pickle_machine *m = &c->m;

	c->computed = m->in.op == OP_STACK_GLOBAL &&
		      (m->depth - m->fence < 2 || !value_is_text(m->t, m->stack[m->depth - 1]) ||
			      !value_is_text(m->t, m->stack[m->depth - 2]));
	c->m.passed_over[0] = '\0';
	if (c->judge && !weights_check(&c->w))
		refuse(c, c->w.why);
}

static int
report(struct scanner *c, uint32_t global, enum pickle_ref ref, struct err *e)
{
	struct pickle_found f = { value_module(c->m.t, global), value_name(c->m.t, global), c->m.in.op_off, GLOBAL_UNSAFE, ref,
		c->pickle };

	if (c->s->found == NULL)
		return 0;
	if (ref == REF_COMPUTED)
		f.module = f.name = str_n("", 0);
	else
		f.verdict = pickle_verdict(f.module, f.name);
	return c->s->found(c->s->arg, &f, e);
}

/* Where the machine was lenient torch is not: these opcodes leave it no way on. */
static bool
fatal(uint8_t op)
{
	return op == OP_BINGET || op == OP_LONG_BINGET || op == OP_GLOBAL || op == OP_SETITEMS;
}

static int
after(struct scanner *c, struct err *e)
{
	const struct pickle_machine *m = &c->m;
	int status = 0;

	if (m->in.op == OP_GLOBAL)
		status = report(c, m->named, REF_GLOBAL, e);
	else if (m->in.op == OP_STACK_GLOBAL)
		status = report(c, m->named, c->computed ? REF_COMPUTED : REF_STACK_GLOBAL, e);
	else if (m->in.op == OP_INST)
		status = report(c, m->named, REF_INST, e);
	if (status == 0 && c->judge && m->passed_over[0] != '\0' && fatal(m->in.op))
		refuse(c, m->passed_over);
	if (status == 0 && c->judge && !weights_after(&c->w))
		refuse(c, c->w.why);
	return status;
}

/* Up to STOP: 1. 0 if the pickle is damaged, with the message in damage; -1 on error. */
static int
run(struct scanner *c, struct err *damage, struct err *e)
{
	while (!c->m.stopped) {
		if (pickle_machine_fetch(&c->m, damage) < 0)
			break;
		before(c);
		if (pickle_machine_execute(&c->m, damage) < 0)
			break;
		if (after(c, e) < 0)
			return -1;
	}
	if (damage->code == ERR_SYSTEM) {
		*e = *damage;
		return -1;
	}
	return c->m.stopped && damage->code == ERR_NONE;
}

/* Scans one pickle at off; *end is where it ended or broke off. As run. */
static int
scan_one(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, unsigned number, uint64_t *end, struct err *e)
{
	struct vtree *t = vtree_new();
	struct scanner c = { .s = s, .pickle = number, .judge = number == 0 };
	struct err damage = ERR_INIT;
	int status;

	pickle_machine_init(&c.m, t, src, off, limit, NULL);
	c.m.lenient = true;
	weights_init(&c.w, &c.m, s->legacy);
	status = run(&c, &damage, e);
	*end = status == 1 ? pickle_reader_at(&c.m.in) : c.m.in.op_off;
	if (status == 0 && number == 0) {
		s->broken = true;
		snprintf(s->damage, sizeof(s->damage), "%.*s", (int)sizeof(s->damage) - 1, damage.msg);
		if (c.judge)
			refuse(&c, damage.msg);
	}
	weights_release(&c.w);
	pickle_machine_release(&c.m);
	vtree_free(t);
	return status;
}

/* The bytes behind the first pickle: how many, and what pickles they begin with. */
static int
scan_rest(struct pickle_scan *s, struct source *src, uint64_t limit, struct err *e)
{
	uint64_t at = s->end;
	int status = 1;

	if (limit == UINT64_MAX && source_size(src, &limit, e) < 0)
		return -1;
	s->extra = limit > at ? limit - at : 0;
	while (status == 1 && at < limit) {
		status = scan_one(s, src, at, limit, s->more + 1, &at, e);
		s->more += status == 1;
	}
	return status < 0 ? -1 : 0;
}

int
pickle_scan(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, struct err *e)
{
	int status;

	s->loads = true;
	s->broken = false;
	s->why[0] = s->damage[0] = '\0';
	s->why_off = s->extra = 0;
	s->more = 0;
	status = scan_one(s, src, off, limit, 0, &s->end, e);
	if (status <= 0 || !s->rest)
		return status < 0 ? -1 : 0;
	return scan_rest(s, src, limit, e);
}
